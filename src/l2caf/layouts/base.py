"""What every layout answers: where the positions of a feature map are, and how its frames lie."""

from abc import ABC, abstractmethod
from typing import Literal

from jaxtyping import Float
from torch import Tensor

FrameOrder = Literal["axis", "input", "frame"]


class Layout(ABC):
    """Where the positions are in a feature map (b, ...).

    A layout of your own defines `grid`, `apply` and `vectors`. Everything else has a default, which is that of a map
    with one frame per input.

    Example:
        >>> import torch
        >>> class RowsFirst(Layout):
        ...     '''(b, h, c, w).'''
        ...     def grid(self, features):
        ...         return features.shape[1], features.shape[3]
        ...     def apply(self, features, filters):
        ...         return features * filters.unflatten(1, self.grid(features)).unsqueeze(2)
        ...     def vectors(self, features):
        ...         return features.transpose(2, 3).flatten(1, 2)
        >>> RowsFirst().vectors(torch.rand(2, 5, 3, 7)).shape
        torch.Size([2, 35, 3])
    """

    __slots__ = ()

    @abstractmethod
    def grid(self, features: Tensor) -> tuple[int, ...]:
        """Sizes of the spatial axes of `features`; raises `LayoutError` for a map that has no such axes."""

    @abstractmethod
    def apply(self, features: Tensor, filters: Float[Tensor, "b p"]) -> Tensor:
        """Feature maps times their filters, position by position, in the shape and dtype of `features`."""

    @abstractmethod
    def vectors(self, features: Tensor) -> Float[Tensor, "b p c"]:
        """The feature vector of each position, in the order of a filter's weights: row-major over `grid`."""

    @property
    def name(self) -> str:
        """Short name, as listings and results show it."""
        return type(self).__name__

    def single(self, features: Tensor) -> Tensor | None:  # noqa: ARG002  (a layout may need it)
        """Every position as a feature map of its own with a grid of one, (b * p, ...).

        Args:
            features: (b, ...).

        Returns:
            The maps, positions minor; None where the layout cannot hold a grid of one. Closed forms for networks with
            global average pooling are then found more slowly, with one filter per position.
        """
        return None

    @property
    def n_frames(self) -> int:
        """How many maps an input has: one for each frame of a clip."""
        return 1

    @property
    def frame(self) -> "Layout":
        """The layout of the map of one frame."""
        return self

    @property
    def has_frames(self) -> bool:
        """Whether the maps of an input must be taken apart, be it into one frame only (a clip of length 1)."""
        return self.frame is not self

    @property
    def rows_per_input(self) -> int:
        """How many rows of the batch axis hold one input."""
        return 1

    @property
    def is_frame_major(self) -> bool:
        """Whether the batch axis holds the inputs of the first frame, then those of the second, and so on."""
        return False

    def in_order(self, order: FrameOrder) -> "Layout":  # noqa: ARG002  (a layout without frames has no order)
        """The same layout with its frames in another order."""
        return self

    def split(self, features: Tensor) -> Tensor:
        """(b, n_frames, ...): the maps of an input side by side, whatever their order."""
        return features.unsqueeze(1)

    def join(self, maps: Tensor) -> Tensor:
        """The feature map that `split` takes to `maps` (b, n_frames, ...)."""
        return maps.squeeze(1)
