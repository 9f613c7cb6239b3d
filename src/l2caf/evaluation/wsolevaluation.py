"""The box rule of wsolevaluation (Choe et al., CVPR 2020): contours of a min-max map, at one threshold or swept."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, UInt8

from l2caf.evaluation.boxes import Heat, minmax, resized
from l2caf.evaluation.frame import Boxes, InputFrame, iou
from l2caf.extras import require

Contours = Literal["largest", "all"]
SweptOverlaps = dict[Contours, Float[np.ndarray, " t"]]
WSOL_SIDE: Final = 224  # of the map, in pixels


@dataclass(frozen=True, slots=True)
class WsolEvaluation:
    """The contours of a bicubic min-max map at 224 x 224 (Choe et al. 2020), at one threshold.

    `metrics.MaxBoxAcc` sweeps the threshold, as wsolevaluation does.

    Attributes:
        name: the name of the protocol.
        contours: the largest contour (MaxBoxAcc) or all contours (MaxBoxAccV2).
        threshold: the share of the min-max map's range above which a pixel belongs to a contour.
    """

    name: str
    contours: Contours
    threshold: float = 0.2
    inclusive: bool = True

    @property
    def counted(self) -> int | None:
        """One box for the largest contour, or None: every contour counts."""
        return 1 if self.contours == "largest" else None

    def boxes(self, heat: Heat, frame: InputFrame) -> Boxes:
        """Boxes in pixels of the map at 224 x 224; (0, 0, 0, 0) where there is no contour."""
        del frame
        return self.at(wsol_map(heat), self.threshold)

    def at(self, score: Heat, threshold: float) -> Boxes:
        """Boxes of a map in [0, 1] at a threshold.

        Args:
            score: the map (h, w).
            threshold: a share of the map's maximum, in [0, 1).

        Returns:
            Boxes (n, 4) in pixels of the map.
        """
        grey = (score * 255).astype(np.uint8)  # truncated, as there
        found, largest = _contour_boxes(grey, int(threshold * grey.max()))
        return found[largest : largest + 1] if self.contours == "largest" else found

    def truth(self, boxes: Boxes, frame: InputFrame) -> Boxes:
        """The annotated boxes, scaled to the map and truncated to whole pixels."""
        return np.trunc(frame.to_input(np.asarray(boxes, dtype=float), (WSOL_SIDE, WSOL_SIDE)))


def swept_overlaps(score: Heat, truth: Boxes, thresholds: Float[np.ndarray, " t"]) -> SweptOverlaps:
    """The best overlap with an annotated box at every threshold, by wsolevaluation's rule, for both its versions.

    Args:
        score: a map in [0, 1].
        truth: annotated boxes (n, 4) in pixels of the map.
        thresholds: shares of the map's maximum, in [0, 1).

    Returns:
        For each threshold an overlap in [0, 1]: of the box of the largest contour, and the best over all contours.
    """
    grey = (score * 255).astype(np.uint8)
    cuts, place = np.unique((thresholds * grey.max()).astype(int), return_inverse=True)
    found = [_contour_boxes(grey, int(cut)) for cut in cuts]
    starts = np.cumsum([0, *(len(boxes) for boxes, _ in found)])
    overlaps = iou(np.concatenate([boxes for boxes, _ in found]), truth, inclusive=True).max(axis=1, initial=0.0)
    largest = overlaps[starts[:-1] + [index for _, index in found]]
    return {"largest": largest[place], "all": np.maximum.reduceat(overlaps, starts[:-1])[place]}


def _contour_boxes(grey: UInt8[np.ndarray, "h w"], cut: int) -> tuple[Boxes, int]:
    """The boxes of the contours of all pixels above a grey value, or (0, 0, 0, 0); and which one is the largest."""
    cv2 = require("cv2", extra="localization")
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
    return minmax(resized(heat, (side, side), "bicubic"))
