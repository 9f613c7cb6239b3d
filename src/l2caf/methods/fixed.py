"""Maps that never look at the picture: what any method must beat."""

from typing import Final

import torch
from torch import nn

from l2caf.attention import Cut
from l2caf.attention.output import OutputChoice
from l2caf.methods.registry import METHODS, Maps, Method, OfOutput

CENTRE_SIGMA: Final = 0.25  # of the grid's side


@METHODS.register("centre")
def centre(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
    """A fixed Gaussian in the middle of the grid."""
    del model, layer, output

    def explain(cut: Cut) -> Maps:
        axes = [torch.linspace(-1, 1, size) / (2 * CENTRE_SIGMA) for size in cut.tail.grid]
        distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
        return torch.exp(-distance / 2).expand(*_axes(cut), *cut.tail.grid)

    return OfOutput(explain)


@METHODS.register("whole")
def whole(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
    """The whole picture: the same value everywhere."""
    del model, layer, output

    def explain(cut: Cut) -> Maps:
        return torch.ones(*_axes(cut), *cut.tail.grid)

    return OfOutput(explain)


def _axes(cut: Cut) -> tuple[int, ...]:
    """The axes of the maps before the grid: inputs, the runs of the layer where each has its own map, and one map."""
    b = cut.tail.n_inputs // cut.tail.n_calls
    return (b, 1) if cut.calls is None else (b, cut.tail.n_calls, 1)
