"""Record one forward pass as a script that can be replayed from one layer on.

A network runs as a tree of module calls. When the layer returns, the calls on the way to it are still open
(its ancestors), and beside them lie the finished calls that its ancestors made earlier (the frontier: stem,
earlier stages, a skip branch). The script is that path:

    enter model, returned stem, returned stage1, enter stage2, returned block0, layer block1

Replaying it runs only the ancestors' own code; what finished returns what it returned then.

Most frontier outputs were freed by the network itself by then: nothing after the layer can need their values,
so on replay only their shapes are played back. What the network still held when the layer returned (a skip
branch) is kept by reference, without a copy, until `cut` has found out whether the tail reads it.

A layer may run several times (a Siamese trunk, time steps). The script then goes on to the last call of interest:

    enter model, enter trunk, returned stem, layer, ran pooling, enter trunk, returned stem, layer

What happens between two calls either depends on the first of them (`ran`: it runs again on every replay) or does not
(the stem of the second picture). `dependents` finds out which by changing what the layer returns.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from l2caf.errors import LayerError, TailError
from l2caf.guard import Args, Kwargs, genuine_call, intercept
from l2caf.tail.script import Event, Held, Inputs, LayerCalls, Recording, Step, held_by
from l2caf.tail.trees import tensors_in, with_part


@dataclass(slots=True)
class _Frame:
    """A call under way: what it has called so far."""

    module: nn.Module
    events: list[Event] = field(default_factory=list)
    has_layer: bool = False

    def as_events(self) -> list[Event]:
        return [Event(Step.ENTER, self.module), *self.events]


class _Recorder:
    """Answers every module call of one forward pass and keeps the path to the layer's last call."""

    def __init__(
        self, layer: LayerCalls, hold: Callable[[Tensor], Held], change: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.layer = layer
        self.hold = hold
        self.change = change
        self.calls = 0
        self.frames: list[_Frame] = []
        self.maps: list[Tensor] = []
        self.script: tuple[Event, ...] = ()

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        if self.script:
            return genuine_call(module, args, kwargs)
        self.frames.append(_Frame(module))
        output = genuine_call(module, args, kwargs)
        frame = self.frames.pop()
        if self.script or not self.frames:
            return output
        if module is self.layer.module and self._is_wanted():
            return self._take(module, output)
        parent = self.frames[-1]
        if frame.has_layer:
            parent.events += frame.as_events()
            parent.has_layer = True
        else:
            is_tensor = isinstance(output, Tensor)  # spares the tree walk, which costs as much as a small layer
            held = self.hold(output) if is_tensor else pytree.tree_map_only(Tensor, self.hold, output)
            parent.events.append(Event(Step.RETURN, module, held))
        return output

    def _is_wanted(self) -> bool:
        self.calls += 1
        return self.calls - 1 in self.layer.calls

    def _take(self, module: nn.Module, output: Any) -> Any:
        tensors = tensors_in(output)
        if not tensors:
            raise LayerError(f"the layer returned {type(output).__name__}, which holds no tensor; choose another layer")
        self.maps.append(tensors[self.layer.part].detach().clone())
        rest = None if tensors[0] is output else pytree.tree_map_only(Tensor, Held.copy_of, output)
        parent = self.frames[-1]
        parent.events.append(Event(Step.LAYER, module, rest))
        parent.has_layer = True
        for frame in self.frames:
            for event in frame.events:
                for held in held_by(event):
                    held.settle()
        if self.calls - 1 == self.layer.calls[-1]:
            self.script = tuple(event for frame in self.frames for event in frame.as_events())
        return output if self.change is None else with_part(output, self.layer.part, self.change)


def record(
    model: nn.Module,
    inputs: Inputs,
    layer: LayerCalls,
    *,
    hold: Callable[[Tensor], Held] = Held.of,
) -> Recording:
    """Run the network once and keep what is needed to replay it from `layer` on.

    Args:
        model: a borrowed network.
        inputs: what to call it with.
        layer: where to cut.
        hold: what to keep of a finished output: what the network still holds when the layer returns, or, as
            `Held.copy_of`, a copy of it.

    Returns:
        The recording; its tensors carry no gradient.

    Raises:
        LayerError: if the layer was never called, or returned no tensor.
    """
    recorder = _Recorder(layer, hold)
    output = _run(model, inputs, recorder)
    if len(layer.rows) == len(recorder.script):
        for event, rows in zip(recorder.script, layer.rows, strict=True):
            for held, axes in zip(held_by(event), rows, strict=False):
                held.rows = axes
    script = tuple(replace(event, depends=place in layer.rerun) for place, event in enumerate(recorder.script))
    return Recording(inputs, output, tuple(recorder.maps), layer, script)


def dependents(
    model: nn.Module, inputs: Inputs, layer: LayerCalls, change: Callable[[Tensor], Tensor]
) -> frozenset[int]:
    """Which steps of the script depend on an earlier call of the layer.

    Args:
        model: a borrowed network.
        inputs: one input (a batch of one).
        layer: several calls.
        change: another feature map in the place of the layer's.

    Returns:
        Places in the script.

    Raises:
        LayerError: if the layer was not called so often.
        TailError: if the network calls other modules when the features change.
    """
    recorders = [_Recorder(layer, Held.copy_of), _Recorder(layer, Held.copy_of, change)]
    for recorder in recorders:
        _run(model, inputs, recorder)
    plain, changed = (recorder.script for recorder in recorders)
    if [event.module for event in plain] != [event.module for event in changed]:
        raise TailError("the network calls other modules when its features change between two calls of the layer")
    maps = iter(zip(*(recorder.maps for recorder in recorders), strict=True))
    found = set()
    for place, (event, other) in enumerate(zip(plain, changed, strict=True)):
        if event.step is Step.LAYER:
            pairs = [next(maps)]
        else:
            pairs = [(a.value, b.value) for a, b in zip(held_by(event), held_by(other), strict=True)]
        if not all(torch.equal(a, b) for a, b in pairs):
            found.add(place)
    return frozenset(found)


def _run(model: nn.Module, inputs: Inputs, recorder: _Recorder) -> Any:
    with torch.no_grad(), intercept(set(model.modules()), recorder):
        output = inputs.call(model)
    if not recorder.script:
        raise LayerError(
            f"the layer was called {recorder.calls} times in this forward pass"
            + (f", so there is no call {recorder.layer.calls[-1]}" if recorder.calls else "")
            + "; choose one that runs (`l2caf layers`)"
        )
    return output
