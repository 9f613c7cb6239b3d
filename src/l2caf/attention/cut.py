"""What a user says about where to cut a network open, and the network cut open there."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from l2caf.attention.following import Locality
from l2caf.layouts import LayoutChoice, Space
from l2caf.tail import Inputs, Tail
from l2caf.tail.replay import ReadOutput


@dataclass(frozen=True, slots=True)
class CutOptions:
    """What a user says about where to cut; see `L2CAF`.

    Attributes:
        layer: name of a layer, or the layer itself; None for the default layer.
        layout: where space is in the layer's map.
        call: which runs or frames of the layer are explained; None for all.
        joint: whether all of these share one filter.
        read: takes the network's output to (b, n).
        fast: whether to replay only what comes after the layer.
    """

    layer: str | nn.Module | None
    layout: LayoutChoice
    call: int | Sequence[int] | None
    joint: bool
    read: ReadOutput
    fast: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """A network cut open at a layer.

    Attributes:
        layer: name of the layer.
        tail: what comes after the layer.
        inputs: what the network was called with.
        calls: which runs of the layer, or which of the frames that it returns, the tail's inputs stand for, minor;
            None where there is only one, or one filter for all.
        input_size: spatial size of the inputs.
        space: which axes of the inputs the grid lies on.
        locality: how well the positions of the grid follow the picture.
    """

    layer: str
    tail: Tail
    inputs: Inputs
    calls: tuple[int, ...] | None
    input_size: tuple[int, ...]
    space: Space
    locality: Locality

    def pictures(self) -> Tensor | None:
        """The pictures among the inputs, channels before space; None where there is none."""
        tensor = self.inputs.tensors()[self.space.part] if self.inputs.tensors() else None
        return None if tensor is None or tensor.dim() < 3 else self.space.picture(tensor)
