"""The box rule of ADL's code (Choe and Shim, CVPR 2019), which the paper's Table 2 uses."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from l2caf.evaluation.boxes import Heat, minmax, resized
from l2caf.evaluation.frame import Boxes, InputFrame
from l2caf.evaluation.wsolevaluation import WSOL_SIDE
from l2caf.extras import require


@dataclass(frozen=True, slots=True)
class Adl:
    """The largest contour above 20 % of a min-max map that is seen through a colour map (Choe and Shim 2019).

    The map is resized to 224 x 224 (bilinear), scaled to [0, 1], coloured by matplotlib's cubehelix and turned to grey.
    Annotated boxes move with the resize and the crop.
    """

    name: str = "adl"
    threshold: float = 0.2
    side: int = WSOL_SIDE
    inclusive: bool = True
    counted: int | None = 1

    def boxes(self, heat: Heat, frame: InputFrame) -> Boxes:
        """One box in pixels of the 224 x 224 input; (0, 0, 1, 1) where there is no contour."""
        del frame
        cv2 = require("cv2", extra="localization")
        grey = _through_cubehelix(minmax(resized(heat, (self.side, self.side), "bilinear")))
        mask = np.where(grey > int(self.threshold * grey.max()), grey, 0).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        if not contours:
            return np.array([[0.0, 0.0, 1.0, 1.0]])
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        return np.array([[x, y, x + width, y + height]], dtype=float)

    def truth(self, boxes: Boxes, frame: InputFrame) -> Boxes:
        """The annotated boxes in pixels of the 224 x 224 input."""
        return frame.to_input(np.asarray(boxes, dtype=float), (self.side, self.side))


def _through_cubehelix(heat: Heat) -> UInt8[np.ndarray, "h w"]:
    """A map in [0, 1] through matplotlib's colour map, in 8-bit grey."""
    cv2, matplotlib = (require(module, extra="localization") for module in ("cv2", "matplotlib"))
    rgb = (matplotlib.colormaps["cubehelix"](heat)[..., :3] * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
