"""The paper's Figure 10: what is left of each method's maps when the network's layers are drawn anew."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from l2caf.data.pictures import prepare, seen
from l2caf.evaluation.sanity import SIDE, MapSimilarity, Mode, as_shown, ends, sanity
from l2caf.models import LoadedModel
from l2caf.pictures import overlay
from l2caf.viz.grid import titled, write_grid


def figure10(  # noqa: PLR0913  (what a figure is made of)
    images: Sequence[Image.Image],
    loaded: LoadedModel,
    names: Sequence[str],
    path: Path,
    *,
    mode: Mode = "cascading",
    every: bool = False,
    seeds: Sequence[int] = (0, 1, 2),
) -> list[MapSimilarity]:
    """Check some methods on some pictures and draw the maps.

    Args:
        images: RGB pictures.
        loaded: the network, with its weights and how to feed it.
        names: the names of the methods to compare.
        path: the picture file to write; the figures are written beside it as JSON.
        mode: whether layers are drawn anew one after another (`"cascading"`) or one at a time (`"independent"`).
        every: whether each layer is a stage; False shows the paper's two stages, the last layer and all layers.
        seeds: the seeds from which weights are drawn.

    Returns:
        A row per method, stage and seed.
    """
    feeding = loaded.card.feeding
    prepared = [prepare(image, **feeding) for image in images]
    inputs = torch.stack([tensor for tensor, _ in prepared]).to(loaded.device)
    shown = [seen(image, region, feeding["size"]) for image, (_, region) in zip(images, prepared, strict=True)]
    kept: dict[tuple[str, str, int], Tensor] = {}
    rows = sanity(
        loaded.model, inputs, names, mode=mode, stages=None if every else ends(loaded.model, inputs), seeds=seeds,
        keep=lambda name, stage, seed, maps: kept.__setitem__((name, stage, seed), maps),
    )  # fmt: skip
    draw_figure10(kept, np.stack(shown), path)
    path.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    return rows


def draw_figure10(kept: Mapping[tuple[str, str, int], Tensor], pictures: np.ndarray, path: Path) -> None:
    """The figure: a row per picture and method; the trained network's map first, then after each stage and seed.

    Args:
        kept: the maps (b, h, w) by method, stage and seed, as `sanity` hands them to its `keep`.
        pictures: the RGB pictures (b, h, w, 3) as the network sees them.
        path: the picture file to write.
    """
    stages = list(dict.fromkeys(stage for _, stage, _ in kept))
    columns = sorted({(stage, seed) for _, stage, seed in kept}, key=lambda one: (stages.index(one[0]), one[1]))
    headings = [f"{stage}, seed {seed}" if stage else "trained" for stage, seed in columns]
    rows = []
    for number, picture in enumerate(pictures):
        for name in dict.fromkeys(name for name, _, _ in kept):
            heats = [as_shown(kept[name, *column][number : number + 1])[0] for column in columns]
            small = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            rows.append([titled(small, name), *(overlay(small, heat) for heat in heats)])
    write_grid(path, ["", *headings], rows)
