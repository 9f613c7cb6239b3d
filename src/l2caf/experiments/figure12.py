"""The paper's Figure 12: the time of a map by the paper's descent, vanilla and fast, and ours beside it.

Both forms of the descent take the same steps, so the vanilla form is timed over a few of them and scaled to the number
that the fast form took. Times are in forward passes of the same input, and are taken in turn; losses are those that the
network gives under the filter. Source: Taha et al., ECCV 2020, Sec. 4.4.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

from l2caf.attention import L2CAF, Attention
from l2caf.models import load
from l2caf.solvers import Descent
from l2caf.viz.plot import new_figure, save_figure

NETWORKS: Final = ("googlenet", "resnet50", "densenet161", "vgg16")
SEEDS: Final = (0, 1, 2)
VANILLA_STEPS: Final = 4
MOST_UPRIGHT: Final = 6  # names have room side by side
TINY: Final = torch.finfo(torch.float32).tiny  # keeps gaps finite where a loss is zero
T = TypeVar("T")
COLOURS: Final = {"descent, vanilla": "#c7c7c7", "descent, fast": "#7f7f7f", "l2caf": "#1f77b4"}


@dataclass(frozen=True, slots=True)
class TimedSolve:
    """One solve.

    Attributes:
        cost: its time in forward passes of the same input.
        loss: the loss that the network gives under the filter.
        iterations: iterations of the solver; 0 for closed forms.
    """

    cost: float
    loss: float
    iterations: int

    @classmethod
    def of(cls, found: Attention, cost: float) -> "TimedSolve":
        """The solve of a single map."""
        return cls(cost, float(found.loss), int(found.evidence.iterations))


@dataclass(frozen=True, slots=True)
class Timing:
    """One layer and objective.

    Attributes:
        name: a name of the network and the layer.
        layer: the dotted name of the layer.
        grid: the grid, such as 14x14.
        objective: oblivious or specific.
        solver: the name of the solver that found our map.
        certificate: what the solver proved about it.
        forward_s: the median time of a forward pass in seconds.
        ours: our solve with default settings, at its median cost.
        descent: the paper's fast form, from each seed.
        vanilla_cost: the cost of the vanilla form of the first seed's descent; None where it was not timed.
        uniform_loss: the loss of the uniform filter.
        loss_gap: our loss less that of the best descent, relative to the latter.
        gain_gap: the same difference, relative to what the best descent gained on the uniform filter.
        speed_up: the median cost of the descents over ours.
    """

    name: str
    layer: str
    grid: str
    objective: str
    solver: str
    certificate: str
    forward_s: float
    ours: TimedSolve
    descent: tuple[TimedSolve, ...]
    vanilla_cost: float | None
    uniform_loss: float
    loss_gap: float
    gain_gap: float
    speed_up: float


def time_layer(
    name: str,
    model: nn.Module,
    inputs: Tensor,
    layer: str | None = None,
    target: str | None = None,
    *,
    vanilla: bool = True,
) -> Timing:
    """Time ours and three seeds of the paper's descent on one layer, in turn.

    Args:
        name: the name of the row.
        model: a network in eval mode.
        inputs: one input (1, ...).
        layer: the dotted name of a layer; None for the network's default.
        target: None for the class-oblivious map, or "top1".
        vanilla: whether the vanilla form is timed, too.

    Returns:
        Costs in forward passes, and losses.
    """
    caf = L2CAF(model, layer)
    mine = caf(inputs, target)  # also finds out where to cut
    forward_s, our_s, theirs = [], [], []
    for seed in SEEDS:
        descent = L2CAF(model, mine.question.layer, solver=Descent(seed=seed))
        forward_s.append(min(_timed(partial(_forward, model, inputs))[0] for _ in range(3)))
        our_s.append(_timed(partial(caf, inputs, target))[0])
        theirs.append(_timed(partial(descent, inputs, target)))
    forward, our = statistics.median(forward_s), statistics.median(our_s)
    descents = tuple(TimedSolve.of(found, spent / forward) for spent, found in theirs)
    best, uniform = min(one.loss for one in descents), float(mine.uniform_loss)
    step = _vanilla_step(model, mine.question.layer, inputs, target) / forward if vanilla else None
    return Timing(
        name, mine.question.layer, "x".join(map(str, mine.grid)), "oblivious" if target is None else "specific",
        solver=mine.evidence.solver,
        certificate=mine.certificate[0][0].label,
        forward_s=forward,
        ours=TimedSolve.of(mine, our / forward),
        descent=descents,
        vanilla_cost=None if step is None else step * descents[0].iterations,
        uniform_loss=uniform,
        loss_gap=(float(mine.loss) - best) / max(abs(best), TINY),
        gain_gap=(float(mine.loss) - best) / max(uniform - best, TINY),
        speed_up=statistics.median(spent for spent, _ in theirs) / our,
    )  # fmt: skip


def _vanilla_step(model: nn.Module, layer: str, inputs: Tensor, target: str | None) -> float:
    """Seconds of one iteration through the whole network: what more iterations add to a call."""
    cafs = [L2CAF(model, layer, solver=Descent(max_iterations=steps), fast=False) for steps in (1, 1 + VANILLA_STEPS)]
    for caf in cafs:
        caf(inputs, target)
    once, more = (min(_timed(partial(caf, inputs, target))[0] for _ in range(3)) for caf in cafs)
    return max(more - once, 0.0) / VANILLA_STEPS


def _forward(model: nn.Module, inputs: Tensor) -> None:
    with torch.inference_mode():
        model(inputs)


def _timed(function: Callable[[], T]) -> tuple[float, T]:
    _settle()
    start = time.perf_counter()
    result = function()
    _settle()
    return time.perf_counter() - start, result


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def figure12(path: Path, *, networks: Sequence[str] = NETWORKS) -> list[Timing]:
    """Time class-oblivious maps of some networks at their default layers, and draw the figure.

    Args:
        path: the picture to write; the timings are written beside it as JSON.
        networks: names of networks; their weights are random, which cost what trained ones do.

    Returns:
        A timing for each network.
    """
    timings = []
    for name in networks:
        loaded = load(name, pretrained=False)
        inputs = torch.randn(1, 3, *(loaded.card.size or (224, 224)), generator=torch.Generator().manual_seed(0))
        timings.append(time_layer(name, loaded.model.eval(), inputs))
    draw(timings, path)
    path.with_suffix(".json").write_text(json.dumps([asdict(one) for one in timings], indent=1), encoding="utf-8")
    return timings


def draw(timings: Sequence[Timing], path: Path) -> None:
    """Draw bars for each network on a logarithmic axis, as the paper's Figure 12 does; horizontal where there are many.

    Args:
        timings: the costs to draw.
        path: the picture to write.
    """
    n, lying = len(timings), len(timings) > MOST_UPRIGHT
    figure, ((axes,),) = new_figure(size=(8.0, 1.2 + 0.45 * n) if lying else (1.6 + 1.1 * n, 4.2))
    for number, (kind, colour) in enumerate(COLOURS.items()):
        places = [place + 0.27 * (number - 1) for place in range(n)]
        draw_bars = axes.barh if lying else axes.bar
        bars = draw_bars(places, [costs(one)[kind] for one in timings], 0.25, label=kind, color=colour)
        axes.bar_label(bars, fmt=lambda cost: f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}", fontsize=6, padding=1)
    names = [f"{one.name}\n{one.objective}" for one in timings]
    what = "time of a map in forward passes"
    if lying:
        axes.set(xscale="log", xlabel=what, xmargin=0.08, ylim=(n - 0.5, -0.5))
        axes.set_yticks(range(n), names, fontsize=7)
    else:
        axes.set(yscale="log", ylabel=what)
        axes.set_xticks(range(n), names, fontsize=7)
    axes.legend(fontsize="small")
    save_figure(figure, path)


def costs(timing: Timing) -> dict[str, float]:
    """The cost of each kind in forward passes; NaN where it was not timed."""
    fast = statistics.median(one.cost for one in timing.descent)
    vanilla = float("nan") if timing.vanilla_cost is None else timing.vanilla_cost
    return dict(zip(COLOURS, (vanilla, fast, timing.ours.cost), strict=True))
