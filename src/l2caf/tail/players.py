"""Answer the module calls of one replay: from the script of a recording, or by running the whole network."""

import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from l2caf.errors import TailError
from l2caf.guard import Args, Kwargs, genuine_call
from l2caf.tail.place import Place
from l2caf.tail.script import FIRST_AXIS, Event, Held, LayerCalls, Recording, RowAxes, Step
from l2caf.tail.trees import tensors_in, with_part


class _ShapesMeetValues(TorchFunctionMode):
    """Lets real tensors meet meta tensors, with a meta result: before the layer only shapes matter.

    A position embedding added between two modules, say, is real where the map it is added to is meta. Once the
    layer has been reached (`active` is off) such a meeting is an error, as it would lose a value the tail needs.
    """

    active = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if self.active and len({tensor.is_meta for tensor in tensors_in((args, kwargs))}) == 2:
            args, kwargs = pytree.tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
        return func(*args, **kwargs)


class Player:
    """Answers module calls from the script, up to the layer's last call.

    Three kinds of calls reach it. Calls after the script's end, and calls made inside a step that is re-run because it
    depends on the filter, are the module's own: they are not matched against the script. Every other call must be
    the next step of the script.
    """

    def __init__(self, recording: Recording, place: Place, *, has_inputs: bool) -> None:
        self.script = recording.script
        self.part = recording.layer.part
        self.place = place
        self.has_inputs = has_inputs
        self.next = 0
        self.layer_calls = 0
        self.is_rerunning = False  # inside a step that depends on the filter
        self.shapes_meet_values = _ShapesMeetValues()
        self.mode: AbstractContextManager[object] = self.shapes_meet_values

    def modules(self) -> set[nn.Module]:
        """Whose calls it answers."""
        return {event.module for event in self.script}

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """What a call returns."""
        if self.is_rerunning or self.next >= len(self.script):
            return genuine_call(module, args, kwargs)
        event = self.script[self.next]
        if event.module is not module:
            raise TailError(
                f"replaying called {type(module).__name__} where the recording had {type(event.module).__name__}: "
                "the network does not take the same path twice"
            )
        self.next += 1
        if event.step is Step.ENTER:  # its own code runs, on tensors without values: what it calls comes back here
            return genuine_call(module, args, kwargs)
        own = self._rerun(module, args, kwargs) if event.depends else None
        if event.step is Step.LAYER:
            return self._layer(event, own)
        return own if event.depends else pytree.tree_map_only(Held, self._held, event.output)

    def _rerun(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        self.is_rerunning = True
        try:
            return genuine_call(module, args, kwargs)
        finally:
            self.is_rerunning = False

    def _layer(self, event: Event, own: Any) -> Any:
        call, self.layer_calls = self.layer_calls, self.layer_calls + 1
        # From the layer's last call on, every tensor the output reads must have values.
        self.shapes_meet_values.active = self.next < len(self.script)
        if own is not None:
            return with_part(own, self.part, lambda tensor: self.place.at(call, tensor))
        if event.output is None:
            return self.place.at(call, None)
        numbers = itertools.count()
        return pytree.tree_map_only(
            Held,
            lambda held: self.place.at(call, None) if next(numbers) == self.part else self._held(held),
            event.output,
        )

    def input(self, tensor: Tensor, axes: RowAxes = FIRST_AXIS) -> Tensor:
        """An input of the network for these rows: its values only where everything was kept."""
        return self.place.of(tensor, axes) if self.has_inputs else self.place.shape_of(tensor.shape, tensor.dtype, axes)

    def _held(self, held: Held) -> Tensor:
        if held.value is None:
            return self.place.shape_of(held.shape, held.dtype, held.rows)
        return self.place.of(held.value, held.rows, copy=True)  # the network may write into what it is given


class Substitute:
    """Runs the whole network and puts the filtered map in the place of the layer's (the paper's vanilla form)."""

    def __init__(self, layer: LayerCalls, place: Place) -> None:
        self.layer = layer
        self.place = place
        self.calls = 0
        self.mode: AbstractContextManager[object] = nullcontext()

    def modules(self) -> set[nn.Module]:
        """Whose calls it answers."""
        return {self.layer.module}

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        """What a call returns."""
        output = genuine_call(module, args, kwargs)
        call, self.calls = self.calls, self.calls + 1
        if call not in self.layer.calls:
            return output
        number = self.layer.calls.index(call)
        return with_part(output, self.layer.part, lambda own: self.place.at(number, own))

    def input(self, tensor: Tensor, axes: RowAxes = FIRST_AXIS) -> Tensor:
        """An input of the network for these rows."""
        return self.place.of(tensor, axes)
