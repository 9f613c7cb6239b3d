"""Boxes around the bright part of a map."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from l2caf.errors import DataError
from l2caf.evaluation.frame import Boxes, InputFrame
from l2caf.extras import require

Heat = Float[np.ndarray, "h w"]
Which = Literal["largest", "all"]


def boxes(
    heatmap: Float[np.ndarray, "h w"],
    threshold: float = 0.2,
    *,
    frame: InputFrame | None = None,
    which: Which = "largest",
) -> Boxes:
    """Tight boxes around the 8-connected regions in which a map exceeds a share of its maximum.

    Source: Zhou et al., CVPR 2016, section 3.2, as Taha et al., ECCV 2020, use it.

    Args:
        heatmap: a finite map (h, w) over what the network was shown; boxes have its resolution, so resize it first.
        threshold: a share of the map's maximum, in [0, 1).
        frame: where the network's input lies in the original picture; None leaves boxes in pixels of the map.
        which: `"largest"` gives one box, of the region with most pixels; `"all"` gives one for each region, the
            largest first.

    Returns:
        Boxes (n, 4) as x0, y0, x1, y1; none for a map that is nowhere positive.

    Raises:
        DataError: if the map is not a finite matrix or the threshold is out of range.

    Example:
        >>> heat = np.zeros((4, 6))
        >>> heat[1:3, 2:5] = 1.0
        >>> boxes(heat).tolist()
        [[2.0, 1.0, 5.0, 3.0]]
        >>> boxes(heat, frame=InputFrame.whole(60, 40)).tolist()
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


def resized(heat: Heat, size: tuple[int, int], mode: str) -> Float[np.ndarray, "H W"]:
    """A map in another size, by torch's interpolation without aligned corners.

    Args:
        heat: a finite map (h, w).
        size: the height and width of the result.
        mode: `"bilinear"` or `"bicubic"`.

    Returns:
        The map in float64.
    """
    tensor = torch.from_numpy(checked(heat))[None, None]
    return torch.nn.functional.interpolate(tensor, size, mode=mode, align_corners=False)[0, 0].numpy()


def minmax(heat: Heat) -> Heat:
    """A map moved and scaled to [0, 1]; a constant map becomes zero."""
    span = float(heat.max() - heat.min())
    return (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)


def checked(heatmap: np.ndarray) -> np.ndarray:
    """A map as a finite float64 matrix.

    Args:
        heatmap: an array of any type and shape.

    Returns:
        The same values in float64.

    Raises:
        DataError: if the array is not a matrix with values, or a value is not finite.
    """
    values = np.asarray(heatmap, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"a map of shape {values.shape} has no boxes; expected (h, w)")
    if not np.isfinite(values).all():
        raise DataError("the map is not finite; expected finite values")
    return values
