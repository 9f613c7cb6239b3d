"""Slow motion: a filter on its way from its start to its solution, over the picture, one panel per target.

Iterations are chosen so that the filter moves equally far between neighbouring frames.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from l2caf import pictures
from l2caf.attention import Attention
from l2caf.errors import DataError, StorageError
from l2caf.viz.film import mp4

PANEL_PX: Final = 224  # height of a panel
CAPTION_PX: Final = 34
FRAMES: Final = 72
FRAME_MS: Final = 80
HOLD: Final = 12  # times that the last frame is shown in MP4; GIF holds it by its duration


def frames(
    attention: Attention, index: int, picture: UInt8[np.ndarray, "h w 3"], labels: Sequence[str]
) -> list[UInt8[np.ndarray, "h2 w2 3"]]:
    """Draw how the filters of one input converge.

    Args:
        attention: An attention that was solved with `keep_trace=True` on a two-dimensional grid.
        index: The number of the input.
        picture: The whole picture that the input was made from.
        labels: One label for each map of that input, in the order of `Attention.places`.

    Returns:
        At most 72 RGB frames of the same even size, with iteration and loss in each panel.

    Raises:
        DataError: if there is no trace, or no flat picture to draw on.
    """
    if attention.trace is None:
        raise DataError(
            "there is nothing to animate: solve with Descent(keep_trace=True) or QuasiNewton(keep_trace=True)"
        )
    if len(attention.grid) != 2:
        raise DataError(f"a filter on a grid of rank {len(attention.grid)} cannot be drawn over a picture")
    base = Image.fromarray(picture)
    base = base.resize((max(2, round(base.width * PANEL_PX / base.height)), PANEL_PX))
    path = attention.trace.filter[:, index].flatten(1, attention.loss.dim() - 1).cpu()
    loss = attention.trace.loss[:, index].flatten(1).cpu()
    return [
        np.concatenate(
            [
                _panel(np.asarray(base), path[step, k], f"{label}\niteration {step}   loss {loss[step, k]:.4g}")
                for k, label in enumerate(labels)
            ],
            axis=1,
        )
        for step in _steps(path)
    ]


def _steps(path: Float[torch.Tensor, "t k *grid"]) -> list[int]:
    """Return iterations between which the filters move equally far, the first and the last included."""
    way = (path[1:] - path[:-1]).flatten(1).norm(dim=1).cumsum(0)
    if len(path) <= FRAMES or float(way[-1]) == 0:
        return list(range(min(len(path), FRAMES)))
    marks = torch.linspace(0, float(way[-1]), FRAMES)
    found: Int[torch.Tensor, " f"] = torch.searchsorted(torch.cat([torch.zeros(1), way]), marks).clamp(
        max=len(path) - 1
    )
    return sorted({*found.tolist(), len(path) - 1})


def _panel(
    picture: UInt8[np.ndarray, "h w 3"], filter_: Float[torch.Tensor, "p q"], caption: str
) -> UInt8[np.ndarray, "h2 w2 3"]:
    heat = pictures.normalized(pictures.resize(filter_.abs()[None, None], picture.shape[:2]))[0, 0].numpy()
    height, width = picture.shape[:2]
    canvas = Image.new("RGB", (width + width % 2, height + CAPTION_PX), "white")  # H.264 wants even sizes
    canvas.paste(Image.fromarray(pictures.overlay(picture, heat)))
    ImageDraw.Draw(canvas).multiline_text((4, height + 3), caption, fill="black", font=ImageFont.load_default(12))
    return np.asarray(canvas)


def write_gif(path: Path, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> None:
    """Write an endless GIF that rests on its last frame.

    Args:
        path: The file to write.
        images: The frames, at least one.

    Raises:
        StorageError: if the file cannot be written.
    """
    palette = [Image.fromarray(image).quantize(128) for image in images]
    durations = [FRAME_MS] * (len(images) - 1) + [FRAME_MS * HOLD]
    try:
        palette[0].save(path, "GIF", save_all=True, append_images=palette[1:], duration=durations, loop=0)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def write_mp4(path: Path, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> None:
    """Write an H.264 film that every browser plays.

    Args:
        path: The file to write.
        images: The frames, at least one, of even height and width.

    Raises:
        ExtraMissingError: if PyAV is not installed.
        StorageError: if the file cannot be written.
    """
    with mp4(path, 1000 / FRAME_MS) as write:
        for image in [*images, *[images[-1]] * HOLD]:
            write(image)
