"""Find where the inputs of a batch lie in the tensors of a pass, by running one input twice over.

A replay may need several rows for one input, and then repeats what was recorded alongside. Sizes alone do not say of
what a tensor is made: a table of positions has no batch, a sequence may come before it, a batch of one is a factor of
everything. The axes that grow with the batch hold it. Where an input has several entries on such an axis (frames,
windows), changing the second of two inputs shows which entries are its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from l2caf.errors import LayerError
from l2caf.tail.record import record
from l2caf.tail.replay import ReadOutput
from l2caf.tail.script import (
    Event,
    Held,
    Inputs,
    LayerCalls,
    Recording,
    RowAxes,
    RowAxis,
    held_by,
    is_picture,
)


def row_axes(model: nn.Module, one: Recording) -> tuple[tuple[RowAxes, ...], ...]:
    """Where the inputs lie in what each step of the script returned.

    Args:
        model: a borrowed network.
        one: the pass of one input (a batch of one).

    Returns:
        The axes of each tensor of each step; nothing where the network does not take two inputs, or takes another path
        with them.

    Raises:
        LayerError: if the layer's own map does not grow with the batch.
    """
    two = _recorded(model, _twice(one.inputs), one.layer)
    if two is None:
        return ()
    shapes = [recording.maps[0].shape for recording in (one, two)]
    if shapes[1] != (2 * shapes[0][0], *shapes[0][1:]):
        raise LayerError(
            f"the layer returns {tuple(shapes[0])} for one input and {tuple(shapes[1])} for two: its map is shared by "
            "the batch, or has the batch elsewhere than on the first axis; choose another layer (`l2caf layers`)"
        )
    if _outline(one.script) != _outline(two.script):
        return ()
    single, double = (list(map(held_by, recording.script)) for recording in (one, two))
    rows = [[_grown(*pair) for pair in zip(*step, strict=True)] for step in zip(single, double, strict=True)]
    if any(size > 1 for step, found in zip(single, rows, strict=True) for size in _entries(step, found)):
        rows = _in_order(model, one, rows)
    return tuple(map(tuple, rows))


def with_shared(model: nn.Module, inputs: Inputs, read: ReadOutput) -> Inputs:
    """The same call, with the tensors marked that belong to the whole batch although they are as long as it is.

    Args:
        model: a borrowed network.
        inputs: a batch of any size.
        read: takes the network's output to (b, n).

    Returns:
        The inputs, with all tensors marked that do not have a row for each input. Three texts for three pictures are
        shared where the network says three numbers of each picture.
    """
    inputs = replace(inputs, shared=frozenset(number for number, own in enumerate(inputs.has_rows()) if not own))
    if sum(inputs.has_rows()) < 2:
        return inputs
    others = frozenset(number for number, tensor in enumerate(inputs.tensors()) if not is_picture(tensor))
    candidates = (inputs, replace(inputs, shared=others))
    return next((one for one in candidates if _is_answered_by_row(model, one, read)), inputs)


def _is_answered_by_row(model: nn.Module, inputs: Inputs, read: ReadOutput) -> bool:
    """Whether the network says as much of one input as of each of two, and of each of the batch."""
    first = inputs.first()
    try:
        with torch.no_grad():
            one, two, every = (read(call.call(model)).shape for call in (first, _twice(first), inputs))
    except Exception:  # noqa: BLE001  (a network may refuse a batch of another size with whatever it likes)
        return False
    return (one[0], two, every) == (1, (2, *one[1:]), (inputs.n_inputs, *one[1:]))


def _recorded(
    model: nn.Module, inputs: Inputs, layer: LayerCalls, hold: Callable[[Tensor], Held] = Held.of
) -> Recording | None:
    try:
        return record(model, inputs, layer, hold=hold)
    except Exception:  # noqa: BLE001  (a network may refuse a batch of two with whatever it likes)
        return None


def _twice(one: Inputs) -> Inputs:
    return one.map_rows(lambda tensor: torch.cat([tensor, tensor]))


def _outline(script: Sequence[Event]) -> list[tuple[nn.Module, int]]:
    return [(event.module, len(held_by(event))) for event in script]


def _grown(single: Held, double: Held) -> RowAxes:
    """The axes that are twice as long with two inputs."""
    if len(single.shape) != len(double.shape):
        return ()
    sizes = enumerate(zip(single.shape, double.shape, strict=True))
    return tuple(RowAxis(axis) for axis, (one, two) in sizes if one and two == 2 * one)


def _entries(step: Sequence[Held], rows: Sequence[RowAxes]) -> list[int]:
    """How many entries one input has on each of its axes, in what a step returned for it."""
    return [held.shape[one.axis] for held, axes in zip(step, rows, strict=True) for one in axes]


def _in_order(model: nn.Module, one: Recording, rows: list[list[RowAxes]]) -> list[list[RowAxes]]:
    """The same axes, with the order of several entries: those of the second of two inputs change with it."""

    def with_other(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, 1 - tensor.flip(-1) if is_picture(tensor) else tensor])

    calls = (_twice(one.inputs), one.inputs.map_rows(with_other))
    before, after = (_recorded(model, inputs, one.layer, hold=_sums) for inputs in calls)
    if before is None or after is None or _outline(before.script) != _outline(after.script):
        return rows
    scripts = zip(before.script, after.script, strict=True)
    pairs = [list(zip(held_by(a), held_by(b), strict=True)) for a, b in scripts]
    return [
        [tuple(_ordered(axis, *pair) for axis in axes) for axes, pair in zip(step, held, strict=True)]
        for step, held in zip(rows, pairs, strict=True)
    ]


def _ordered(one: RowAxis, before: Held, after: Held) -> RowAxis:
    changed = _changed(one.axis, before, after)
    half = len(changed) // 2
    return replace(one, is_minor=bool(changed[:half].any()) and not bool(changed[::2].any()))


def _changed(axis: int, before: Held, after: Held) -> Bool[Tensor, " entries"]:
    """Which entries of an axis differ between two passes."""
    sums = [held.value.split(list(held.shape))[axis] for held in (before, after) if held.value is not None]
    return sums[0] != sums[1]


def _sums(tensor: Tensor) -> Held:
    """Instead of a copy, what its entries add up to, on each axis one after the other."""
    held, values = Held.of(tensor), tensor.detach().abs() if tensor.is_complex() else tensor.detach()
    others = [[other for other in range(tensor.dim()) if other != axis] for axis in range(tensor.dim())]
    sums = [values.sum(axes, dtype=torch.float64) if axes else values.double() for axes in others]
    held.value = torch.cat(sums) if sums else values.new_empty(0, dtype=torch.float64)
    return held
