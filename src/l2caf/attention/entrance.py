"""A network's own input as a layer: for feature maps extracted earlier, where x is already A."""

from typing import Any, Final

from torch import Tensor, nn
from torch.utils import _pytree as pytree

INPUT: Final = "input"


class Entrance(nn.Module):
    """A network behind a layer, `input`, that hands on its first floating-point tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.input = nn.Identity()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns."""
        leaves, structure = pytree.tree_flatten((args, kwargs))
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                leaves[place] = self.input(leaf)
                break
        args, kwargs = pytree.tree_unflatten(leaves, structure)
        return self.network(*args, **kwargs)
