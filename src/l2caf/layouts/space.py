"""Which axes of a network's inputs are space: what can be asked of an input before anything is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Size, Tensor

MAX_CHANNELS: Final = 4  # grey, grey with alpha, RGB, RGBA: an axis as short as that is no space where a longer one is


@dataclass(frozen=True, slots=True)
class Space:
    """Some axes of one tensor among a network's inputs that may be space, or time and space.

    Attributes:
        part: which tensor of the inputs, from 0.
        axes: the axes of that tensor, batch axis included in the count, in the order of a grid.
        sizes: their sizes.
    """

    part: int
    axes: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, part: int, shape: Sequence[int], axes: Sequence[int]) -> "Space":
        """Some axes of a tensor of the inputs."""
        return cls(part, tuple(axes), tuple(shape[axis] for axis in axes))

    @property
    def last(self) -> "Space":
        """The same without its first axis: the space of one frame of a clip, or of one slice of a volume."""
        return Space(self.part, self.axes[1:], self.sizes[1:])

    def picture(self, tensor: Tensor) -> Tensor:
        """A tensor of the inputs with these axes behind all others, so that a picture's channels come first."""
        if not self.axes:
            return tensor
        rest = [axis for axis in range(tensor.dim()) if axis not in self.axes]
        is_in_order = rest[-1] < self.axes[-1]
        return tensor if is_in_order else tensor.permute(*rest, *self.axes)


def spaces(part: int, shape: Size, *, is_volume: bool = True) -> list[Space]:
    """Every choice of axes that may be space in an input of this shape, the most usual first.

    Args:
        part: which tensor of the inputs it is.
        shape: its shape, batch axis first.
        is_volume: whether (b, c, d, h, w) is more usual than the frames of a clip (b, t, c, h, w).

    Returns:
        For a picture (b, c, h, w) its two last axes, or those in front of a short last axis (b, h, w, c); for a clip
        or a volume also the time on axis 1 or 2; for (b, c, t) one axis or both; none for less.
    """
    choices: list[tuple[int, ...]] = []
    short = [axis for axis in range(1, len(shape)) if shape[axis] <= MAX_CHANNELS]
    match len(shape):
        case 2:
            choices = [(1,)]
        case 3:
            choices = [(2,), *([(1, 2), (1,)] if 1 not in short else [])]
        case 4:
            choices = [(1, 2)] if short == [3] else [(2, 3)]
        case 5:
            clip_or_volume = [(2, 3, 4), (1, 3, 4)] if is_volume else [(1, 3, 4), (2, 3, 4)]
            choices = [(1, 2, 3), (2, 3)] if short == [4] else [*clip_or_volume, (3, 4)]
    return [Space.of(part, shape, axes) for axes in choices if max(Space.of(part, shape, axes).sizes) > 1]
