"""What an image processor of Hugging Face transformers does to a picture, as a model card.

Its configuration does not say all: some processors enlarge the size before they crop, or normalise twice, by code of
their own. So it is measured: plain pictures show the mean, the deviation and the order of the channels, and ramps from
black to white show which part of the picture each pixel of the input comes from.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from l2caf.models.card import Channels, Fit, ModelCard, Resample

logger = logging.getLogger("l2caf")

LONG: Final = 384
SHORT: Final = 256  # one shade of grey a pixel
MARGIN: Final = 0.1  # of the ramps at each edge, where resizing bends them
TOLERANCE: Final = 0.01  # of a side
Box = tuple[float, float, float, float]
Processor = Callable[..., Mapping[str, Any]]


class _CardError(Exception):
    """A card has no words for what a processor does; the message ends in a warning."""


def card_of(processor: Processor, name: str) -> ModelCard:
    """The card by which pictures are prepared as an image processor prepares them.

    Args:
        processor: an image processor of transformers.
        name: the network's name, for the log.

    Returns:
        The card, with the labels and all else left open. Where a card cannot say what the processor does, a warning on
        the log says so, and the card has as much of it as could be measured.
    """
    known = ModelCard()
    try:
        mean, std, channels = _colours(processor)
        known = ModelCard(mean=mean, std=std, channels=channels, resample=_resample(processor))
        size, fit, crop = _geometry(processor)
    except _CardError as reason:
        logger.warning(
            "%s of %s %s, which a model card cannot say: l2caf prepares pictures in another way, set by size, mean, "
            "std and fit; or call L2CAF with what the processor itself returns",
            type(processor).__name__, name, reason,
        )  # fmt: skip
        return known
    return ModelCard(size=size, mean=mean, std=std, fit=fit, crop=crop, channels=channels, resample=known.resample)


def _processed(processor: Processor, picture: np.ndarray) -> Tensor:
    """What the network is fed of a picture (h, w, 3): (3, h, w)."""
    try:
        values = processor(images=Image.fromarray(picture), return_tensors="pt")["pixel_values"]
    except Exception as error:  # of any code
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _CardError(f"does not take a picture alone ({reason})") from error
    if not isinstance(values, Tensor) or values.dim() != 4 or values.shape[:2] != (1, 3):
        raise _CardError(f"makes {tuple(getattr(values, 'shape', ()))} of a picture and not (1, 3, h, w)")
    return values[0].double()


def _colours(processor: Processor) -> tuple[tuple[float, ...], tuple[float, ...], Channels | None]:
    """Mean, deviation and order of the channels."""

    def of(colour: tuple[int, int, int]) -> Tensor:
        values = _processed(processor, np.full((SHORT, SHORT, 3), colour, dtype=np.uint8))
        return values[:, values.shape[1] // 2, values.shape[2] // 2]

    black = of((0, 0, 0))
    gains = torch.stack([of((255, 0, 0)), of((0, 255, 0)), of((0, 0, 255))], 1) - black[:, None]
    orders: dict[Channels | None, Tensor] = {None: gains, "bgr": gains.flip(1)}
    for order, one in orders.items():
        gain = one.diagonal()
        if torch.allclose(one, gain.diag(), atol=1e-5) and bool((gain > 0).all()):
            return _digits(-black / gain), _digits(1 / gain), order
    raise _CardError("mixes the colours of a picture")


def _digits(values: Tensor) -> tuple[float, ...]:
    """The values without what single precision adds to them."""
    return tuple(float(f"{value:.6g}") + 0.0 for value in values.tolist())


def _resample(processor: Processor) -> Resample | None:
    how = getattr(processor, "resample", None)
    known: dict[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
    return None if how is None else known[int(how)]


def _geometry(processor: Processor) -> tuple[tuple[int, int], Fit, float | None]:
    """Size of the input, and which part of a picture it shows."""
    shapes = [(SHORT, LONG), (LONG, SHORT)]
    found = [_shown(processor, shape) for shape in shapes]
    (size, _), (other, _) = found
    if size != other:
        raise _CardError(f"makes inputs of several sizes ({size} and {other})")
    fits: dict[Fit, Callable[[float, float], float]] = {"squash": lambda a, _: a, "crop": min}
    for fit, scale in fits.items():
        shares = []
        for (h, w), (_, (x0, y0, x1, y1)) in zip(shapes, found, strict=True):
            by_height, by_width = h / size[0], w / size[1]
            whole = (size[1] * scale(by_width, by_height), size[0] * scale(by_height, by_width))
            shares += [(x1 - x0) / whole[0], (y1 - y0) / whole[1]]
        share = sum(shares) / len(shares)
        if max(shares) - min(shares) < TOLERANCE and share < 1 + TOLERANCE:
            return size, fit, None if share > 1 - TOLERANCE / 4 else round(share, 3)
    raise _CardError("shows a part of the picture that depends on its aspect")


def _shown(processor: Processor, shape: tuple[int, int]) -> tuple[tuple[int, int], Box]:
    """The size of the input made of a picture (h, w), and the rectangle of the picture that it shows."""
    h, w = shape
    across = np.broadcast_to(((np.arange(w) + 0.5) * 256 / w).astype(np.uint8)[None, :, None], (h, w, 3))
    down = np.broadcast_to(((np.arange(h) + 0.5) * 256 / h).astype(np.uint8)[:, None, None], (h, w, 3))
    black, white = (_processed(processor, np.full((h, w, 3), value, dtype=np.uint8))[0] for value in (0, 255))
    ends = []
    for axis, ramp in ((1, across), (0, down)):
        values = _processed(processor, np.ascontiguousarray(ramp))[0]
        light = ((values - black) / (white - black).clamp_min(1e-9)).mean(1 - axis)
        ends.append(_ends(light, shape[axis]))
    (x0, x1), (y0, y1) = ends
    if max(abs(x0 + x1 - w) / w, abs(y0 + y1 - h) / h) > 2 * TOLERANCE:
        raise _CardError("shows a part of the picture beside its middle")
    return (int(black.shape[0]), int(black.shape[1])), (x0, y0, x1, y1)


def _ends(light: Tensor, side: int) -> tuple[float, float]:
    """Where a side of the picture is cut, from the light of a ramp along the input."""
    n = len(light)
    inner = slice(round(n * MARGIN), round(n * (1 - MARGIN)))
    centres = (torch.arange(n, dtype=torch.float64) + 0.5)[inner]
    places = (light[inner] * 255 + 0.5) / 256 * side
    slope = ((centres - centres.mean()) * (places - places.mean())).sum() / (centres - centres.mean()).square().sum()
    first = places.mean() - slope * centres.mean()
    if float((places - first - slope * centres).abs().max()) > 2 * TOLERANCE * side or slope <= 0:
        raise _CardError("shows something else than one rectangle of the picture")
    return float(first), float(first + slope * n)
