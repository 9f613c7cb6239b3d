"""Maps that are cut into windows, which are folded into the batch: inside the blocks of Swin and its kin."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts.base import Layout


@dataclass(frozen=True, slots=True)
class WindowRows(Layout):
    """(b, windows, positions of a window, c): the windows of one map on an axis of their own.

    Attributes:
        sizes: the grid, (h, w).
        window: height and width of a window; both divide the grid.
        shift: how far the grid was rolled up and to the left before it was cut.
    """

    sizes: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int] = (0, 0)

    @property
    def counts(self) -> tuple[int, int]:
        """Windows down and across."""
        return self.sizes[0] // self.window[0], self.sizes[1] // self.window[1]

    @property
    def name(self) -> str:
        """Such as `28x28 in windows of 7x7`."""
        shifted = f", shifted by {self.shift[0]}" if any(self.shift) else ""
        return f"{self.sizes[0]}x{self.sizes[1]} in windows of {self.window[0]}x{self.window[1]}{shifted}"

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """`sizes`; raises `LayoutError` for a map with other windows."""
        expected = (self.counts[0] * self.counts[1], self.window[0] * self.window[1])
        if features.dim() != 4 or tuple(features.shape[1:3]) != expected:
            raise LayoutError(
                f"a feature map of shape {tuple(features.shape)} does not hold {self.name}; "
                f"expected (b, {expected[0]}, {expected[1]}, c)"
            )
        return self.sizes

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each feature vector times its weight."""
        back = (-self.shift[0], -self.shift[1])
        planes = torch.roll(filters.unflatten(1, self.sizes), back, (1, 2))
        (down, across), (height, width) = self.counts, self.window
        cut = planes.unflatten(2, (across, width)).unflatten(1, (down, height)).transpose(2, 3)
        return (features * cut.reshape(len(filters), down * across, height * width, 1)).to(features.dtype)

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Positions in row-major order of the grid."""
        cut = features.unflatten(2, self.window).unflatten(1, self.counts)
        planes = cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return torch.roll(planes, self.shift, (1, 2)).flatten(1, 2)


@dataclass(frozen=True, slots=True)
class Windows(Layout):
    """(b * windows, positions of a window, c): windows folded into the batch.

    Attributes:
        inner: the layout of one input's windows side by side.
    """

    inner: WindowRows

    @property
    def name(self) -> str:
        """That of `inner`."""
        return self.inner.name

    @property
    def frame(self) -> Layout:
        """`inner`, as the windows of an input are put side by side to explain it."""
        return self.inner

    @property
    def rows_per_input(self) -> int:
        """The number of windows."""
        return self.inner.counts[0] * self.inner.counts[1]

    def split(self, features: Tensor) -> Tensor:
        """(b, 1, windows, positions of a window, c)."""
        return features.unflatten(0, (-1, self.rows_per_input)).unsqueeze(1)

    def join(self, maps: Tensor) -> Tensor:
        """(b * windows, positions of a window, c)."""
        return maps.squeeze(1).flatten(0, 1)

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """`inner.sizes`; raises `LayoutError` for a map with other windows."""
        if features.dim() != 3 or features.shape[0] % self.rows_per_input:
            raise LayoutError(f"a feature map of shape {tuple(features.shape)} does not hold {self.name}")
        return self.inner.grid(self.split(features)[:, 0])

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each feature vector times its weight."""
        return self.join(self.inner.apply(self.split(features)[:, 0], filters).unsqueeze(1))

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Positions in row-major order of the grid."""
        return self.inner.vectors(self.split(features)[:, 0])
