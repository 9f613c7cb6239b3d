"""Layouts of one map per input: channels first, channels last, axes in any order, and rows of tokens."""

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
class Axes(Layout):
    """A map of four or more axes in any order, such as (b, w, c, h).

    Attributes:
        space: the axes of the grid in the order of a filter's, the batch axis counted; no axis twice.
        channels: the axis of the feature vectors.
    """

    space: tuple[int, ...]
    channels: int

    @property
    def name(self) -> str:
        """Such as `channels on axis 2, space on axes 3, 1`."""
        return f"channels on axis {self.channels}, space on axes {', '.join(map(str, self.space))}"

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """Sizes of the axes of space; raises `LayoutError` for a map with another number of axes."""
        if features.dim() != len(self.space) + 2:
            raise LayoutError(f"a feature map of shape {tuple(features.shape)} does not have {self.name}")
        return tuple(features.shape[axis] for axis in self.space)

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each feature vector times its weight."""
        planes = filters.view(filters.shape[0], *self.grid(features), 1)
        places = (0, *self.space, self.channels)
        return (features * planes.permute(*(places.index(axis) for axis in range(len(places))))).to(features.dtype)

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Positions in row-major order of the grid."""
        self.grid(features)
        return features.permute(0, *self.space, self.channels).flatten(1, -2)


@dataclass(frozen=True, slots=True)
class Tokens(Layout):
    """(b, prefix + p + suffix, c): a row of tokens, of which p lie on a grid.

    Attributes:
        sizes: the grid.
        prefix: tokens in front of the grid (class, distillation, registers, text) that the filter leaves alone.
        suffix: tokens behind it that the filter leaves alone, too.
        order: the axes of the grid as the row runs through them, slowest first; None for row-major order. (1, 2, 0)
            is a row that goes through all instants of one place before it goes to the next.
        is_channels_first: whether the map is (b, c, prefix + p + suffix).
    """

    sizes: tuple[int, ...]
    prefix: int = 0
    suffix: int = 0
    order: tuple[int, ...] | None = None
    is_channels_first: bool = False

    @property
    def name(self) -> str:
        """Such as `tokens 14x14, 1 prefix`."""
        parts = [f"tokens {'x'.join(map(str, self.sizes))}, {self.prefix} prefix"]
        parts += [f"{self.suffix} suffix"] if self.suffix else []
        parts += [f"order {' '.join(map(str, self.order))}"] if self.order else []
        return ", ".join(parts + ["channels first"] * self.is_channels_first)

    @property
    def count(self) -> int:
        """Number of tokens in a row."""
        return self.prefix + math.prod(self.sizes) + self.suffix

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """The grid that the tokens were cut from.

        Args:
            features: (b, prefix + p + suffix, c), or channels first.

        Returns:
            `sizes`.

        Raises:
            LayoutError: if the map has another number of tokens.
        """
        if features.dim() != 3 or features.shape[2 if self.is_channels_first else 1] != self.count:
            expected = f"(b, c, {self.count})" if self.is_channels_first else f"(b, {self.count}, c)"
            raise LayoutError(
                f"a feature map of shape {tuple(features.shape)} does not hold {self.name}; expected {expected}"
            )
        return self.sizes

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each grid token times its weight; all other tokens unchanged."""
        weights = self._as_row(filters)
        if self.prefix or self.suffix:
            ones = filters.new_ones(filters.shape[0], max(self.prefix, self.suffix))
            weights = torch.cat([ones[:, : self.prefix], weights, ones[:, : self.suffix]], dim=1)
        return (features * weights.unsqueeze(1 if self.is_channels_first else -1)).to(features.dtype)

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Grid tokens only."""
        rows = features.transpose(1, 2) if self.is_channels_first else features
        rows = rows[:, self.prefix : self.prefix + math.prod(self.sizes)]
        if self.order is None:
            return rows
        back = (self.order.index(axis) + 1 for axis in range(len(self.sizes)))
        in_row = rows.unflatten(1, tuple(self.sizes[axis] for axis in self.order))
        return in_row.permute(0, *back, len(self.sizes) + 1).flatten(1, -2)

    def single(self, features: Tensor) -> Tensor | None:
        """(b * p, prefix + 1 + suffix, c): the other tokens around one grid token."""
        if self.is_channels_first:
            return None
        vectors = self.vectors(features)
        count = vectors.shape[1]
        around = features[:, : self.prefix], features[:, features.shape[1] - self.suffix :]
        before, behind = (part.unsqueeze(1).expand(-1, count, -1, -1) for part in around)
        return torch.cat([before, vectors.unsqueeze(2), behind], dim=2).flatten(0, 1)

    def _as_row(self, filters: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """Weights in the order of the row."""
        if self.order is None:
            return filters
        return filters.unflatten(1, self.sizes).permute(0, *(axis + 1 for axis in self.order)).flatten(1)


LAYOUTS = Registry[Layout]("layout", LayoutError)  # those that a name says in full
for _layout in (ChannelsFirst(), ChannelsLast()):
    LAYOUTS.register(_layout.name)(_layout)
