"""Layouts of one map per input: channels first, channels last, and rows of tokens."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts.base import Layout
from l2caf.registry import Registry


@dataclass(frozen=True, slots=True)
class ChannelsFirst(Layout):
    """(b, c, *grid), the layout of convolutions."""

    @property
    def name(self) -> str:
        """`channels-first`."""
        return "channels-first"

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """Every axis behind the channels."""
        return tuple(features.shape[2:])

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each channel plane times the filter."""
        planes = filters.view(filters.shape[0], 1, *self.grid(features))
        return (features * planes).to(features.dtype)

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Positions in row-major order."""
        return features.flatten(2).transpose(1, 2)

    def single(self, features: Tensor) -> Tensor:
        """(b * p, c, 1, ..., 1)."""
        vectors = self.vectors(features).reshape(-1, features.shape[1])
        return vectors.view(*vectors.shape, *(1 for _ in self.grid(features)))


@dataclass(frozen=True, slots=True)
class ChannelsLast(Layout):
    """(b, *grid, c), as Swin and other hierarchical transformers keep it."""

    @property
    def name(self) -> str:
        """`channels-last`."""
        return "channels-last"

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """Every axis between batch and channels."""
        return tuple(features.shape[1:-1])

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each feature vector times its weight."""
        planes = filters.view(filters.shape[0], *self.grid(features), 1)
        return (features * planes).to(features.dtype)

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Positions in row-major order."""
        return features.flatten(1, -2)

    def single(self, features: Tensor) -> Tensor:
        """(b * p, 1, ..., 1, c)."""
        vectors = self.vectors(features).reshape(-1, features.shape[-1])
        return vectors.view(vectors.shape[0], *(1 for _ in self.grid(features)), vectors.shape[1])


@dataclass(frozen=True, slots=True)
class Tokens(Layout):
    """(b, prefix + p, c): a row of tokens, of which the last p lie on a grid.

    Attributes:
        sizes: the grid.
        prefix: leading tokens (class, distillation, registers) that the filter leaves alone.
    """

    sizes: tuple[int, ...]
    prefix: int = 0

    @property
    def name(self) -> str:
        """Such as `tokens 14x14, 1 prefix`."""
        return f"tokens {'x'.join(map(str, self.sizes))}, {self.prefix} prefix"

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """The grid that the tokens were cut from.

        Args:
            features: (b, prefix + p, c).

        Returns:
            `sizes`.

        Raises:
            LayoutError: if the map has another number of tokens.
        """
        if features.dim() != 3 or features.shape[1] != self.prefix + math.prod(self.sizes):
            raise LayoutError(
                f"a feature map of shape {tuple(features.shape)} does not hold {self.name}; "
                f"expected (b, {self.prefix + math.prod(self.sizes)}, c)"
            )
        return self.sizes

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each grid token times its weight; prefix tokens unchanged."""
        ones = filters.new_ones(filters.shape[0], self.prefix)
        weights = torch.cat([ones, filters], dim=1) if self.prefix else filters
        return (features * weights.unsqueeze(-1)).to(features.dtype)

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Grid tokens only."""
        return features[:, self.prefix :]

    def single(self, features: Tensor) -> Tensor:
        """(b * p, prefix + 1, c): the prefix tokens, then one grid token."""
        grid_tokens = self.vectors(features)
        count = grid_tokens.shape[1]
        prefix = features[:, : self.prefix].unsqueeze(1).expand(-1, count, -1, -1)
        return torch.cat([prefix, grid_tokens.unsqueeze(2)], dim=2).flatten(0, 1)


LAYOUTS = Registry[Layout]("layout", LayoutError)  # those that a name says in full
for _layout in (ChannelsFirst(), ChannelsLast()):
    LAYOUTS.register(_layout.name)(_layout)
