"""Several maps per input: one for each frame of a clip."""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts.base import FrameOrder, Layout


@dataclass(frozen=True, slots=True)
class Frames(Layout):
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

    @property
    def n_frames(self) -> int:
        """`n`."""
        return self.n

    @property
    def frame(self) -> Layout:
        """`inner`."""
        return self.inner

    @property
    def rows_per_input(self) -> int:
        """`n` where the frames are folded into the batch."""
        return 1 if self.order == "axis" else self.n

    @property
    def is_frame_major(self) -> bool:
        """Whether the order is by frame."""
        return self.order == "frame"

    def in_order(self, order: FrameOrder) -> Layout:
        """The same frames in another order."""
        return replace(self, order=order)

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
        """Sizes of the axes of space and time.

        Args:
            features: (b, n, ...) or (b * n, ...), as `order` says.

        Returns:
            (n, *grid of a frame).

        Raises:
            LayoutError: if the map does not hold n frames.
        """
        rows, second = features.shape[0], features.shape[1]
        if second != self.n if self.order == "axis" else rows % self.n:
            wanted = f"(b, {self.n}, ...)" if self.order == "axis" else f"({self.n} b, ...)"
            raise LayoutError(f"a feature map of shape {tuple(features.shape)} does not hold {self.name}: not {wanted}")
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

    def single(self, features: Tensor) -> Tensor | None:
        """Every position of every frame as a map of its own with a grid of one."""
        return self.inner.single(self.split(features).flatten(0, 1))
