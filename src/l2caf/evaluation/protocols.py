"""From a map to boxes: one table of the box rules in use, each under its own name.

Five rules call themselves CAM's. They differ in resizing, normalisation, threshold and choice of region, and this
choice changes results more than the choice of method does. A protocol is therefore an object with a name that is saved
with every result. A rule of your own is named as `package.module:rule`.

    cam-paper             largest region above 20 % of the maximum (Zhou et al. 2016, in words)
    cam-code              contours at three levels of a JPEG, largest first (their MATLAB and C++ code)
    gradcam-paper         largest region above 15 % of the maximum (Selvaraju et al., issue 6 of their repository)
    adl                   largest contour above 20 % of a min-max map seen through a colour map (Choe and Shim 2019)
    wsolevaluation-v1     largest contour of a bicubic min-max map at 224 x 224, threshold swept (Choe et al. 2020)
    wsolevaluation-v2     every contour of it

All but `cam-paper` and `gradcam-paper` need OpenCV, whose contours define them: the extra `localization`.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from l2caf.errors import DataError
from l2caf.evaluation.adl import Adl
from l2caf.evaluation.boxes import Heat, resized
from l2caf.evaluation.boxes import boxes as boxes_above
from l2caf.evaluation.cam_code import CamCode
from l2caf.evaluation.frame import Boxes, InputFrame
from l2caf.evaluation.wsolevaluation import WsolEvaluation
from l2caf.registry import Registry


@runtime_checkable
class BoxRule(Protocol):
    """One way from a map to boxes.

    The map is the magnitude of a filter on its grid, or any other non-negative map over what the network was shown.
    """

    @property
    def name(self) -> str:
        """The protocol's name in `PROTOCOLS` and in results."""

    @property
    def threshold(self) -> float:
        """The share of the map's maximum at which the rule cuts; the highest one where it cuts several times."""

    @property
    def inclusive(self) -> bool:
        """Whether the corners count as pixels of the box when overlaps are computed."""

    @property
    def counted(self) -> int | None:
        """How many boxes are judged, of which the best one counts; None for all."""

    def boxes(self, heat: Heat, frame: InputFrame) -> Boxes:
        """Boxes (n, 4) of a map, the best first, in pixels of the rule's own frame."""

    def truth(self, boxes: Boxes, frame: InputFrame) -> Boxes:
        """Annotated boxes (n, 4), given in pixels of the picture, in pixels of the rule's own frame."""


@dataclass(frozen=True, slots=True)
class LargestRegion:
    """The largest 8-connected region above a share of the maximum, in the picture's own pixels.

    Attributes:
        name: the name of the protocol.
        threshold: the share of the map's maximum above which a pixel belongs to a region.
        inclusive: whether the corners count as pixels of the box.
        counted: how many boxes are judged; None for all.
    """

    name: str
    threshold: float
    inclusive: bool = True
    counted: int | None = 1

    def boxes(self, heat: Heat, frame: InputFrame) -> Boxes:
        """One box, or none where the map is zero throughout."""
        return boxes_above(resized(heat, frame.shape, "bilinear"), self.threshold, frame=frame)

    def truth(self, boxes: Boxes, frame: InputFrame) -> Boxes:
        """The annotated boxes as they are: the frame is the picture."""
        del frame
        return np.asarray(boxes, dtype=float)


PROTOCOLS = Registry[BoxRule]("protocol", DataError)
for _rule in (
    LargestRegion("cam-paper", 0.2),
    CamCode(),
    LargestRegion("gradcam-paper", 0.15),
    Adl(),
    WsolEvaluation("wsolevaluation-v1", "largest"),
    WsolEvaluation("wsolevaluation-v2", "all"),
):
    PROTOCOLS.register(_rule.name)(_rule)
