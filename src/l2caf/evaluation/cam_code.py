"""The box rule of CAM's published code (MATLAB and C++), which the paper's Tables 1 and 3 use."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from l2caf.evaluation.boxes import Heat, resized
from l2caf.evaluation.frame import Boxes, InputFrame
from l2caf.extras import require

Corners = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class CamCode:
    """The largest contour at three levels of a JPEG (Zhou et al. 2016, the MATLAB and C++ code).

    The map is resized to the picture, divided by its maximum and written as an 8-bit JPEG. Each of the three levels
    gives a mask, the mask's distance transform, and the contours of what lies deeper than 10 of 255. The boxes are
    ordered by area; a box is dropped where it overlaps with more than half of a larger one.
    """

    name: str = "cam-code"
    levels: tuple[int, ...] = (20, 100, 110)
    depth: int = 10
    border: int = 5
    inclusive: bool = True
    counted: int | None = 1

    @property
    def threshold(self) -> float:
        """The highest of its levels, as a share of the maximum."""
        return max(self.levels) / 255

    def boxes(self, heat: Heat, frame: InputFrame) -> Boxes:
        """Boxes in pixels of the picture, the largest first."""
        cv2 = require("cv2", extra="localization")
        shown = resized(heat, frame.shape, "bilinear")
        grey = _as_jpeg((255 * shown / max(shown.max(), 1e-12)).astype(np.uint8))
        found: list[Corners] = []
        for level in self.levels:
            mask = np.where(grey > level, 255, 0).astype(np.uint8)
            deep = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
            if deep.max() > 0:
                deep = cv2.normalize(deep, None, 0, 255, cv2.NORM_MINMAX)
            core = np.where(deep > self.depth, 255, 0).astype(np.uint8)
            contours, _ = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
            found += [self._within(cv2.boundingRect(contour), grey.shape) for contour in contours]
        kept = _without_overlaps(sorted(found, key=lambda box: -_area(box)))
        corners = np.asarray(kept, dtype=float).reshape(-1, 4)
        return frame.to_picture(corners, (grey.shape[0], grey.shape[1]))

    def truth(self, boxes: Boxes, frame: InputFrame) -> Boxes:
        """The annotated boxes as they are: the frame is the picture."""
        del frame
        return np.asarray(boxes, dtype=float)

    def _within(self, box: Corners, shape: tuple[int, ...]) -> Corners:
        x, y, width, height = box
        return x, y, min(x + width, shape[1] - self.border), min(y + height, shape[0] - self.border)


def _as_jpeg(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Through a JPEG file, at MATLAB's default quality."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file).convert("L"))


def _without_overlaps(found: list[Corners]) -> list[Corners]:
    """Boxes, largest first, without those that more than half of a larger one overlaps with."""
    kept: list[Corners] = []
    for box in found:
        if _area(box) > 0 and not any(_area(_common(box, larger)) > _area(larger) / 2 for larger in kept):
            kept.append(box)
    return kept


def _common(a: Corners, b: Corners) -> Corners:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _area(box: Corners) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])
