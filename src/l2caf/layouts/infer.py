"""Find a layout from shapes: a grid is the input divided by one stride."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts.base import Layout
from l2caf.layouts.frames import Frames
from l2caf.layouts.grids import LAYOUTS, ChannelsFirst, ChannelsLast, Tokens

MAX_PREFIX_TOKENS = 16  # class, distillation and register tokens of the known transformers: 1 to 9
CLIP_DEPTH = 1 / 3  # of a side: an input with fewer planes is a clip, whose first axis is time, rather than a scan
STRIDE_SLACK = 1.0  # padding and rounding move a grid by at most one position from size / stride

FindLayout = Callable[[Tensor], Layout | None]
LayoutChoice = str | Layout | FindLayout


@dataclass(frozen=True, slots=True)
class LayoutFinder:
    """From a feature map to its layout, for inputs of one size; None where the map has no grid.

    Attributes:
        size: spatial size of the inputs, (h, w) or the like; of a clip that is taken apart into frames, (c, h, w).
        clip: (t, c, h, w) of a clip that the network takes apart into frames; None where it takes none.
        given: what the user says of a map, or of one frame of it; None where shapes decide.
    """

    size: tuple[int, ...]
    clip: tuple[int, ...] | None = None
    given: FindLayout | None = None

    def __call__(self, features: Tensor) -> Layout | None:
        """The layout of one feature map."""
        given = None if self.given is None else self.given(features)
        if self.clip is None:
            return infer_layout(features.shape, self.size) if self.given is None else given
        if given is not None and given.has_frames:
            return given
        return infer_frames(features.shape, self.clip, given) or given or infer_layout(features.shape, self.size)


def given_layout(choice: LayoutChoice) -> FindLayout | None:
    """What a user said about space, as a function from feature map to layout.

    Args:
        choice: `"auto"`, a name, a layout, or such a function.

    Returns:
        The function; None for `"auto"`.

    Raises:
        LayoutError: if no layout has that name, or `choice` is none of these.
    """
    if choice == "auto":
        return None
    if isinstance(choice, str):
        choice = _named(choice)
    if isinstance(choice, Layout):
        return partial(_always, choice)
    if inspect.isclass(choice) or not callable(choice):
        raise LayoutError(f"layout={choice!r}; expected 'auto', a name, a layout such as Tokens(grid), or a function")
    return choice


def _always(layout: Layout, features: Tensor) -> Layout:
    del features
    return layout


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


def _named(name: str) -> Layout:
    try:
        return LAYOUTS[name]
    except LayoutError as error:
        raise LayoutError(f"{error}; or 'auto', or a layout such as Tokens(grid, prefix)") from error
