"""Sanity checks (the paper's Figures 10, S5, S6): does a map change when what it explains is destroyed?

A method that gives much the same map for a network whose layers were drawn anew explains the picture, not the network.
Layers are re-initialised from the logits downwards, one after another (*cascading*) or one at a time (*independent*),
and the maps compared with those of the trained network by rank correlation and structural similarity.

Reference: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
"""

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from l2caf.attention import L2CAF
from l2caf.errors import DataError
from l2caf.extras import require
from l2caf.guard import genuine_call, intercept
from l2caf.methods.registry import methods
from l2caf.pictures import normalized, resize

Mode = Literal["cascading", "independent"]
SIDE: Final = 112  # maps are compared at this size, and on their grid


@dataclass(frozen=True, slots=True)
class MapSimilarity:
    """How much of a method's maps is left after re-initialising layers.

    Attributes:
        method: the method's name.
        stage: the layers that were re-initialised last.
        seed: the seed of the new weights.
        rank: Spearman's rank correlation on the grid, mean over pictures, in [-1, 1].
        ssim: structural similarity of the maps resized to 112 x 112, mean over pictures.
    """

    method: str
    stage: str
    seed: int
    rank: float
    ssim: float


def resettable(model: nn.Module, inputs: Tensor) -> list[str]:
    """Layers that can be drawn anew, from the output downwards, in the order in which they run.

    Args:
        model: the network.
        inputs: pictures (b, c, h, w) to run it on.

    Returns:
        Names of modules with parameters of their own and a `reset_parameters`.

    Raises:
        DataError: if there is none.
    """
    names = {module: name for name, module in model.named_modules()}
    ran: list[str] = []

    def note(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if names[module] not in ran:
            ran.append(names[module])
        return genuine_call(module, args, kwargs)

    own = [module for module in model.modules() if hasattr(module, "reset_parameters") and _has_own(module)]
    with torch.no_grad(), intercept(own, note):
        model(inputs[:1])
    if not ran:
        raise DataError("no layer of this network has a reset_parameters, so none can be drawn anew")
    return ran[::-1]


def ends(model: nn.Module, inputs: Tensor) -> dict[str, list[str]]:
    """The paper's two stages: the layer that makes the logits, then all others too.

    Args:
        model: the network.
        inputs: pictures (b, c, h, w).

    Returns:
        Layers by stage.
    """
    logits, *others = resettable(model, inputs)
    return {"logits": [logits], "all layers": others}


def _has_own(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def sanity(  # noqa: PLR0913  (what a check is made of)
    model: nn.Module,
    inputs: Tensor,
    names: Sequence[str],
    *,
    mode: Mode = "cascading",
    stages: Mapping[str, Sequence[str]] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    keep: Callable[[str, str, int, Tensor], None] | None = None,
) -> list[MapSimilarity]:
    """Compare maps of a network with those of the same network, layers of it drawn anew.

    Args:
        model: the network in eval mode; copies of it are re-initialised.
        inputs: pictures (b, c, h, w).
        names: methods, as `methods` takes them; class-specific ones explain the trained network's first guess.
        mode: cumulative from the logits downwards, or one layer at a time.
        stages: which layers are drawn anew at each stage, in order; by default one at a time, all that can be. The
            paper's two are `ends`.
        seeds: the seeds of the new weights.
        keep: called with method, stage, seed and the maps (b, *grid); of the trained network with stage "".

    Returns:
        A row per method, stage and seed.
    """
    order = stages or {name: [name] for name in resettable(model, inputs)}
    with torch.no_grad():
        targets = model(inputs).argmax(1, keepdim=True)
    trained = _maps(model, inputs, names, targets)
    if keep is not None:
        for name, maps in trained.items():
            keep(name, "", 0, maps)
    rows: list[MapSimilarity] = []
    for seed in seeds:
        changed = copy.deepcopy(model)
        for stage, layers in order.items():
            if mode == "independent":
                changed = copy.deepcopy(model)
            for layer in layers:
                _draw_anew(changed.get_submodule(layer), seed)
            for name, maps in _maps(changed, inputs, names, targets).items():
                rank, ssim = similarity(trained[name], maps)
                rows.append(MapSimilarity(name, stage, seed, rank, ssim))
                if keep is not None:
                    keep(name, stage, seed, maps)
    return rows


def similarity(maps: Float[Tensor, "b h w"], others: Float[Tensor, "b h w"]) -> tuple[float, float]:
    """Mean rank correlation on the grid and mean structural similarity after resizing.

    Args:
        maps: the maps, non-negative.
        others: the maps to compare them with, non-negative. A constant map has no ranks and counts as uncorrelated.

    Returns:
        Rank correlation in [-1, 1] and SSIM in [-1, 1].
    """
    spearmanr = require("scipy.stats", extra="localization").spearmanr
    structural_similarity = require("skimage.metrics", extra="localization").structural_similarity
    ranks, ssims = [], []
    for one, two in zip(as_shown(maps), as_shown(others), strict=True):
        ssims.append(structural_similarity(one, two, data_range=1.0, gaussian_weights=True, sigma=1.5))
    for one, two in zip(maps.flatten(1).numpy(), others.flatten(1).numpy(), strict=True):
        ranks.append(0.0 if np.ptp(one) == 0 or np.ptp(two) == 0 else float(spearmanr(one, two).statistic))
    return float(np.mean(ranks)), float(np.mean(ssims))


def as_shown(maps: Float[Tensor, "b h w"]) -> np.ndarray:
    """Maps as they are compared and drawn: non-negative, 112 x 112, each divided by its maximum, in float64."""
    return normalized(resize(maps[:, None], (SIDE, SIDE)).clamp(min=0))[:, 0].numpy().astype(np.float64)


def _maps(model: nn.Module, inputs: Tensor, names: Sequence[str], targets: Tensor) -> dict[str, Tensor]:
    found = methods(list(names), model)
    with L2CAF(model).cut(inputs) as cut:
        return {name: method(cut, targets)[:, 0].float().cpu() for name, method in found.items()}


def _draw_anew(module: nn.Module, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module.reset_parameters()  # type: ignore[operator]


def summary(rows: Sequence[MapSimilarity]) -> list[tuple[str, str, float, float]]:
    """Method, stage, rank correlation and SSIM, mean over seeds, in the rows' order."""
    groups: dict[tuple[str, str], list[MapSimilarity]] = {}
    for row in rows:
        groups.setdefault((row.method, row.stage), []).append(row)
    return [
        (*key, statistics.fmean(row.rank for row in group), statistics.fmean(row.ssim for row in group))
        for key, group in groups.items()
    ]
