"""Boxes around the bright part of a map."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from l2caf.errors import DataError
from l2caf.evaluation.frame import Boxes, Frame
from l2caf.extras import require

Which = Literal["largest", "all"]


def boxes(
    heatmap: Float[np.ndarray, "h w"], threshold: float = 0.2, *, frame: Frame | None = None, which: Which = "largest"
) -> Boxes:
    """Tight boxes around the 8-connected regions in which a map exceeds a share of its maximum.

    Source: Zhou et al., CVPR 2016, section 3.2, as Taha et al., ECCV 2020, use it.

    Args:
        heatmap: (h, w), finite, over what the network was shown; a box cannot be finer than it, so resize first.
        threshold: share of the maximum, in [0, 1).
        frame: where the network's input lies in the original picture; None leaves boxes in pixels of the map.
        which: `"largest"`: one box, of the region with most pixels; `"all"`: one for each region, largest first.

    Returns:
        (n, 4) x0, y0, x1, y1; empty for a map that is nowhere positive.

    Raises:
        DataError: if the map is not a finite matrix or the threshold is out of range.

    Example:
        >>> heat = np.zeros((4, 6))
        >>> heat[1:3, 2:5] = 1.0
        >>> boxes(heat).tolist()
        [[2.0, 1.0, 5.0, 3.0]]
        >>> boxes(heat, frame=Frame.whole(60, 40)).tolist()
        [[20.0, 10.0, 50.0, 30.0]]
    """
    heatmap = checked(heatmap)
    if not 0 <= threshold < 1:
        raise DataError(f"threshold {threshold} is a share of the map's maximum; expected 0 <= threshold < 1")
    top = float(heatmap.max())
    found = regions(heatmap > threshold * top) if top > 0 else np.zeros((0, 4))
    found = found[:1] if which == "largest" else found
    return found if frame is None else frame.to_picture(found, (heatmap.shape[0], heatmap.shape[1]))


def regions(mask: Bool[np.ndarray, "h w"]) -> Boxes:
    """Tight boxes of the 8-connected regions of a mask, the one with most pixels first (ties: in reading order)."""
    ndimage = require("scipy.ndimage", extra="localization")
    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    corners = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    return np.asarray(corners, dtype=float).reshape(-1, 4)[np.argsort(-sizes, kind="stable")]


def checked(heatmap: np.ndarray) -> np.ndarray:
    """A map as a finite float64 matrix.

    Args:
        heatmap: anything.

    Returns:
        The same values.

    Raises:
        DataError: if it is not one.
    """
    values = np.asarray(heatmap, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"a map of shape {values.shape} has no boxes; expected (h, w)")
    if not np.isfinite(values).all():
        raise DataError("the map is not finite; expected finite values")
    return values
