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
from l2caf.tail.record import Event, Held, Inputs, LayerCall, Recording, Step, record

ReadOutput = Callable[[Any], Float[Tensor, "b n"]]
Keep = Literal["shapes", "alive", "all"]

REPLAY_RTOL: Final = 1e-4  # a replay repeats the same float32 kernels; other batch sizes change summation order only
# Bytes of filtered feature maps in flight (one pass over the batch is always allowed): on a CPU what its caches hold.
ROW_BUDGET: Final = {"cpu": 4 * 2**20, "other": 256 * 2**20}


class Tail:
    """The function from filters to network outputs, FT(f) = h(A * f).

    Attributes:
        features: A, the layer's feature map (b, ...).
        layout: where its positions are.
        grid: spatial sizes of the feature map.
        n_inputs: b.
        n_positions: product of `grid`.
        reference: NT, the network's own output (b, n).
        keep: what of the pass before the layer is played back with values: nothing (`"shapes"`), what the
            network still held (`"alive"`), everything (`"all"`), or None where the whole network runs.
        n_passes: rows sent through the tail so far, for cost reports.
    """

    def __init__(
        self, model: nn.Module, recording: Recording, layout: Layout, read: ReadOutput, *, keep: Keep | None
    ) -> None:
        self._model = model
        self._recording = recording.shapes_only() if keep == "shapes" else recording
        self._read = read
        self.keep = keep
        self.layout = layout
        self.features = recording.features
        self.grid = layout.grid(recording.features)
        self.n_inputs = recording.features.shape[0]
        self.n_positions = math.prod(self.grid)
        self.reference: Outputs = read(recording.output)
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
        own = self.features.numel() * self.features.element_size()
        budget = ROW_BUDGET.get(self.features.device.type, ROW_BUDGET["other"])
        limit = self.n_inputs * max(1, budget // max(own, 1))
        if len(rows) <= limit:
            return self._run(filters, rows)
        return torch.cat([self._run(f, r) for f, r in zip(filters.split(limit), rows.split(limit), strict=True)])

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
        self.n_passes += len(rows)
        player: _Player | _Substitute
        if self.keep is None:
            player = _Substitute(self._recording.layer, features, rows, self.n_inputs)
        else:
            player = _Player(self._recording, features, rows, has_inputs=self.keep == "all")
        inputs = self._recording.inputs.map(player.input)
        with player.mode, intercept(player.modules(), player):
            output = self._read(inputs.call(self._model))
        if output.is_meta:
            raise TailError("the output reads values from before the layer that were not kept")
        return output

    def _run(self, filters: Float[Tensor, "r p"], rows: Rows) -> Float[Tensor, "r n"]:
        features = _rows_of(self.features, rows, self.n_inputs)
        return self.through(self.layout.apply(features, filters), rows)


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
    """Answers module calls from the script, up to the layer."""

    def __init__(self, recording: Recording, filtered: Tensor, rows: Rows, *, has_inputs: bool) -> None:
        self.script = recording.script
        self.part = recording.layer.part
        self.n_inputs = recording.features.shape[0]
        self.filtered = filtered
        self.rows = rows
        self.has_inputs = has_inputs
        self.next = 0
        self.shapes_meet_values = _ShapesMeetValues()
        self.mode: AbstractContextManager[object] = self.shapes_meet_values

    def modules(self) -> set[nn.Module]:
        return {event.module for event in self.script}

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.next >= len(self.script):
            return genuine_call(module, args, kwargs)
        event = self.script[self.next]
        if event.module is not module:
            raise TailError(
                f"replaying called {type(module).__name__} where the recording had {type(event.module).__name__}: "
                "the network does not take the same path twice"
            )
        self.next += 1
        return self._answer(event, args, kwargs)

    def _answer(self, event: Event, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if event.step is Step.ENTER:
            return genuine_call(event.module, args, kwargs)
        if event.step is Step.RETURN:
            return pytree.tree_map_only(Held, self._held, event.output)
        self.shapes_meet_values.active = False
        return _with_part(
            event.output, self.part, self.filtered, lambda other: _rows_of(other, self.rows, self.n_inputs)
        )

    def input(self, tensor: Tensor) -> Tensor:
        """An input of the network for these rows: its values only where everything was kept."""
        if self.has_inputs:
            return _rows_of(tensor, self.rows, self.n_inputs)
        return _empty_rows(tensor.shape, tensor.dtype, len(self.rows), self.n_inputs)

    def _held(self, held: Held) -> Tensor:
        if held.value is None:
            return _empty_rows(held.shape, held.dtype, len(self.rows), self.n_inputs)
        return _rows_of(held.value, self.rows, self.n_inputs, copy=True)


class _Substitute:
    """Runs the whole network and puts the filtered map in the place of the layer's (the paper's vanilla form)."""

    def __init__(self, layer: LayerCall, filtered: Tensor, rows: Rows, n_inputs: int) -> None:
        self.layer = layer
        self.filtered = filtered
        self.rows = rows
        self.n_inputs = n_inputs
        self.calls = 0
        self.mode: AbstractContextManager[object] = nullcontext()

    def modules(self) -> set[nn.Module]:
        return {self.layer.module}

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = genuine_call(module, args, kwargs)
        call, self.calls = self.calls, self.calls + 1
        if self.layer.call is not None and self.layer.call != call:
            return output
        return _with_part(output, self.layer.part, self.filtered, lambda other: other)

    def input(self, tensor: Tensor) -> Tensor:
        return _rows_of(tensor, self.rows, self.n_inputs)


def _with_part(output: Any, part: int, new: Tensor, other: Callable[[Tensor], Tensor]) -> Any:
    """A layer's output with its `part`-th tensor replaced and the others passed through `other`."""
    if isinstance(output, Tensor):
        return new
    leaves, structure = pytree.tree_flatten(output)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    for count, place in enumerate(places):
        leaves[place] = new if count == part else other(leaves[place])
    return pytree.tree_unflatten(leaves, structure)


def _rows_of(tensor: Tensor, rows: Rows, n_inputs: int, *, copy: bool = False) -> Tensor:
    """The rows of a recorded tensor; several entries per input (frames, windows) stay together."""
    is_shared = tensor.dim() == 0 or tensor.shape[0] == 0 or tensor.shape[0] % n_inputs != 0
    if is_shared or _is_identity(rows, n_inputs):
        return tensor.clone() if copy else tensor  # the network may write into what it is given
    grouped = tensor.view(n_inputs, tensor.shape[0] // n_inputs, *tensor.shape[1:])
    return grouped.index_select(0, rows).flatten(0, 1)


def _empty_rows(shape: torch.Size, dtype: torch.dtype, n_rows: int, n_inputs: int) -> Tensor:
    """The shape of `_rows_of`, without values."""
    if len(shape) and shape[0] and shape[0] % n_inputs == 0:
        shape = torch.Size((n_rows * (shape[0] // n_inputs), *shape[1:]))
    return torch.empty(shape, dtype=dtype, device="meta")


def _is_identity(rows: Rows, n: int) -> bool:
    return len(rows) == n and bool((rows == torch.arange(n, device=rows.device)).all())


def cut(
    model: nn.Module,
    inputs: Inputs,
    layer: LayerCall,
    layout: Layout,
    read: ReadOutput,
    *,
    keep: Keep | None = "shapes",
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
            recording = record(model, inputs, layer, copy=level == "all")
        if level == "alive" and recording.is_stale():
            continue
        tail = Tail(model, recording, layout, read, keep=level)
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
    tolerance = max(REPLAY_RTOL, 16 * torch.finfo(tail.reference.dtype).eps)
    distance = (replayed.double() - tail.reference.double()).norm(dim=1)
    scale = tail.reference.double().norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    comparable = torch.isfinite(scale)  # an output that is not finite proves nothing, and is for the caller to report
    worst = float((distance / scale)[comparable].max()) if bool(comparable.any()) else 0.0
    if not worst <= tolerance:
        raise TailError(
            f"replaying the network with the all-ones filter changed its output by {worst:.1e} (relative), expected at "
            f"most {tolerance:.0e}: it is random in eval mode, keeps state between calls, or computes across the batch"
        )
