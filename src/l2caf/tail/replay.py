"""Replay a recorded network from its layer on, with a filter on the feature map.

`Tail` is the function FT(f) of the paper: filters in, network outputs out, any number of rows in one call,
each row naming the input whose recorded tensors it uses. Before the layer nothing is computed: what the
ancestors' own code does there runs on meta tensors, which have a shape and no values.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from l2caf.errors import TailError
from l2caf.guard import genuine_call, intercept
from l2caf.layouts import Layout
from l2caf.shapes import Outputs, Rows
from l2caf.tail.place import Place, Slots, filtered_elements
from l2caf.tail.record import record, with_part
from l2caf.tail.script import Event, Held, Inputs, LayerCalls, Recording, Step

ReadOutput = Callable[[Any], Float[Tensor, "b n"]]
Keep = Literal["shapes", "alive", "all"]

REPLAY_RTOL: Final = 1e-4  # a replay repeats the same float32 kernels; other batch sizes change summation order only
# Bytes of filtered feature maps in flight (one pass over the batch is always allowed): on a CPU what its caches hold.
ROW_BUDGET: Final = {"cpu": 4 * 2**20, "other": 256 * 2**20}


class Tail:
    """The function from filters to network outputs, FT(f) = h(A * f).

    Where the layer runs several times in a pass, or returns several frames at once, each of these slots is an input of
    its own here: one filter on that slot, the others left as they are. Joint ones are one input, on a grid of one rank
    more.

    Attributes:
        features: A, the layer's feature map (b, ...).
        slots: which runs and frames of the layer are looked at.
        layout: where the positions of `features` are.
        grid: spatial sizes of the feature map.
        n_inputs: b, inputs major and slots of the layer minor.
        n_calls: how many slots of the layer each input of the network stands for here.
        n_positions: product of `grid`.
        reference: NT, the network's own output (b, n).
        keep: what of the pass before the layer is played back with values: nothing (`"shapes"`), what the
            network still held (`"alive"`), everything (`"all"`), or None where the whole network runs.
        memory: bytes of filtered feature maps in flight; None for a size that suits the device.
        n_passes: rows sent through the tail so far, for cost reports.
    """

    def __init__(
        self,
        model: nn.Module,
        recording: Recording,
        layout: Layout,
        read: ReadOutput,
        *,
        keep: Keep | None,
        memory: int | None = None,
    ) -> None:
        self._model = model
        self._recording = recording.shapes_only() if keep == "shapes" else recording
        self._read = read
        self._state: dict[str, Tensor] = {}
        self.keep = keep
        self.slots = Slots(recording.layer, layout)
        self.layout = self.slots.tail_layout
        self.memory = memory
        self.n_calls = self.slots.per_input
        self.features = self.slots.features(recording.maps)
        self.grid = self.layout.grid(self.features)
        self.n_inputs = self.features.shape[0]
        self.n_positions = math.prod(self.grid)
        self.reference: Outputs = read(recording.output)
        if self.n_calls > 1:
            self.reference = self.reference.repeat_interleave(self.n_calls, dim=0)
        self.n_passes = 0
        self._constants: dict[float, Outputs] = {1.0: self.reference}

    def __call__(self, filters: Float[Tensor, "r p"], rows: Rows) -> Float[Tensor, "r n"]:
        """Network outputs under filters.

        Args:
            filters: (r, p), any float dtype; gradients flow through.
            rows: (r,) which input each filter is for, in [0, b).

        Returns:
            (r, n) in the dtype of the network's output.

        Raises:
            TailError: if the network takes another path than when it was recorded.
        """
        limit = self.rows_at_once
        if len(rows) <= limit:
            return self._run(filters, rows)
        return torch.cat([self._run(f, r) for f, r in zip(filters.split(limit), rows.split(limit), strict=True)])

    @property
    def rows_at_once(self) -> int:
        """How many rows fit into the memory budget, at least one."""
        row = max(1, filtered_elements(self.slots, self.features) * self.features.element_size())
        if self.memory is not None:
            return max(1, self.memory // row)
        budget = ROW_BUDGET.get(self.features.device.type, ROW_BUDGET["other"])
        return self.n_inputs * max(1, budget // (row * self.n_inputs))

    def constant(self, weight: float) -> Outputs:
        """Network outputs (b, n) under the filter whose weights all are `weight`; computed once."""
        if weight not in self._constants:
            filters = torch.full((self.n_inputs, self.n_positions), weight, device=self.features.device)
            with torch.no_grad():
                self._constants[weight] = self(filters, self.all_rows())
        return self._constants[weight]

    def all_rows(self) -> Rows:
        """Every input once: (b,) = 0, 1, ..., b - 1."""
        return torch.arange(self.n_inputs, device=self.features.device)

    def through(self, features: Tensor, rows: Rows) -> Float[Tensor, "r n"]:
        """Network outputs for other feature maps put in the place of the layer's.

        Args:
            features: (r, ...) in the layer's layout; the grid may differ where the tail allows it. Gradients flow.
            rows: (r,) which input each map belongs to; without meaning where `keep` is `"shapes"`.

        Returns:
            (r, n).

        Raises:
            TailError: if the network takes another path than when it was recorded.
        """
        return self._through(Place(self.slots, self._recording.maps, features, rows))

    def _through(self, place: Place) -> Float[Tensor, "r n"]:
        self.n_passes += len(place.rows)
        player: _Player | _Substitute
        if self.keep is None:
            player = _Substitute(self._recording.layer, place)
        else:
            player = _Player(self._recording, place, has_inputs=self.keep == "all")
        inputs = self._recording.inputs.map(player.input)
        with player.mode, self._differentiable(), intercept(player.modules(), player):
            output = self._read(inputs.call(self._answer))
        if output.is_meta:
            raise TailError("the output reads values from before the layer that were not kept")
        return output

    def in_float32(self) -> "Tail":
        """The same function in single precision: for networks whose half precision overflows under a filter.

        Returns:
            A tail that runs on single-precision copies of the network's parameters and buffers; the network keeps its
            own. Its reference is what the network would have said in single precision.

        Raises:
            TailError: if the network itself casts to half precision on the way.
        """
        tail = Tail(
            self._model, self._recording.in_float32(), self.slots.layout, self._read, keep=self.keep, memory=self.memory
        )
        tail._state = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for named in (self._model.named_parameters, self._model.named_buffers)
            for name, tensor in named()
        }
        tail._constants = {}
        try:
            tail.reference = tail.constant(1.0)
        except RuntimeError as error:
            raise TailError(
                f"half precision overflows under a filter, and the network does not run in single precision ({error}); "
                "take the casts out of it, or explain it in bfloat16"
            ) from error
        return tail

    @property
    def is_widened(self) -> bool:
        """Whether it runs on single-precision copies of a network's half-precision weights."""
        return bool(self._state)

    def _answer(self, *args: Any, **kwargs: Any) -> Any:
        if self._state:
            return torch.func.functional_call(self._model, self._state, args, kwargs)
        return self._model(*args, **kwargs)

    def _differentiable(self) -> AbstractContextManager[object]:
        """Without cuDNN where it refuses: gradients of recurrent layers in eval mode."""
        needs = self.features.is_cuda and torch.is_grad_enabled()
        if needs and any(isinstance(module, nn.RNNBase) for module in self._model.modules()):
            return torch.backends.cudnn.flags(enabled=False)
        return nullcontext()

    def _run(self, filters: Float[Tensor, "r p"], rows: Rows) -> Float[Tensor, "r n"]:
        every = len(rows) == self.n_inputs and torch.equal(rows, self.all_rows())
        features = self.layout.apply(self.features if every else self.features.index_select(0, rows), filters)
        return self._through(Place(self.slots, self._recording.maps, features, rows, filters))


class _ShapesMeetValues(TorchFunctionMode):
    """Lets real tensors meet meta tensors, with a meta result: before the layer only shapes matter.

    A position embedding added between two modules, say, is real where the map it is added to is meta. Once the
    layer has been reached (`active` is off) such a meeting is an error, as it would lose a value the tail needs.
    """

    active = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if self.active:
            tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            if len({tensor.is_meta for tensor in tensors}) == 2:
                args, kwargs = pytree.tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
        return func(*args, **kwargs)


class _Player:
    """Answers module calls from the script, up to the layer's last call."""

    def __init__(self, recording: Recording, place: Place, *, has_inputs: bool) -> None:
        self.script = recording.script
        self.part = recording.layer.part
        self.place = place
        self.has_inputs = has_inputs
        self.next = 0
        self.layer_calls = 0
        self.is_running = False  # a step of the script that depends on the filter: what it calls is its own affair
        self.shapes_meet_values = _ShapesMeetValues()
        self.mode: AbstractContextManager[object] = self.shapes_meet_values

    def modules(self) -> set[nn.Module]:
        return {event.module for event in self.script}

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.is_running or self.next >= len(self.script):
            return genuine_call(module, args, kwargs)
        event = self.script[self.next]
        if event.module is not module:
            raise TailError(
                f"replaying called {type(module).__name__} where the recording had {type(event.module).__name__}: "
                "the network does not take the same path twice"
            )
        self.next += 1
        if event.step is Step.ENTER:
            return genuine_call(module, args, kwargs)
        own = self._run(module, args, kwargs) if event.depends else None
        if event.step is Step.LAYER:
            return self._layer(event, own)
        return own if event.depends else pytree.tree_map_only(Held, self._held, event.output)

    def _run(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.is_running = True
        try:
            return genuine_call(module, args, kwargs)
        finally:
            self.is_running = False

    def _layer(self, event: Event, own: Any) -> Any:
        call, self.layer_calls = self.layer_calls, self.layer_calls + 1
        self.shapes_meet_values.active = self.next < len(self.script)
        if own is not None:
            return with_part(own, self.part, lambda tensor: self.place.at(call, tensor), lambda other: other)
        if event.output is None:
            return self.place.at(call, None)
        return with_part(event.output, self.part, lambda _: self.place.at(call, None), self.place.of)

    def input(self, tensor: Tensor) -> Tensor:
        """An input of the network for these rows: its values only where everything was kept."""
        return self.place.of(tensor) if self.has_inputs else self.place.shape_of(tensor.shape, tensor.dtype)

    def _held(self, held: Held) -> Tensor:
        if held.value is None:
            return self.place.shape_of(held.shape, held.dtype)
        return self.place.of(held.value, copy=True)


class _Substitute:
    """Runs the whole network and puts the filtered map in the place of the layer's (the paper's vanilla form)."""

    def __init__(self, layer: LayerCalls, place: Place) -> None:
        self.layer = layer
        self.place = place
        self.calls = 0
        self.mode: AbstractContextManager[object] = nullcontext()

    def modules(self) -> set[nn.Module]:
        return {self.layer.module}

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = genuine_call(module, args, kwargs)
        call, self.calls = self.calls, self.calls + 1
        if call not in self.layer.calls:
            return output
        number = self.layer.calls.index(call)
        return with_part(output, self.layer.part, lambda own: self.place.at(number, own), lambda other: other)

    def input(self, tensor: Tensor) -> Tensor:
        return self.place.of(tensor)


def cut(  # noqa: PLR0913  (what a cut is made of)
    model: nn.Module,
    inputs: Inputs,
    layer: LayerCalls,
    layout: Layout,
    read: ReadOutput,
    *,
    keep: Keep | None = "shapes",
    dependents: frozenset[int] = frozenset(),
    memory: int | None = None,
) -> Tail:
    """Record one forward pass and prove that its tail can be replayed.

    Args:
        model: a borrowed network.
        inputs: what to call it with.
        layer: where to cut.
        layout: where space is in the layer's feature map.
        read: takes the network's output to (b, n).
        keep: the least to keep of the pass before the layer; more is kept where the proof needs it.
            None runs the whole network on every call instead (the paper's vanilla form).
        dependents: which steps depend on an earlier call of the layer (`record.dependents`).
        memory: bytes of filtered feature maps in flight; None for a size that suits the device.

    Returns:
        A tail whose output under the all-ones filter equals the network's.

    Raises:
        LayerError: if the layer is never called.
        TailError: if no replay repeats the recorded output; the message says by how much it differs, or why.
    """
    levels: tuple[Keep | None, ...] = ("shapes", "alive", "all")
    levels = levels[levels.index(keep) :] if keep else (None,)
    recording: Recording | None = None
    reason: Exception | None = None
    for level in levels:
        if recording is None or level == "all":
            recording = record(model, inputs, layer, copy=level == "all", dependents=dependents)
        if level == "alive" and recording.is_stale():
            continue
        tail = Tail(model, recording, layout, read, keep=level, memory=memory)
        try:
            _prove(tail)
        except (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError) as error:
            reason = error
        else:
            return tail
    if isinstance(reason, TailError):
        raise reason
    raise TailError(f"the network cannot be replayed from this layer on: {reason}") from reason


def _prove(tail: Tail) -> None:
    """Replay with f = 1 and compare with what the network said."""
    ones = torch.ones(tail.n_inputs, tail.n_positions, device=tail.features.device)
    with torch.no_grad():
        replayed = tail(ones, tail.all_rows())
    if replayed.shape != tail.reference.shape:
        raise TailError(
            f"replaying gave outputs of shape {tuple(replayed.shape)}, expected {tuple(tail.reference.shape)}"
        )
    worst, tolerance = _difference(replayed, tail.reference)
    if not worst <= tolerance:
        raise TailError(
            f"replaying the network with the all-ones filter changed its output by {worst:.1e} (relative), expected at "
            f"most {tolerance:.0e}: it is random in eval mode, keeps state between calls, or computes across the batch"
        )


def prove_rows_apart(tail: Tail) -> None:
    """Check that an input's output does not depend on what else is in the batch.

    Args:
        tail: the tail.

    Raises:
        TailError: if it does.
    """
    filters = torch.ones(2, tail.n_positions, device=tail.features.device)
    filters[1] = torch.linspace(-1, 2, tail.n_positions)
    rows = torch.zeros(2, dtype=torch.long, device=tail.features.device)
    with torch.no_grad():
        together = tail.through(tail.layout.apply(tail.features[:1].expand(2, *tail.features.shape[1:]), filters), rows)
    worst, tolerance = _difference(together[:1], tail.reference[:1])
    if not worst <= tolerance:
        raise TailError(
            f"what the network says of one input changes by {worst:.1e} (relative) with the others in the batch: it "
            "keeps a batch normalisation in train mode, or mixes the inputs; explain it with that switched off"
        )


def _difference(replayed: Outputs, reference: Outputs) -> tuple[float, float]:
    """The worst relative difference, and the tolerance of replays in this precision."""
    tolerance = max(REPLAY_RTOL, 16 * torch.finfo(reference.dtype).eps)
    distance = (replayed.double() - reference.double()).norm(dim=1)
    scale = reference.double().norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    comparable = torch.isfinite(scale)  # an output that is not finite proves nothing, and is for the caller to report
    return float((distance / scale)[comparable].max()) if bool(comparable.any()) else 0.0, tolerance
