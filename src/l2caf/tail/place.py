"""Where filtered maps go: into which runs and frames of a layer, for which inputs.

A layer that runs several times in a pass, or returns the maps of several frames at once, has several *slots*: one per
call and frame. Filters are sought for each slot alone, the others left as they are, or for all of them as one.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from l2caf.layouts import Frames, Layout
from l2caf.shapes import Rows
from l2caf.tail.script import FIRST_AXIS, LayerCalls, RowAxes, RowAxis


@dataclass(frozen=True)
class Slots:
    """The slots of a layer that are looked at.

    Attributes:
        layer: the layer, and which of its calls and frames are looked at.
        layout: where the positions, and the frames, are in what the layer returns.
    """

    layer: LayerCalls
    layout: Layout

    @cached_property
    def chosen(self) -> tuple[tuple[int, int], ...]:
        """(call, frame) of every slot, calls counted over those of interest."""
        frames = range(self.layout.n_frames) if self.layer.frames is None else self.layer.frames
        return tuple((call, frame) for call in range(len(self.layer.calls)) for frame in frames)

    @property
    def is_single(self) -> bool:
        """Whether the layer returns one map per input, once: nothing to choose."""
        return len(self.layer.calls) == 1 and not self.layout.has_frames

    @property
    def per_input(self) -> int:
        """How many inputs of the tail an input of the network stands for."""
        return 1 if self.layer.joint else len(self.chosen)

    @property
    def tail_layout(self) -> Layout:
        """The layout of `features`."""
        joint = self.layer.joint and not self.is_single
        return Frames(self.layout.frame, len(self.chosen), "axis") if joint else self.layout.frame

    @cached_property
    def numbers(self) -> tuple[int, ...] | None:
        """The number of the run or frame that each slot is; None where there is one only, or one filter for all."""
        numbers = tuple(frame for _, frame in self.chosen) if self.layout.has_frames else self.layer.calls
        return None if self.layer.joint or len(numbers) == 1 else numbers

    def features(self, maps: tuple[Tensor, ...]) -> Tensor:
        """The maps of all slots, slots minor, or on an axis of their own where they share a filter."""
        if self.is_single:
            return maps[0]
        frames = [self.layout.split(features) for features in maps]
        stacked = torch.stack([frames[call][:, frame] for call, frame in self.chosen], dim=1)
        return stacked if self.layer.joint else stacked.flatten(0, 1)

    def n_inputs(self, maps: tuple[Tensor, ...]) -> int:
        """Inputs of the network."""
        return self.layout.split(maps[0]).shape[0]


@dataclass(frozen=True)
class Place:
    """Where the filtered maps of one replay go.

    Attributes:
        slots: the runs and frames that may be filtered.
        maps: the layer's own map at each of its calls.
        filtered: (r, ...) in the layout of the tail.
        rows: (r,) which input and slot each filtered map is for, slots minor.
        filters: (r, p), where the filtered maps are features times filters; None where they are other maps.
    """

    slots: Slots
    maps: tuple[Tensor, ...]
    filtered: Tensor
    rows: Rows
    filters: Float[Tensor, "r p"] | None = None

    @cached_property
    def n_inputs(self) -> int:
        """Inputs of the network."""
        return self.slots.n_inputs(self.maps)

    @cached_property
    def inputs(self) -> Rows:
        """(r,) which input of the network."""
        return self.rows // self.slots.per_input if self.slots.per_input > 1 else self.rows

    @cached_property
    def is_whole(self) -> bool:
        """Whether the rows are the inputs of the network, one by one and in order."""
        n = self.n_inputs
        return len(self.inputs) == n and bool((self.inputs == torch.arange(n, device=self.inputs.device)).all())

    def of(self, tensor: Tensor, axes: RowAxes = FIRST_AXIS, *, copy: bool = False) -> Tensor:
        """The rows of a tensor of the network's batch; several entries per input (frames, windows) stay together.

        Args:
            tensor: any tensor of the pass over the whole batch.
            axes: where the inputs lie in it. An axis that is no multiple of the batch holds no inputs.
            copy: never return `tensor` itself, as the network may write into what it is given.

        Returns:
            The same for these rows.
        """
        axes = () if self.is_whole else self._row_axes(tensor.shape, axes)
        for one in axes:
            split = (-1, self.n_inputs) if one.is_minor else (self.n_inputs, -1)
            entries = tensor.unflatten(one.axis, split)
            tensor = entries.index_select(one.axis + one.is_minor, self.inputs).flatten(one.axis, one.axis + 1)
        return tensor.clone() if copy and not axes else tensor

    def shape_of(self, shape: torch.Size, dtype: torch.dtype, axes: RowAxes = FIRST_AXIS) -> Tensor:
        """The same without values."""
        sizes = list(shape)
        for one in self._row_axes(shape, axes):
            sizes[one.axis] = len(self.rows) * (sizes[one.axis] // self.n_inputs)
        return torch.empty(sizes, dtype=dtype, device="meta")

    def _row_axes(self, shape: torch.Size, axes: RowAxes) -> RowAxes:
        n = self.n_inputs
        return tuple(one for one in axes if one.axis < len(shape) and shape[one.axis] and shape[one.axis] % n == 0)

    def at(self, call: int, own: Tensor | None) -> Tensor:
        """What the layer returns at a call: the filtered map in the slots that are asked for, in the others its own.

        Args:
            call: counted over the calls of interest.
            own: what the layer returned in this replay; None where that is what it returned when recorded.

        Returns:
            (r, ...), or with its frames where the layer keeps them.
        """
        if self.slots.is_single:
            return self.filtered
        layout = self.slots.layout
        axes = (RowAxis(0, is_minor=layout.is_frame_major),)
        frames = layout.split(self.of(self.maps[call], axes) if own is None else own)
        if self.slots.layer.joint:
            return layout.join(self._all_at(call, frames, is_own=own is not None))
        here = self._is_here(call, frames.shape[1]).view(*frames.shape[:2], *(1 for _ in frames.shape[2:]))
        return layout.join(torch.where(here, self.filtered.unsqueeze(1), frames))

    def _all_at(self, call: int, frames: Tensor, *, is_own: bool) -> Tensor:
        maps = list(frames.unbind(1))
        for number, (its_call, frame) in enumerate(self.slots.chosen):
            if its_call == call:
                maps[frame] = self._filtered_slot(number, maps[frame] if is_own else None)
        return torch.stack(maps, dim=1)

    def _filtered_slot(self, number: int, own: Tensor | None) -> Tensor:
        """One slot's map under its part of a joint filter; where an earlier slot has changed it, the changed map's."""
        if own is None or self.filters is None:
            return self.filtered[:, number]
        parts = self.filters.unflatten(1, (len(self.slots.chosen), -1))
        return self.slots.layout.frame.apply(own, parts[:, number])

    def _is_here(self, call: int, n_frames: int) -> Bool[Tensor, "r f"]:
        """Which frame of this call each row is about."""
        frames = [frame if its_call == call else -1 for its_call, frame in self.slots.chosen]
        of_slot = torch.tensor(frames, device=self.rows.device)
        return of_slot[self.rows % len(frames)].unsqueeze(1) == torch.arange(n_frames, device=self.rows.device)


def filtered_elements(slots: Slots, features: Tensor) -> int:
    """Elements of the map that one row of the tail sends through the network: all frames, whichever is filtered."""
    frames = 1 if slots.layer.joint else slots.layout.n_frames  # `features` hold all frames of a joint filter
    return frames * math.prod(features.shape[1:])
