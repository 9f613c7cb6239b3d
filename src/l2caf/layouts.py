"""Where space is in a feature map.

A filter has one weight per position of a grid; a feature map may keep that grid behind the channels, before
them, or flattened into a row of tokens with class and register tokens in front. The layout is found by
comparing the map's shape with the input's spatial size: a grid is the input divided by one stride. A network
that fuses frames keeps one such map per frame, along an axis of its own or folded into the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import LayoutError

MAX_PREFIX_TOKENS = 16  # class, distillation and register tokens of the known transformers: 1 to 9
CLIP_DEPTH = 1 / 3  # of a side: an input with fewer planes is a clip, whose first axis is time, rather than a scan
STRIDE_SLACK = 1.0  # padding and rounding move a grid by at most one position from size / stride


@runtime_checkable
class Layout(Protocol):
    """Where the positions are in a feature map (b, ...)."""

    @property
    def name(self) -> str:
        """Short name, as `L2CAF(layout=...)` takes it."""

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """Sizes of the spatial axes of `features`."""

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Feature maps times their filters, position by position, in the shape and dtype of `features`."""

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """The feature vector of each position."""

    def single(self, features: Tensor) -> Tensor:
        """Every position as a feature map of its own with a grid of one, (b * p, ...)."""


@dataclass(frozen=True, slots=True)
class ChannelsFirst:
    """(b, c, *grid), the layout of convolutions."""

    name: str = "channels-first"

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
class ChannelsLast:
    """(b, *grid, c), as Swin and other hierarchical transformers keep it."""

    name: str = "channels-last"

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
class Tokens:
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


FrameOrder = Literal["axis", "input", "frame"]


@dataclass(frozen=True, slots=True)
class Frames:
    """Several maps per input, one for each frame of a clip.

    Attributes:
        inner: the layout of one frame's map.
        n: frames per input.
        order: where the frames are: on an `"axis"` of their own behind the batch, (b, n, ...), or folded into the
            batch, (b * n, ...), by `"input"` (the frames of an input side by side) or by `"frame"` (the inputs of a
            frame side by side).
    """

    inner: Layout
    n: int
    order: FrameOrder = "input"

    @property
    def name(self) -> str:
        """Such as `channels-first, 8 frames`."""
        return f"{self.inner.name}, {self.n} frames"

    def split(self, features: Tensor) -> Tensor:
        """(b, n, ...): the maps of an input side by side, whatever their order."""
        if self.order == "axis":
            return features
        if self.order == "input":
            return features.unflatten(0, (-1, self.n))
        return features.unflatten(0, (self.n, -1)).transpose(0, 1)

    def join(self, maps: Tensor) -> Tensor:
        """The feature map that `split` takes to `maps` (b, n, ...)."""
        if self.order == "axis":
            return maps
        return (maps if self.order == "input" else maps.transpose(0, 1)).flatten(0, 1)

    def grid(self, features: Tensor) -> tuple[int, ...]:
        """(n, *grid of a frame)."""
        return (self.n, *self.inner.grid(self.split(features)[:, 0]))

    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Each frame's map times its part of the filter."""
        maps = self.split(features)
        filtered = self.inner.apply(maps.flatten(0, 1), filters.unflatten(1, (self.n, -1)).flatten(0, 1))
        return self.join(filtered.unflatten(0, maps.shape[:2]))

    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """Frames major, then the positions of a frame."""
        maps = self.split(features)
        return self.inner.vectors(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]).flatten(1, 2)

    def single(self, features: Tensor) -> Tensor:
        """Every position of every frame as a map of its own with a grid of one."""
        return self.inner.single(self.split(features).flatten(0, 1))


def infer_frames(shape: Sequence[int], clip: Sequence[int], given: Layout | None = None) -> Frames | None:
    """The layout of a map that holds all frames of one clip.

    Args:
        shape: shape of the feature map of a batch of one.
        clip: the input without its batch axis: (t, c, h, w), or (c, t, h, w).
        given: the layout of a frame's map, where it is known.

    Returns:
        The layout, its order by input where the frames are in the batch (a batch of one cannot tell); or None where
        the map does not hold so many frames.

    Example:
        >>> infer_frames((8, 64, 7, 7), (8, 3, 112, 112)).name
        'channels-first, 8 frames'
    """
    size = tuple(clip[2:])
    if shape[0] == 1 and len(shape) == 5 and shape[1] == clip[0]:
        inner = given or infer_layout((1, *shape[2:]), size)
        return Frames(inner, clip[0], "axis") if inner else None
    if shape[0] > 1 and shape[0] in clip[:2] and len(shape) in {3, 4}:
        inner = given or infer_layout(shape, size)
        return Frames(inner, shape[0]) if inner else None
    return None


def infer_layout(shape: Sequence[int], input_size: Sequence[int]) -> Layout | None:
    """The layout of a feature map, from its shape and the spatial size of the input it was made from.

    Args:
        shape: shape of the feature map, batch axis first.
        input_size: spatial sizes of the input, (t,), (h, w) or (d, h, w).

    Returns:
        The layout whose grid has more than one position and is the input divided by one stride on every axis
        (channels first wins where both fit), or None where there is no such grid.

    Example:
        >>> infer_layout((1, 768, 7, 7), (224, 224)).name
        'channels-first'
        >>> infer_layout((1, 7, 7, 768), (224, 224)).name
        'channels-last'
        >>> infer_layout((1, 197, 768), (224, 224)).name
        'tokens 14x14, 1 prefix'
    """
    rank = len(input_size)
    if len(shape) == 4 and rank == 3:  # one frame of a clip (b, t, c, h, w), or a volume's slice
        rank, input_size = 2, input_size[1:]
    if len(shape) == rank + 2:
        if _is_grid(shape[2:], input_size):
            return ChannelsFirst()
        if _is_grid(shape[1:-1], input_size) and (rank < 3 or math.prod(shape[2:-1]) > 1):  # else pooled channels
            return ChannelsLast()
    if len(shape) == 3 and rank > 1:
        return _infer_tokens(shape[1], input_size)
    return None


def named_layout(name: str) -> Layout:
    """The layout a user asked for by name.

    Args:
        name: `"channels-first"` or `"channels-last"`.

    Returns:
        The layout.

    Raises:
        LayoutError: for any other name.
    """
    known: dict[str, Layout] = {layout.name: layout for layout in (ChannelsFirst(), ChannelsLast())}
    if name not in known:
        raise LayoutError(
            f"unknown layout {name!r}; expected 'auto', {', '.join(map(repr, known))}, or Tokens(grid, prefix)"
        )
    return known[name]


def _is_grid(sizes: Sequence[int], input_size: Sequence[int]) -> bool:
    """Whether one stride takes the input to `sizes` on every axis, to within a position."""
    if math.prod(sizes) <= 1 or any(s > i for s, i in zip(sizes, input_size, strict=True)):
        return False
    if len(sizes) == 3:  # time, or the depth of a scan, has a stride of its own
        sizes, input_size = sizes[1:], input_size[1:]
    # One stride must explain each axis: s = input / size, give or take the slack.
    lowest = max(i / (s + STRIDE_SLACK) for s, i in zip(sizes, input_size, strict=True))
    highest = min(i / max(s - STRIDE_SLACK, 0.5) for s, i in zip(sizes, input_size, strict=True))
    return lowest <= highest


def _infer_tokens(count: int, input_size: Sequence[int]) -> Tokens | None:
    """The grid of the input's aspect that leaves the fewest prefix tokens."""
    if len(input_size) == 3 and input_size[0] < CLIP_DEPTH * input_size[1]:
        return _infer_clip_tokens(count, input_size)
    best: Tokens | None = None
    for first in range(1, min(count, input_size[0]) + 1):
        stride = input_size[0] / first
        sizes = (first, *(max(1, round(size / stride)) for size in input_size[1:]))
        prefix = count - math.prod(sizes)
        if prefix < 0 or not _is_grid(sizes, input_size):
            continue
        if prefix <= MAX_PREFIX_TOKENS and (best is None or prefix < best.prefix):
            best = Tokens(sizes, prefix)
    return best


def _infer_clip_tokens(count: int, input_size: Sequence[int]) -> Tokens | None:
    """A plane of tokens for each of several instants: time has a stride of its own, smaller than that of space."""
    best: Tokens | None = None
    for instants in range(min(count, input_size[0]), 0, -1):
        prefix = count % instants if count % instants <= MAX_PREFIX_TOKENS else 0
        plane = _infer_tokens((count - prefix) // instants, input_size[1:])
        if plane is None or plane.prefix or (count - prefix) % instants or not _divides(instants, input_size[0]):
            continue
        if best is None or prefix < best.prefix:
            best = Tokens((instants, *plane.sizes), prefix)
    return best


def _divides(instants: int, length: int) -> bool:
    """Whether a whole stride takes `length` frames to so many instants."""
    return any(instants in {length // stride, -(-length // stride)} for stride in range(1, length + 1))
