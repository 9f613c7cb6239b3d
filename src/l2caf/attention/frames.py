"""The frames of a clip: whether a network sees them as a volume, in which order they lie, and which are explained.

A network that fuses frames takes (b, t, c, h, w) and runs a CNN on them one by one, or folded into the batch. A network
that has three-dimensional layers of its own sees a clip as a volume instead, so its maps are not taken apart.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import nn

from l2caf.attention.discovery import LayerInfo
from l2caf.errors import LayerError, TailError
from l2caf.layouts import FrameOrder
from l2caf.tail import Inputs, LayerCalls, is_picture, record

VOLUME_LAYERS: Final = ("Conv3d", "ConvTranspose3d", "LazyConv3d")


def sees_volumes(model: nn.Module) -> bool:
    """Whether a network has three-dimensional convolutions, and so takes (b, c, t, h, w)."""
    return any(type(module).__name__ in VOLUME_LAYERS for module in model.modules())


def frame_order(model: nn.Module, first: Inputs, layer: LayerCalls) -> FrameOrder:
    """How a layer that folds frames into the batch does so: by changing the second of two inputs.

    Args:
        model: a borrowed network.
        first: one input (a batch of one).
        layer: the layer's calls; their maps hold all frames.

    Returns:
        `"input"` or `"frame"`.

    Raises:
        TailError: if neither half of the rows changes alone: the network mixes its inputs.
    """
    twice = first.map(lambda tensor: torch.cat([tensor, tensor]) if is_picture(tensor) else tensor)
    other = first.map(lambda tensor: torch.cat([tensor, 1 - tensor.flip(-1)]) if is_picture(tensor) else tensor)
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
        name: name of the layer, for messages.
        runs: all runs of the layer that return a grid.
        wanted: numbers of runs, from 0.

    Returns:
        Some of the runs.

    Raises:
        LayerError: if there is no such run, or their maps differ in shape.
    """
    numbers = _ascending(wanted)
    by_number = {info.call: info for info in runs}
    for number in numbers:
        if number not in by_number:
            raise LayerError(f"layer {name!r} has no call {number}: its calls with a grid are {list(by_number)}")
    chosen = [by_number[number] for number in numbers]
    if len({info.shape for info in chosen}) != 1:
        shapes = ", ".join(f"{info.call}: {info.shape}" for info in chosen)
        raise LayerError(f"the calls {numbers} of layer {name!r} return maps of different shapes ({shapes})")
    return chosen


def named_frames(name: str, n: int, wanted: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """The frames that were asked for, ascending.

    Args:
        name: name of the layer, for messages.
        n: how many frames the layer returns for each input.
        wanted: numbers of frames, from 0; None for all.

    Returns:
        Numbers; None for all.

    Raises:
        LayerError: if there is no such frame.
    """
    if wanted is None:
        return None
    numbers = _ascending(wanted)
    if not numbers or numbers[0] < 0 or numbers[-1] >= n:
        raise LayerError(f"layer {name!r} has no frames {numbers}: it returns {n}, 0 to {n - 1}")
    return tuple(numbers)


def _ascending(wanted: int | Sequence[int]) -> list[int]:
    return [wanted] if isinstance(wanted, int) else sorted(set(wanted))
