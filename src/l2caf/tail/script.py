"""What a recording is: the inputs, the steps on the way to the layer, and what each of them returned."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from l2caf.errors import LayerError, LayoutError
from l2caf.guard import Args, Kwargs, genuine_call, intercept, version_of
from l2caf.tail.trees import tensors_in


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a network is called with.

    Attributes:
        args: positional arguments; tensors carry the batch on their first axis.
        kwargs: keyword arguments; tensors carry the batch on their first axis.
        until: a module whose output is taken for the network's (Eq. 3); None for the network's own.
        shared: which tensors, counted over all arguments, belong to the whole batch although they are as long as it is.
    """

    args: Args = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    until: nn.Module | None = None
    shared: frozenset[int] = frozenset()

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
        return tensors_in((self.args, dict(self.kwargs)))

    @property
    def n_inputs(self) -> int:
        """How many inputs the batch holds: as many as the first picture has rows, or else the first tensor.

        Raises:
            LayoutError: if there is no tensor, or no input.
        """
        tensors = self.tensors()
        first = next(filter(is_picture, tensors), next(iter(tensors), None))
        if first is None or first.dim() == 0 or first.shape[0] == 0:
            raise LayoutError(
                f"inputs hold {'an empty batch' if tensors else 'no tensor'}; expected tensors (b, ...) with b > 0"
            )
        return first.shape[0]

    def has_rows(self) -> list[bool]:
        """Which tensors have a row for each input, in order; the others belong to the whole batch."""
        b = self.n_inputs
        return [
            number not in self.shared and tensor.dim() > 0 and tensor.shape[0] == b
            for number, tensor in enumerate(self.tensors())
        ]

    def map_rows(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        """The same call with `function` applied to every tensor that has a row for each input."""
        has_rows = iter(self.has_rows())
        return self.map(lambda tensor: function(tensor) if next(has_rows) else tensor)

    def first(self) -> "Inputs":
        """The first input of a batch, as a batch of one.

        Returns:
            The same call, with the first row of every tensor that has a row for each input.

        Raises:
            LayoutError: if there is no tensor, or no input.
        """
        return self.map_rows(lambda tensor: tensor[:1])

    def pictures(self) -> list[int]:
        """Which of the tensors may hold pictures: floats, or bytes, with an axis behind batch and channels.

        Returns:
            Places in `tensors()`; where there are none, those of rows of floats (b, t).
        """
        tensors = self.tensors()
        found = [number for number, tensor in enumerate(tensors) if is_picture(tensor)]
        return found or [n for n, tensor in enumerate(tensors) if tensor.dim() == 2 and tensor.is_floating_point()]

    def call(self, model: Callable[..., Any]) -> Any:
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


def is_picture(tensor: Tensor) -> bool:
    """Whether a tensor among a network's inputs may have space: floats, or bytes, of shape (b, c, ...)."""
    return tensor.dim() >= 3 and (tensor.is_floating_point() or tensor.dtype == torch.uint8)


class _Reached(Exception):  # noqa: N818  (it leaves the network early; nothing is wrong)
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def _leave(module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
    raise _Reached(genuine_call(module, args, kwargs))


@dataclass(frozen=True, slots=True)
class RowAxis:
    """An axis of a tensor along which the inputs of a batch lie, each with one entry or several.

    Attributes:
        axis: which axis.
        is_minor: of several entries for each input, whether those of one input lie a batch apart (frame by frame)
            rather than side by side.
    """

    axis: int = 0
    is_minor: bool = False


RowAxes = tuple[RowAxis, ...]  # of one tensor; none where it belongs to the whole batch
FIRST_AXIS: Final[RowAxes] = (RowAxis(),)


@dataclass(frozen=True, slots=True)
class LayerCalls:
    """Some calls of one module.

    Attributes:
        module: the layer.
        calls: which calls of the module in a forward pass, from 0, ascending.
        part: which tensor of the module's output, counted over nested tuples and dicts, where it returns several.
        frames: which frames, ascending, where the layer returns several at once; None for all.
        joint: one filter over all calls and frames, rather than one for each.
        rerun: places of those steps of the script that depend on an earlier call of the layer, as `dependents` finds
            them; they run again on every replay.
        rows: where the inputs lie in each tensor that each step of the script returned, as `row_axes` finds them. A
            script of another length has them on the first axis of what is a multiple of the batch.
    """

    module: nn.Module
    calls: tuple[int, ...] = (0,)
    part: int = 0
    frames: tuple[int, ...] | None = None
    joint: bool = False
    rerun: frozenset[int] = frozenset()
    rows: tuple[tuple[RowAxes, ...], ...] = ()


class Step(Enum):
    """What a module call on the way to the layer does when it is replayed."""

    ENTER = auto()  # an ancestor of the layer: its own code runs
    RETURN = auto()  # finished before the layer: returns what it returned then
    LAYER = auto()  # the layer: returns the filtered map


@dataclass(slots=True)
class Held:
    """One tensor that a module returned: its shape always, its value only where it can still matter."""

    shape: torch.Size
    dtype: torch.dtype
    version: int
    reference: weakref.ref[Tensor]
    value: Tensor | None = None
    rows: RowAxes = FIRST_AXIS

    @classmethod
    def of(cls, tensor: Tensor) -> "Held":
        """Hold `tensor` weakly, until the layer returns."""
        return cls(tensor.shape, tensor.dtype, version_of(tensor), weakref.ref(tensor))

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
        return value is not None and value is self.reference() and version_of(value) != self.version

    def shape_only(self) -> "Held":
        """The same without its value."""
        return replace(self, value=None)

    def in_float32(self) -> "Held":
        """The same in single precision, if it is a float."""
        dtype = torch.float32 if self.dtype.is_floating_point else self.dtype
        return replace(self, dtype=dtype, value=None if self.value is None else _in_float32(self.value))


@dataclass(frozen=True, slots=True)
class Event:
    """One step of the script."""

    step: Step
    module: nn.Module
    output: Any = None  # its tensors Held; of LAYER only where it is more than one tensor
    depends: bool = False  # on an earlier call of the layer: it runs again on replay, whatever its step


@dataclass(frozen=True, slots=True)
class Recording:
    """One forward pass, cut open at a layer.

    Attributes:
        inputs: what the network was called with.
        output: what it returned.
        maps: the layer's feature map at each of its calls, copied before anything could change it in place.
        layer: the module, and the calls of it, that the recording is cut at.
        script: the steps from the model's call to the return of the layer's last call.
    """

    inputs: Inputs
    output: Any
    maps: tuple[Tensor, ...]
    layer: LayerCalls
    script: tuple[Event, ...]

    def is_stale(self) -> bool:
        """Whether a tensor that the script returns was changed in place after it was recorded."""
        return any(held.is_stale() for event in self.script for held in held_by(event))

    def shapes_only(self) -> "Recording":
        """The same recording without any kept value."""
        return replace(self, script=_script_with(self.script, Held.shape_only, but=Step.LAYER))

    def in_float32(self) -> "Recording":
        """The same recording with every float in single precision."""
        return replace(
            self,
            inputs=self.inputs.map(_in_float32),
            output=pytree.tree_map_only(Tensor, _in_float32, self.output),
            maps=tuple(map(_in_float32, self.maps)),
            script=_script_with(self.script, Held.in_float32),
        )


def _script_with(
    script: tuple[Event, ...], function: Callable[[Held], Held], *, but: Step | None = None
) -> tuple[Event, ...]:
    """The script with `function` of every tensor that its steps returned, but for steps of one kind."""
    return tuple(
        event if event.step is but else replace(event, output=pytree.tree_map_only(Held, function, event.output))
        for event in script
    )


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def held_by(event: Event) -> list[Held]:
    """Every tensor that a step returned."""
    return [leaf for leaf in pytree.tree_leaves(event.output) if isinstance(leaf, Held)]
