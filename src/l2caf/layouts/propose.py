"""Every layout that a feature map of one shape may have. Shapes only propose: which of them it has is measured.

A grid is the space of the input divided by one stride (time, or the depth of a scan, has a stride of its own). Rows
of tokens are proposed as whole rows, `Row`: which of the tokens are a grid is seen in their responses.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts.base import Layout
from l2caf.layouts.frames import Frames
from l2caf.layouts.grids import Axes, ChannelsFirst, ChannelsLast, Tokens
from l2caf.layouts.space import Space
from l2caf.layouts.windows import WindowRows, Windows

STRIDE_SLACK: Final = 1.0  # padding and rounding move a grid by at most one position from size / stride
MAX_SPARE: Final = 16  # class, distillation and register tokens of the known transformers: 1 to 9


@dataclass(frozen=True, slots=True)
class Proposal:
    """A layout that a feature map may have.

    Attributes:
        layout: the layout.
        space: the axes of the inputs that its grid then lies on.
        channels: the axis of the feature vectors in the map; None where only the layout knows.
    """

    layout: Layout
    space: Space
    channels: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of tokens of which some may lie on a grid: (b, n, c), (b, c, n), or (frames, n, c).

    Attributes:
        count: n.
        space: the axes of the inputs that the grid lies on.
        channels: the axis of the feature vectors in the map.
        frames: how many rows stand for the instants of a clip; None for one row for all.
    """

    count: int
    space: Space
    channels: int
    frames: int | None = None


def proposals(shape: Sequence[int], spaces: Sequence[Space]) -> Iterator[Proposal | Row]:
    """Layouts that a feature map of this shape may have.

    Args:
        shape: its shape in a pass of one input.
        spaces: what may be space in the inputs.

    Yields:
        Proposals, the most usual first.
    """
    for space in spaces if len(shape) > 2 else ():
        if len(space.sizes) == 3:
            yield from _of_frames(shape, space)
        if shape[0] == 1:
            yield from _of_one(shape, space)
        elif len(space.sizes) == 2:
            yield from _of_windows(shape, space)


def _of_one(shape: Sequence[int], space: Space) -> Iterator[Proposal | Row]:
    rank = len(space.sizes)
    if len(shape) == rank + 2:
        if is_grid(shape[2:], space.sizes):
            yield Proposal(ChannelsFirst(), space, 1)
        if is_grid(shape[1:-1], space.sizes):
            yield Proposal(ChannelsLast(), space, len(shape) - 1)
        if rank == 2:
            for channels, axes in ((2, (1, 3)), (1, (3, 2)), (3, (2, 1)), (2, (3, 1))):
                if is_grid([shape[axis] for axis in axes], space.sizes):
                    yield Proposal(Axes(axes, channels), space, channels)
    if len(shape) == 3:
        yield Row(shape[1], space, 2)
        if rank > 1:
            yield Row(shape[2], space, 1)


def _of_frames(shape: Sequence[int], space: Space) -> Iterator[Proposal | Row]:
    """Maps of the frames of a clip, behind one another on an axis of their own, or folded into the batch."""
    instants, plane = space.sizes[0], space.last
    if shape[0] == 1 and len(shape) == 5 and shape[1] == instants:
        for one in _of_one((1, *shape[2:]), plane):
            if isinstance(one, Proposal):
                yield Proposal(Frames(one.layout, instants, "axis"), space, (one.channels or 0) + 1)
    if shape[0] > 1 and _divides(shape[0], instants) and len(shape) in {3, 4}:
        for one in _of_one((1, *shape[1:]), plane):
            if isinstance(one, Proposal):
                yield Proposal(Frames(one.layout, shape[0]), space, one.channels)
            elif one.channels == 2:
                yield Row(one.count, space, 2, frames=shape[0])


def _of_windows(shape: Sequence[int], space: Space) -> Iterator[Proposal]:
    """Windows of a square number of positions, folded into the batch."""
    side = math.isqrt(shape[1]) if len(shape) == 3 else 0
    if side < 2 or side * side != shape[1]:
        return
    for down in range(1, shape[0] + 1):
        if shape[0] % down:
            continue
        sizes = (down * side, shape[0] // down * side)
        if is_grid(sizes, space.sizes):
            for shift in dict.fromkeys((0, side // 2)):
                yield Proposal(Windows(WindowRows(sizes, (side, side), (shift, shift))), space, 2)


def given_proposals(layout: Layout, features: Tensor, spaces: Sequence[Space]) -> list[Proposal]:
    """A layout that the user gave for a map, on every space that it may lie on.

    Args:
        layout: the layout of the map, or of the map of one frame of a clip.
        features: a map.
        spaces: what may be space in the inputs.

    Returns:
        Proposals; none where the layout does not fit the map, or its grid has only one position.
    """
    for whole in (*_framed(layout, features.shape, spaces), layout):
        try:
            grid = tuple(whole.grid(features))
        except (LayoutError, IndexError):  # a layout that the user gave for all maps need not fit each of them
            continue
        if math.prod(grid) > 1:
            near = [space for space in spaces if len(space.sizes) == len(grid)]
            return [Proposal(whole, space, None) for space in near or [Space(0, (), ())]]
    return []


def _framed(layout: Layout, shape: Sequence[int], spaces: Sequence[Space]) -> Iterator[Layout]:
    """The layout of a map that holds all frames of a clip, from that of one frame."""
    lengths = {space.sizes[0] for space in spaces if len(space.sizes) == 3}
    if layout.has_frames or not lengths:
        return
    if shape[0] > 1 and shape[0] in lengths:
        yield Frames(layout, shape[0])
    elif shape[0] == 1 and len(shape) == 5 and shape[1] in lengths:
        yield Frames(layout, shape[1], "axis")


def likeliest_layout(shape: Sequence[int], input_size: Sequence[int]) -> Layout | None:
    """The layout that the shape of a map suggests, where nothing can be measured.

    Args:
        shape: shape of the map of one input, batch axis first.
        input_size: sizes of the axes of space in the input, such as (h, w).

    Returns:
        The first that `proposals` makes; of a row of tokens the grid with the fewest tokens in front. None where
        there is none.

    Example:
        >>> likeliest_layout((1, 768, 7, 7), (224, 224)).name
        'channels-first'
        >>> likeliest_layout((1, 7, 7, 768), (224, 224)).name
        'channels-last'
        >>> likeliest_layout((1, 197, 768), (224, 224)).name
        'tokens 14x14, 1 prefix'
    """
    for one in proposals(shape, [Space(0, tuple(range(2, 2 + len(input_size))), tuple(input_size))]):
        if isinstance(one, Proposal):
            return one.layout
        if one.channels == 2:
            largest = next(grids_in(one.count, one.space.sizes), None)
            spare = one.count - math.prod(largest or ())
            return Tokens(largest, spare) if largest and spare <= MAX_SPARE else None
    return None


def is_grid(sizes: Sequence[int], input_size: Sequence[int]) -> bool:
    """Whether one stride takes the input to `sizes` on every axis, to within a position; the first of 3 has its own."""
    if math.prod(sizes) <= 1 or any(s > i for s, i in zip(sizes, input_size, strict=True)):
        return False
    if len(sizes) == 3:  # time, or the depth of a scan, has a stride of its own
        sizes, input_size = sizes[1:], input_size[1:]
    # One stride must explain each axis: s = input / size, give or take the slack.
    lowest = max(i / (s + STRIDE_SLACK) for s, i in zip(sizes, input_size, strict=True))
    highest = min(i / max(s - STRIDE_SLACK, 0.5) for s, i in zip(sizes, input_size, strict=True))
    return lowest <= highest


def grids_in(count: int, input_size: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every grid of the input's aspect that a row of `count` tokens can hold, the largest first.

    Args:
        count: number of tokens.
        input_size: sizes of the axes of space.

    Yields:
        Sizes of a grid of more than one position.
    """
    if len(input_size) == 3:
        for instants in range(min(count, input_size[0]), 0, -1):
            if _divides(instants, input_size[0]):
                for plane in grids_in(count // instants, input_size[1:]):
                    yield (instants, *plane)
        return
    # Where patches overlap or edges are cut off, an oblong picture has a position more or less than its stride says.
    steps = (0,) if len(set(input_size)) == 1 else (0, -1, 1)
    for first in range(min(count, input_size[0]), 0, -1):
        stride = input_size[0] / first
        others = [[max(1, round(size / stride) + step) for step in steps] for size in input_size[1:]]
        for sizes in dict.fromkeys((first, *rest) for rest in product(*others)):
            if math.prod(sizes) <= count and is_grid(sizes, input_size):
                yield sizes


def _divides(instants: int, length: int) -> bool:
    """Whether a whole stride takes `length` frames to so many instants."""
    return any(instants in {length // stride, -(-length // stride)} for stride in range(1, length + 1))
