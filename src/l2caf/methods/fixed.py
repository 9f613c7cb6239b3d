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
        return torch.exp(-distance / 2).expand(_n_inputs(cut), 1, *cut.tail.grid)

    return OfOutput(explain)


@METHODS.register("whole")
def whole(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
    """The whole picture: the same value everywhere."""
    del model, layer, output

    def explain(cut: Cut) -> Maps:
        return torch.ones(_n_inputs(cut), 1, *cut.tail.grid)

    return OfOutput(explain)


def _n_inputs(cut: Cut) -> int:
    """The number of inputs of the network; the tail counts the runs of a layer apart."""
    return cut.tail.n_inputs // cut.tail.n_calls
