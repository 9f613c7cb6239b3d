"""Record one forward pass as a script that can be replayed from one layer on.

A network runs as a tree of module calls. When the layer returns, the calls on the way to it are still open
(its ancestors), and beside them lie the finished calls that its ancestors made earlier (the frontier: stem,
earlier stages, a skip branch). The script is that path:

    enter model, returned stem, returned stage1, enter stage2, returned block0, layer block1

Replaying it runs only the ancestors' own code; what finished returns what it returned then.

Most frontier outputs were freed by the network itself by then: nothing after the layer can need their values,
so on replay only their shapes are played back. What the network still held when the layer returned (a skip
branch) is kept by reference, without a copy, until `cut` has found out whether the tail reads it.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from l2caf.errors import LayerError
from l2caf.guard import genuine_call, intercept


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a network is called with.

    Attributes:
        args: positional arguments; tensors carry the batch on their first axis.
        kwargs: keyword arguments, likewise.
        until: a module whose output is taken for the network's (Eq. 3); None for the network's own.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    until: nn.Module | None = None

    @classmethod
    def ensure(cls, value: object) -> "Inputs":
        """A tensor (one argument), a tuple (positional) or a mapping (keywords) as `Inputs`."""
        if isinstance(value, Inputs):
            return value
        if isinstance(value, Mapping):
            return cls(kwargs=dict(value))
        return cls(args=value if isinstance(value, tuple) else (value,))

    def map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        """The same call with `function` applied to every tensor."""
        args, kwargs = pytree.tree_map_only(Tensor, function, (self.args, dict(self.kwargs)))
        return replace(self, args=args, kwargs=kwargs)

    def tensors(self) -> list[Tensor]:
        """Every tensor among the arguments, in order."""
        leaves = pytree.tree_leaves((self.args, dict(self.kwargs)))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def call(self, model: nn.Module) -> Any:
        """What `model` returns for these arguments, or `until` within it; nothing runs after that.

        Args:
            model: the network.

        Returns:
            The output.

        Raises:
            LayerError: if `until` never runs.
        """
        if self.until is None:
            return model(*self.args, **self.kwargs)
        with intercept({self.until}, _leave):
            try:
                model(*self.args, **self.kwargs)
            except _Reached as reached:
                return reached.output
        raise LayerError(f"the {type(self.until).__name__} given as `until` does not run in a forward pass")


class _Reached(Exception):  # noqa: N818  (it leaves the network early; nothing is wrong)
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def _leave(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    raise _Reached(genuine_call(module, args, kwargs))


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One call of one module.

    Attributes:
        module: the layer.
        call: which of its calls in a forward pass, from 0; None for the last.
        part: which tensor of its output, counted over nested tuples and dicts, where it returns several.
    """

    module: nn.Module
    call: int | None = None
    part: int = 0


class Step(Enum):
    """What a module call on the way to the layer does when it is replayed."""

    ENTER = auto()  # an ancestor of the layer: its own code runs
    RETURN = auto()  # finished before the layer: returns what it returned then
    LAYER = auto()  # the layer: returns the filtered map


@dataclass(slots=True)
class Held:
    """One tensor that a finished module returned: its shape always, its value only where it can still matter."""

    shape: torch.Size
    dtype: torch.dtype
    version: int
    reference: weakref.ref[Tensor]
    value: Tensor | None = None

    @classmethod
    def of(cls, tensor: Tensor) -> "Held":
        """Hold `tensor` weakly, until the layer returns."""
        version = 0 if tensor.is_inference() else tensor._version  # noqa: SLF001
        return cls(tensor.shape, tensor.dtype, version, weakref.ref(tensor))

    @classmethod
    def copy_of(cls, tensor: Tensor) -> "Held":
        """Hold a copy of `tensor`, out of reach of later in-place operations."""
        held = cls.of(tensor)
        held.value = tensor.detach().clone()
        return held

    def settle(self) -> None:
        """Keep the value if the network still holds it, as it may use it after the layer."""
        if self.value is None:
            self.value = self.reference()

    def is_stale(self) -> bool:
        """Whether an in-place operation has changed the value since the module returned it."""
        value = self.value
        return value is not None and value is self.reference() and value._version != self.version  # noqa: SLF001

    def shape_only(self) -> "Held":
        """The same without its value."""
        return replace(self, value=None)


@dataclass(frozen=True, slots=True)
class Event:
    """One step of the script."""

    step: Step
    module: nn.Module
    output: Any = None  # RETURN: the output with every tensor as Held; LAYER: the output, its tensors real


@dataclass(frozen=True, slots=True)
class Recording:
    """One forward pass, cut open at a layer.

    Attributes:
        inputs: what the network was called with.
        output: what it returned.
        features: the layer's feature map, a copy taken before anything could change it in place.
        layer: which call of which module.
        script: the steps from the model's call to the layer's return.
    """

    inputs: Inputs
    output: Any
    features: Tensor
    layer: LayerCall
    script: tuple[Event, ...]

    def is_stale(self) -> bool:
        """Whether a tensor that the script returns was changed in place after it was recorded."""
        held = [leaf for event in self.script for leaf in pytree.tree_leaves(event.output) if isinstance(leaf, Held)]
        return any(leaf.is_stale() for leaf in held)

    def shapes_only(self) -> "Recording":
        """The same recording without any kept value."""
        script = (
            replace(event, output=pytree.tree_map_only(Held, Held.shape_only, event.output)) for event in self.script
        )
        return replace(self, script=tuple(script))


class _Recorder:
    """Answers every module call of one forward pass and keeps the path to the layer."""

    def __init__(self, layer: LayerCall, *, copy: bool) -> None:
        self.layer = layer
        self.hold = Held.copy_of if copy else Held.of
        self.calls = 0
        self.frames: list[tuple[nn.Module, list[Event]]] = []
        self.features: Tensor | None = None
        self.script: tuple[Event, ...] = ()

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.frames.append((module, []))
        output = genuine_call(module, args, kwargs)
        self.frames.pop()
        if module is self.layer.module:
            if self.layer.call is None or self.layer.call == self.calls:
                self._cut(module, output)
            self.calls += 1
        if self.frames:
            is_tensor = isinstance(output, Tensor)  # spares the tree walk, which costs as much as a small layer
            held = self.hold(output) if is_tensor else pytree.tree_map_only(Tensor, self.hold, output)
            self.frames[-1][1].append(Event(Step.RETURN, module, held))
        return output

    def _cut(self, module: nn.Module, output: Any) -> None:
        tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
        if not tensors:
            raise LayerError(f"the layer returned {type(output).__name__}, which holds no tensor; choose another layer")
        self.features = tensors[self.layer.part].detach().clone()
        script: list[Event] = []
        for ancestor, finished in self.frames:
            script += [Event(Step.ENTER, ancestor), *finished]
        for event in script:
            for leaf in pytree.tree_leaves(event.output):
                if isinstance(leaf, Held):
                    leaf.settle()
        self.script = (*script, Event(Step.LAYER, module, pytree.tree_map_only(Tensor, Tensor.detach, output)))


def record(model: nn.Module, inputs: Inputs, layer: LayerCall, *, copy: bool = False) -> Recording:
    """Run the network once and keep what is needed to replay it from `layer` on.

    Args:
        model: a borrowed network.
        inputs: what to call it with.
        layer: where to cut.
        copy: keep a copy of every finished output, not only what the network still holds when the layer returns.

    Returns:
        The recording; its tensors carry no gradient.

    Raises:
        LayerError: if the layer was never called, or returned no tensor.
    """
    recorder = _Recorder(layer, copy=copy)
    with torch.no_grad(), intercept(set(model.modules()), recorder):
        output = inputs.call(model)
    if recorder.features is None:
        raise LayerError(
            f"the layer was called {recorder.calls} times in this forward pass"
            + (f", so there is no call {layer.call}" if recorder.calls else "; choose one that runs (`l2caf layers`)")
        )
    return Recording(inputs, output, recorder.features, layer, recorder.script)
