"""Arrays to pictures: resizing maps, colouring them, laying them over what they explain.

Colours run from deep violet over red to pale yellow with steadily rising lightness, so that the order of values
survives greyscale print and the common kinds of colour blindness. Opacity follows the heat: where the attention
is low the picture stays as it is.
"""

import base64
import io
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from l2caf.errors import DataError

Normalize = Literal["max", "minmax"]

ANCHORS: Final = (  # sRGB at equal steps of the heat, lightness rising throughout
    (24, 15, 62),
    (87, 21, 126),
    (153, 45, 128),
    (213, 70, 98),
    (246, 118, 72),
    (254, 186, 100),
    (252, 245, 180),
)
MODES: Final = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps linearly along every spatial axis (half-pixel centres).

    Args:
        maps: the maps (b, k, *grid) with 1 to 3 spatial axes, floating point.
        size: the new size of each spatial axis.

    Returns:
        The maps (b, k, *size).

    Raises:
        DataError: if the ranks differ or a size is not positive.
    """
    rank = maps.dim() - 2
    if rank != len(size) or rank not in MODES or min(size, default=0) < 1:
        raise DataError(f"maps of shape {tuple(maps.shape)} cannot be resized to {tuple(size)}; expected (b, k, *grid)")
    return torch.nn.functional.interpolate(maps.float(), tuple(size), mode=MODES[rank], align_corners=False)


def normalized(maps: Tensor, how: Normalize = "max", *, rank: int = 2) -> Tensor:
    """Scale maps to [0, 1], each on its own.

    Args:
        maps: the maps (..., *grid), non-negative.
        how: `"max"` divides by the maximum; `"minmax"` subtracts the minimum first.
        rank: the number of spatial axes.

    Returns:
        The maps in the same shape; a map that is constant 0 (or constant, for `"minmax"`) becomes 0.

    Raises:
        DataError: for another `how`.
    """
    if how not in ("max", "minmax"):
        raise DataError(f"normalize={how!r} is unknown; expected 'max' or 'minmax'")
    axes = tuple(range(-rank, 0))
    if how == "minmax":
        maps = maps - maps.amin(axes, keepdim=True)
    top = maps.amax(axes, keepdim=True)
    return torch.where(top > 0, maps / top.clamp_min(torch.finfo(maps.dtype).tiny), torch.zeros_like(maps))


def to_rgb(images: Tensor) -> UInt8[np.ndarray, "b h w 3"]:
    """Turn the tensors that a network was fed into pictures to look at.

    Args:
        images: the inputs (b, c, h, w); of more than three channels the first three are shown. Values of type uint8 and
            floats in [0, 1] are taken as they are; others are stretched to their own range, picture by picture.

    Returns:
        The pictures, RGB in [0, 255].

    Raises:
        DataError: if there are not four axes.
    """
    if images.dim() != 4:
        raise DataError(f"images of shape {tuple(images.shape)} cannot be shown; expected (b, c, h, w)")
    planes = images.detach().cpu()[:, :3]
    if planes.shape[1] != 3:
        planes = planes[:, :1].expand(-1, 3, -1, -1)
    if planes.dtype != torch.uint8:
        planes = (_unit_range(torch.nan_to_num(planes.float())) * 255).round().to(torch.uint8)
    return planes.permute(0, 2, 3, 1).contiguous().numpy()


def _unit_range(planes: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    low, high = planes.amin((1, 2, 3), keepdim=True), planes.amax((1, 2, 3), keepdim=True)
    fits = (low >= 0) & (high <= 1)
    return torch.where(fits, planes, (planes - low) / (high - low).clamp_min(1e-12))


def colorize(heatmap: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colour heat in [0, 1]; values outside are clipped to the ends."""
    anchors = np.asarray(ANCHORS, dtype=np.float64)
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(heatmap, places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(
    picture: UInt8[np.ndarray, "h w 3"], heatmap: Float[np.ndarray, "h w"], *, opacity: float = 0.75
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a picture under its heatmap.

    Args:
        picture: the picture, RGB.
        heatmap: the map in [0, 1], of the picture's size.
        opacity: the opacity of the hottest colour, in [0, 1]; cooler colours are more transparent in proportion.

    Returns:
        The drawing, RGB.

    Raises:
        DataError: if the sizes differ.
    """
    if picture.shape[:2] != heatmap.shape:
        raise DataError(f"a heatmap of {heatmap.shape} does not fit a picture of {picture.shape[:2]}; resize it first")
    alpha = opacity * np.clip(heatmap, 0, 1)[..., None]
    return ((1 - alpha) * picture + alpha * colorize(heatmap)).round().astype(np.uint8)


def in_frame(
    filter_: Float[Tensor, "h w"], size: tuple[int, int], region: tuple[float, float, float, float]
) -> Float[np.ndarray, "height width"]:
    """Lay a filter's map over the part of a picture that it is of.

    Args:
        filter_: the filter, signed, on its grid.
        size: the width and height of the picture in pixels.
        region: the rectangle (x0, y0, x1, y1) of the picture that the grid covers; it may reach beyond the edges.

    Returns:
        The magnitude of the filter in [0, 1], float32; it is 0 outside the region.
    """
    width, height = size
    x0, y0, x1, y1 = (round(value) for value in region)
    resized = resize(filter_.abs()[None, None], (max(1, y1 - y0), max(1, x1 - x0)))
    heat = normalized(resized)[0, 0].cpu().numpy()
    canvas = np.zeros((height, width), dtype=np.float32)
    top, left = max(y0, 0), max(x0, 0)
    inside = heat[top - y0 : min(y1, height) - y0, left - x0 : min(x1, width) - x0]
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return canvas


def png_uri(array: UInt8[np.ndarray, "h w 3"]) -> str:
    """Encode a picture losslessly as a `data:` URI."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
