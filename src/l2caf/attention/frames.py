"""Which layers of a network hold the frames of a clip, found by looking.

A network that fuses frames takes (b, t, c, h, w) and runs a CNN on them one by one, or folded into the batch. A network
that has three-dimensional layers of its own sees a clip as a volume instead, so its maps are not taken apart.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from l2caf.attention.discovery import LayerInfo
from l2caf.errors import LayerError, TailError
from l2caf.layouts import FrameOrder, Frames, Layout, infer_frames, infer_layout
from l2caf.tail import Inputs, LayerCalls, Tail, record

VOLUME_LAYERS: Final = ("Conv3d", "ConvTranspose3d", "LazyConv3d")


def clip_of(model: nn.Module, inputs: Inputs) -> tuple[int, ...] | None:
    """The shape (t, c, h, w) of the clip a network takes apart into frames; None where it takes none.

    Args:
        model: the network.
        inputs: one input (a batch of one).

    Returns:
        The shape of the first floating-point tensor without its batch axis, if that leaves four and the network has no
        three-dimensional convolution.
    """
    first = next((tensor for tensor in inputs.tensors() if tensor.is_floating_point()), None)
    if first is None or first.dim() != 5:
        return None
    return None if sees_volumes(model) else tuple(first.shape[1:])


def sees_volumes(model: nn.Module) -> bool:
    """Whether a network has three-dimensional convolutions, and so takes (b, c, t, h, w)."""
    return any(type(module).__name__ in VOLUME_LAYERS for module in model.modules())


def find_frames(
    clip: tuple[int, ...], find_layout: Callable[[Tensor], Layout | None] | None = None
) -> Callable[[Tensor], Layout | None]:
    """A function from a feature map to its layout, for networks that fuse the frames of a clip.

    Args:
        clip: (t, c, h, w).
        find_layout: the layout of a frame's map, where a user has said it.

    Returns:
        A function to a layout, of all frames where the map holds them all; None where there is no grid.
    """

    def found(features: Tensor) -> Layout | None:
        given = None if find_layout is None else find_layout(features)
        if isinstance(given, Frames):
            return given
        return infer_frames(features.shape, clip, given) or given or infer_layout(features.shape, clip[1:])

    return found


def frame_order(model: nn.Module, first: Inputs, layer: LayerCalls) -> FrameOrder:
    """How a layer that folds frames into the batch does so: by changing the second of two inputs.

    Args:
        model: a borrowed network.
        first: one input (a batch of one).
        layer: its calls; their maps hold all frames.

    Returns:
        `"input"` or `"frame"`.

    Raises:
        TailError: if neither half of the rows changes alone: the network mixes its inputs.
    """
    twice = first.map(lambda tensor: torch.cat([tensor, tensor]) if _is_picture(tensor) else tensor)
    other = first.map(lambda tensor: torch.cat([tensor, 1 - tensor.flip(-1)]) if _is_picture(tensor) else tensor)
    before, after = (record(model, inputs, layer).maps[0] for inputs in (twice, other))
    changed = (before != after).flatten(1).any(1)
    n = len(changed) // 2
    if not bool(changed[:n].any()):
        return "input"
    if not bool(changed[::2].any()):
        return "frame"
    raise TailError("the layer's frames change with the other clips of the batch: the network mixes its inputs")


def named_calls(name: str, runs: Sequence[LayerInfo], wanted: int | Sequence[int]) -> list[LayerInfo]:
    """The runs of a layer that were asked for, in the order in which they happen.

    Args:
        name: of the layer, for messages.
        runs: all that return a grid.
        wanted: numbers.

    Returns:
        Some of the runs.

    Raises:
        LayerError: if there is no such run, or their maps differ in shape.
    """
    numbers = sorted({wanted} if isinstance(wanted, int) else set(wanted))
    by_number = {info.call: info for info in runs}
    for number in numbers:
        if number not in by_number:
            raise LayerError(f"layer {name!r} has no call {number}: its calls with a grid are {list(by_number)}")
    chosen = [by_number[number] for number in numbers]
    if len({info.shape for info in chosen}) != 1:
        shapes = ", ".join(f"{info.call}: {info.shape}" for info in chosen)
        raise LayerError(f"the calls {numbers} of layer {name!r} return maps of different shapes ({shapes})")
    return chosen


def named_frames(name: str, layout: Frames, wanted: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """The frames that were asked for, ascending.

    Args:
        name: of the layer, for messages.
        layout: of its map.
        wanted: numbers; None for all.

    Returns:
        Numbers; None for all.

    Raises:
        LayerError: if there is no such frame.
    """
    if wanted is None:
        return None
    numbers = sorted({wanted} if isinstance(wanted, int) else set(wanted))
    if not numbers or numbers[0] < 0 or numbers[-1] >= layout.n:
        raise LayerError(f"layer {name!r} has no frames {numbers}: it returns {layout.n}, 0 to {layout.n - 1}")
    return tuple(numbers)


def map_size(tail: Tail, size: tuple[int, ...]) -> tuple[int, ...]:
    """The input's size on the axes of the grid.

    Args:
        tail: cut at the layer.
        size: of the input, without batch and channels.

    Returns:
        Of a clip the size of its frames; before it their number, where they share a filter.
    """
    if isinstance(tail.layout, Frames):
        return (tail.layout.n, *size[1 - len(tail.grid) :])
    return size[-len(tail.grid) :]


def _is_picture(tensor: Tensor) -> bool:
    return tensor.dim() >= 3 and tensor.is_floating_point()
