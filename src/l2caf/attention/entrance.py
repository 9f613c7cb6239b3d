"""A network's own input as a layer: for feature maps extracted earlier, where x is already A."""

from typing import Any, Final

from torch import nn

from l2caf.tail.trees import tensors_in, with_part

INPUT: Final = "input"


class Entrance(nn.Module):
    """A network behind a layer, `input`, that hands on its first floating-point tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.input = nn.Identity()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns."""
        floats = [number for number, tensor in enumerate(tensors_in((args, kwargs))) if tensor.is_floating_point()]
        if floats:
            args, kwargs = with_part((args, kwargs), floats[0], self.input)
        return self.network(*args, **kwargs)
