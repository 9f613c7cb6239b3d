"""Figure 9: attention of a recurrent retrieval network at every time step, one clip a row."""

from pathlib import Path
from typing import Final

from l2caf.attention import L2CAF
from l2caf.data.digit_clips import CLASSES, DigitClips
from l2caf.progress import Report, silent
from l2caf.recipes.clips import WEIGHTS, ClipRecipe, as_inputs, default_options, trained
from l2caf.recipes.recipe import train
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
        output: the picture file to write.
        weights: the weights of a `ClipRecipe`; None trains a network beside the picture first, for some minutes, or
            continues the training that is there.
        joint: whether one filter is sought over all frames, so that the brightest frame is the one that matters.
        report: called with the number of steps of the training done and the number in all.

    Returns:
        For each row its event, the mean loss of its filters, and the mean loss of the uniform filter.

    Raises:
        StorageError: if the figure cannot be written.
    """
    if weights is None:
        folder = output.with_name(f"{output.stem}-training")
        train(ClipRecipe(), default_options(0), folder, resume=True, report=report)
        weights = folder / WEIGHTS
    model, clips = trained(weights), DigitClips("test", length=ROWS)
    rows, lines = [], []
    for index in range(ROWS):
        clip = clips[index]
        attention = L2CAF(model, "shallow", joint=joint)(as_inputs(clip.frames)[None])
        maps = frame_maps(attention, clip.frames.shape[1:3])[0].numpy()
        first, *others = (contoured(frame, heat) for frame, heat in zip(clip.frames, maps, strict=True))
        rows.append([titled(first, CLASSES[clip.label]), *others])
        lines.append((CLASSES[clip.label], float(attention.loss.mean()), float(attention.uniform_loss.mean())))
    write_grid(output, [f"t = {t + 1}" for t in range(clips.frames)], rows)
    return lines
