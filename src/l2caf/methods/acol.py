"""ACoL's own map: both heads' maps fused (Zhang et al., CVPR 2018)."""

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from l2caf.attention import Cut
from l2caf.attention.output import OutputChoice
from l2caf.errors import DataError
from l2caf.methods.registry import METHODS, Maps, Method, OfClass
from l2caf.shapes import Targets


class _Fuses(Protocol):
    """A network that can fuse the maps of its heads for a class of each picture, as `l2caf.models.wsol.ACoL` does."""

    def fused(self, x: Tensor, target: Tensor) -> Tensor:
        """Maps (b, h, w) in [0, 1] of pictures (b, 3, H, W) and classes (b,)."""


@METHODS.register("acol")
def acol(model: nn.Module, layer: str | None, output: OutputChoice) -> Method:
    """ACoL's own map, both heads' fused; only for a network with ACoL's heads."""
    del layer, output
    if not callable(getattr(model, "fused", None)):
        raise DataError("method 'acol' needs a network with ACoL's two heads, such as wsol/vgg16-acol")
    heads = cast("_Fuses", model)

    def explain(cut: Cut, targets: Targets) -> Maps:
        (inputs,) = cut.inputs.tensors()
        with torch.no_grad():  # the network runs anew, since what its second head sees depends on the class
            return torch.stack([heads.fused(inputs, column) for column in targets.T], dim=1)

    return OfClass(explain)
