"""From a filter's magnitude to boxes, by the rules in circulation, each under its own name.

Five rules call themselves CAM's; they differ in resizing, normalisation, threshold and choice of region, and the choice
moves results by more than the methods that are compared. So a protocol is an object with a name, saved with every
result.

    cam-paper             largest region above 20 % of the maximum (Zhou et al. 2016, in words)
    cam-code              contours at three levels of a JPEG, largest first (their MATLAB and C++ code)
    gradcam-paper         largest region above 15 % of the maximum (Selvaraju et al., issue 6 of their repository)
    adl                   largest contour above 20 % of a min-max map seen through a colour map (Choe and Shim 2019)
    wsolevaluation-v1     largest contour of a bicubic min-max map at 224 x 224, threshold swept (Choe et al. 2020)
    wsolevaluation-v2     every contour of it

The last four need OpenCV, whose contours they are defined by: the extra `localization`.
"""

import io
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from l2caf.errors import DataError, ExtraMissingError, nearest
from l2caf.evaluation.boxes import boxes as boxes_above
from l2caf.evaluation.boxes import checked
from l2caf.evaluation.frame import Boxes, Frame, iou

if TYPE_CHECKING:
    from types import ModuleType

Heat = Float[np.ndarray, "h w"]
Contours = Literal["largest", "all"]
Swept = dict[Contours, Float[np.ndarray, " t"]]
WSOL_SIDE: Final = 224


@runtime_checkable
class BoxRule(Protocol):
    """One way from a map to boxes.

    The map is the magnitude of a filter on its grid, or any other non-negative map over what the network was shown.
    """

    @property
    def name(self) -> str:
        """As `protocol()` takes it."""

    @property
    def threshold(self) -> float:
        """Where the rule cuts, as a share of the (normalised) maximum; the highest where it cuts several times."""

    @property
    def inclusive(self) -> bool:
        """Whether its overlaps count corners as pixels of the box."""

    @property
    def counted(self) -> int | None:
        """How many of its boxes are judged, the best of them counting; None for all."""

    def boxes(self, heat: Heat, frame: Frame) -> Boxes:
        """Boxes in pixels of the rule's own frame, the best first; (n, 4)."""

    def truth(self, boxes: Boxes, frame: Frame) -> Boxes:
        """Annotated boxes, in pixels of the picture, in that frame."""


@dataclass(frozen=True, slots=True)
class LargestRegion:
    """The largest 8-connected region above a share of the maximum, in the picture's own pixels.

    Attributes:
        name: of the protocol.
        threshold: share of the maximum.
        inclusive: see `BoxRule`.
        counted: see `BoxRule`.
    """

    name: str
    threshold: float
    inclusive: bool = True
    counted: int | None = 1

    def boxes(self, heat: Heat, frame: Frame) -> Boxes:
        """One box, or none where the map is zero throughout."""
        return boxes_above(_resized(heat, _shown(frame), "bilinear"), self.threshold, frame=frame)

    def truth(self, boxes: Boxes, frame: Frame) -> Boxes:
        """As they are."""
        del frame
        return np.asarray(boxes, dtype=float)


@dataclass(frozen=True, slots=True)
class CamCode:
    """The rule of CAM's published code, which the paper's Tables 1 and 3 use.

    The map in the picture's own size, divided by its maximum, written as 8-bit JPEG; at each of three levels a mask,
    its distance transform, and the contours of what lies deeper than 10 of 255; boxes by area, each dropped where more
    than half of a larger one's size overlaps with it.
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

    def boxes(self, heat: Heat, frame: Frame) -> Boxes:
        """Boxes in pixels of the picture, the largest first."""
        cv2 = _cv2()
        shown = _resized(heat, _shown(frame), "bilinear")
        grey = _as_jpeg((255 * shown / max(shown.max(), 1e-12)).astype(np.uint8))
        found: list[tuple[int, int, int, int]] = []
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

    def truth(self, boxes: Boxes, frame: Frame) -> Boxes:
        """As they are."""
        del frame
        return np.asarray(boxes, dtype=float)

    def _within(self, box: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        x, y, width, height = box
        return x, y, min(x + width, shape[1] - self.border), min(y + height, shape[0] - self.border)


@dataclass(frozen=True, slots=True)
class Adl:
    """The rule of ADL's code, which the paper's Table 2 uses.

    A bilinear map of 224 x 224, min-max, seen through matplotlib's cubehelix and turned to grey; the largest contour
    above a fifth of the maximum. Annotated boxes move with the resize and the crop.
    """

    name: str = "adl"
    threshold: float = 0.2
    side: int = WSOL_SIDE
    inclusive: bool = True
    counted: int | None = 1

    def boxes(self, heat: Heat, frame: Frame) -> Boxes:
        """One box in pixels of the 224 x 224 input; (0, 0, 1, 1) where there is no contour."""
        del frame
        cv2 = _cv2()
        grey = _through_cubehelix(_minmax(_resized(heat, (self.side, self.side), "bilinear")))
        mask = np.where(grey > int(self.threshold * grey.max()), grey, 0).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        if not contours:
            return np.array([[0.0, 0.0, 1.0, 1.0]])
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        return np.array([[x, y, x + width, y + height]], dtype=float)

    def truth(self, boxes: Boxes, frame: Frame) -> Boxes:
        """In pixels of the input."""
        return frame.to_input(np.asarray(boxes, dtype=float), (self.side, self.side))


@dataclass(frozen=True, slots=True)
class WsolEvaluation:
    """The rule of wsolevaluation at one threshold; `metrics.MaxBoxAcc` sweeps it, as it is meant to be.

    Attributes:
        name: of the protocol.
        contours: the largest one (MaxBoxAcc) or all (MaxBoxAccV2).
        threshold: share of the range of the min-max map.
    """

    name: str
    contours: Contours
    threshold: float = 0.2
    inclusive: bool = True

    @property
    def counted(self) -> int | None:
        """One contour or every one."""
        return 1 if self.contours == "largest" else None

    def boxes(self, heat: Heat, frame: Frame) -> Boxes:
        """Boxes in pixels of the map at 224 x 224; (0, 0, 0, 0) where there is no contour."""
        del frame
        return self.at(wsol_map(heat), self.threshold)

    def at(self, score: Heat, threshold: float) -> Boxes:
        """Boxes of a map in [0, 1] at a threshold.

        Args:
            score: (h, w).
            threshold: in [0, 1).

        Returns:
            (n, 4).
        """
        grey = (score * 255).astype(np.uint8)  # truncated, as there
        found, largest = _contour_boxes(grey, int(threshold * grey.max()))
        return found[largest : largest + 1] if self.contours == "largest" else found

    def truth(self, boxes: Boxes, frame: Frame) -> Boxes:
        """Scaled to the map and truncated."""
        return np.trunc(frame.to_input(np.asarray(boxes, dtype=float), (WSOL_SIDE, WSOL_SIDE)))


PROTOCOLS: Final[dict[str, BoxRule]] = {
    rule.name: rule
    for rule in (
        LargestRegion("cam-paper", 0.2),
        CamCode(),
        LargestRegion("gradcam-paper", 0.15),
        Adl(),
        WsolEvaluation("wsolevaluation-v1", "largest"),
        WsolEvaluation("wsolevaluation-v2", "all"),
    )
}


def protocol(name: str) -> BoxRule:
    """A protocol by name.

    Args:
        name: one of `PROTOCOLS`.

    Returns:
        The rule.

    Raises:
        DataError: if there is no such protocol; it names the nearest.
    """
    if name not in PROTOCOLS:
        raise DataError(f"unknown protocol {name!r}{nearest(name, PROTOCOLS)}; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def swept_overlaps(score: Heat, truth: Boxes, thresholds: Float[np.ndarray, " t"]) -> Swept:
    """The best overlap with an annotated box at every threshold, by wsolevaluation's rule, for both its versions.

    Args:
        score: a map in [0, 1].
        truth: (n, 4) in pixels of the map.
        thresholds: in [0, 1).

    Returns:
        Overlaps in [0, 1], of the box of the largest contour, and the best over all contours.
    """
    grey = (score * 255).astype(np.uint8)
    cuts, place = np.unique((thresholds * grey.max()).astype(int), return_inverse=True)
    found = [_contour_boxes(grey, int(cut)) for cut in cuts]
    starts = np.cumsum([0, *(len(boxes) for boxes, _ in found)])
    overlaps = iou(np.concatenate([boxes for boxes, _ in found]), truth, inclusive=True).max(axis=1, initial=0.0)
    largest = overlaps[starts[:-1] + [index for _, index in found]]
    return {"largest": largest[place], "all": np.maximum.reduceat(overlaps, starts[:-1])[place]}


def _contour_boxes(grey: UInt8[np.ndarray, "h w"], cut: int) -> tuple[Boxes, int]:
    """Boxes of the contours of what is above a grey value, (0, 0, 0, 0) if there is none; the largest's place."""
    cv2 = _cv2()
    mask = cv2.threshold(grey, cut, 255, cv2.THRESH_BINARY)[1]
    contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4)), 0
    height, width = grey.shape
    rectangles = np.array([cv2.boundingRect(contour) for contour in contours], dtype=float)
    ends = np.minimum(rectangles[:, :2] + rectangles[:, 2:], (width - 1, height - 1))
    largest = 0 if len(contours) == 1 else int(np.argmax([cv2.contourArea(contour) for contour in contours]))
    return np.concatenate([rectangles[:, :2], ends], axis=1), largest


def wsol_map(heat: Heat, side: int = WSOL_SIDE) -> Float[np.ndarray, "side side"]:
    """A map as wsolevaluation scores it: bicubic to `side`, min-max to [0, 1]; a constant map becomes zero."""
    return _minmax(_resized(heat, (side, side), "bicubic"))


def _shown(frame: Frame) -> tuple[int, int]:
    """Height and width of the part shown, in the picture's pixels."""
    x0, y0, x1, y1 = frame.region
    return max(1, round(y1 - y0)), max(1, round(x1 - x0))


def _resized(heat: Heat, size: tuple[int, int], mode: str) -> Float[np.ndarray, "H W"]:
    tensor = torch.from_numpy(checked(heat))[None, None]
    resized = torch.nn.functional.interpolate(tensor, size, mode=mode, align_corners=False)
    return resized[0, 0].numpy()


def _minmax(heat: Heat) -> Heat:
    span = float(heat.max() - heat.min())
    return (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)


def _as_jpeg(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Through a JPEG file, at MATLAB's default quality."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file).convert("L"))


def _through_cubehelix(heat: Heat) -> UInt8[np.ndarray, "h w"]:
    from matplotlib import colormaps  # noqa: PLC0415  (an extra)

    rgb = (colormaps["cubehelix"](heat)[..., :3] * 255).astype(np.uint8)
    return np.asarray(_cv2().cvtColor(rgb, _cv2().COLOR_RGB2GRAY))


def _without_overlaps(found: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Boxes, largest first, without those that more than half of a larger one overlaps with."""
    kept: list[tuple[int, int, int, int]] = []
    for box in found:
        if _area(box) > 0 and not any(_area(_common(box, larger)) > _area(larger) / 2 for larger in kept):
            kept.append(box)
    return kept


def _common(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _area(box: tuple[int, int, int, int]) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


@cache
def _cv2() -> "ModuleType":
    try:
        import cv2  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ExtraMissingError(
            "this protocol is defined by OpenCV's contours; install it with `pip install l2caf[localization]`"
        ) from error
    return cv2
