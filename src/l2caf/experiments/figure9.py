"""Figure 9: attention of a recurrent retrieval network at every time step, one clip a row."""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from l2caf.attention import L2CAF
from l2caf.data.digit_clips import CLASSES, Clip, DigitClips
from l2caf.models.clips import ClipEmbedder
from l2caf.progress import Report, silent
from l2caf.recipes.clips import WEIGHTS, as_inputs, default_options, train_clips, trained
from l2caf.video import frame_maps
from l2caf.viz.film import contoured
from l2caf.viz.grid import titled, write_grid

ROWS: Final = 8  # one clip of each class


def figure9(
    output: Path,
    *,
    weights: Path | None = None,
    joint: bool = False,
    report: Report = silent,
) -> list[tuple[str, float, float]]:
    """Draw the figure.

    Args:
        output: picture file.
        weights: of `train_clips`; None trains a network beside the picture first, for some minutes, or takes up the
            training that is there.
        joint: one filter over all frames, so that the brightest frame is the one that matters.
        report: called with steps of the training done and in all.

    Returns:
        Of each row its event, and the mean loss of its filters and of the uniform one.

    Raises:
        StorageError: if the figure cannot be written.
    """
    if weights is None:
        folder = output.with_name(f"{output.stem}-training")
        train_clips(default_options(0), folder, resume=True, report=report)
        weights = folder / WEIGHTS
    model, clips = trained(weights), DigitClips("test", length=ROWS)
    rows, lines = [], []
    for index in range(ROWS):
        clip = clips[index]
        row, losses = _row(model, clip, joint=joint)
        rows.append(row)
        lines.append((CLASSES[clip.label], *losses))
    write_grid(output, [f"t = {t + 1}" for t in range(clips.frames)], rows)
    return lines


def _row(
    model: ClipEmbedder, clip: Clip, *, joint: bool
) -> tuple[list[UInt8[np.ndarray, "h w 3"]], tuple[float, float]]:
    attention = L2CAF(model, "shallow", joint=joint)(as_inputs(clip.frames)[None])
    maps = frame_maps(attention, clip.frames.shape[1:3])[0].numpy()
    drawn = [contoured(frame, heat) for frame, heat in zip(clip.frames, maps, strict=True)]
    drawn[0] = titled(drawn[0], CLASSES[clip.label])
    return drawn, (float(attention.loss.mean()), float(attention.uniform_loss.mean()))
