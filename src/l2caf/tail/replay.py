"""Replay a recorded network from its layer on, with a filter on the feature map.

`Tail` is the function FT(f) of the paper: filters in, network outputs out, any number of rows in one call,
each row naming the input whose recorded tensors it uses. Before the layer nothing is computed: what the
ancestors' own code does there runs on meta tensors, which have a shape and no values.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from l2caf.errors import L2CAFError, TailError
from l2caf.guard import intercept
from l2caf.layouts import Layout
from l2caf.shapes import Outputs, Rows
from l2caf.tail.place import Place, Slots, filtered_elements
from l2caf.tail.players import Player, Substitute
from l2caf.tail.script import FIRST_AXIS, Recording

ReadOutput = Callable[[Any], Float[Tensor, "b n"]]
Keep = Literal["shapes", "alive", "all"]

# Bytes of filtered feature maps in flight (one pass over the batch is always allowed): on a CPU what its caches hold.
ROW_BUDGET: Final = {"cpu": 4 * 2**20, "other": 256 * 2**20}


# What a network's own code raises when it asks a tensor without values for a value, a shape or a branch.
ON_MISSING_VALUES: Final = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError)


class Tail:
    """The function from filters to network outputs, FT(f) = h(A * f).

    Where the layer runs several times in a pass, or returns several frames at once, each of these slots is an input of
    its own here: one filter on that slot, the others left as they are. Joint ones are one input, on a grid of one rank
    more.

    Attributes:
        recording: the pass that is replayed.
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
        self.recording = recording.shapes_only() if keep == "shapes" else recording
        self._read = read
        self._input_axes = [FIRST_AXIS if has_rows else () for has_rows in recording.inputs.has_rows()]
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
        return self._through(Place(self.slots, self.recording.maps, features, rows))

    def _through(self, place: Place) -> Float[Tensor, "r n"]:
        self.n_passes += len(place.rows)
        player: Player | Substitute
        if self.keep is None:
            player = Substitute(self.recording.layer, place)
        else:
            player = Player(self.recording, place, has_inputs=self.keep == "all")
        axes = iter(self._input_axes)
        inputs = self.recording.inputs.map(lambda tensor: player.input(tensor, next(axes)))
        try:
            with player.mode, self._differentiable(), intercept(player.modules(), player):
                output = self._read(inputs.call(self._answer))
        except (L2CAFError, torch.cuda.OutOfMemoryError):
            raise
        except ON_MISSING_VALUES as error:
            raise TailError(
                f"the network cannot be replayed from this layer on ({type(error).__name__}: {error}): it takes no "
                "batch of another size, or reads what was not kept from before the layer, as where it branches on the "
                "values of its features; `fast=False` with `solver='descent'` runs the whole network instead"
            ) from error
        if output.is_meta:
            raise TailError("the output reads values from before the layer that were not kept")
        if len(output) != len(place.rows):
            raise TailError(
                f"replaying {len(place.rows)} filtered maps gave {len(output)} outputs: the network counts its inputs "
                "before the layer, as detectors do that take pictures of different sizes; explain an inner network of "
                "it, such as its backbone with its heads"
            )
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
            self._model, self.recording.in_float32(), self.slots.layout, self._read, keep=self.keep, memory=self.memory
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
        return self._through(Place(self.slots, self.recording.maps, features, rows, filters))
