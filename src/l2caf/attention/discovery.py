"""Find the layers of a network that hold a spatial grid, by watching one forward pass.

Every module's output is shown to a function that knows where space is in a tensor (`l2caf.layouts`). No table of
architectures is involved. Which of the layers found can be explained is for `reach` to measure.
"""

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from l2caf.errors import LayerError, LayoutError, nearest
from l2caf.guard import Args, Kwargs, genuine_call, intercept, version_of
from l2caf.layouts import FindLayout, Layout
from l2caf.tail import Inputs
from l2caf.tail.script import tensors_in

MIN_REACH: Final = 0.5  # positions that must reach the output


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One call of one module that returns a map with a spatial grid.

    Attributes:
        name: dotted name of the module.
        kind: class of the module.
        call: which call of the module in a forward pass, from 0.
        part: which tensor of the module's output.
        shape: shape of the feature map for one input.
        grid: sizes of its spatial axes.
        layout: where these axes are.
        reach: share of positions whose weight moves the output, in [0, 1]; None where not examined.
        hands_on: the map is that of an earlier layer, unchanged.
        is_default: whether `layer=None` takes this one.
    """

    name: str
    kind: str
    call: int
    part: int
    shape: tuple[int, ...]
    grid: tuple[int, ...]
    layout: Layout
    reach: float | None = None
    hands_on: bool = False
    is_default: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether a filter on it can say anything about the output."""
        return not self.hands_on and self.reach is not None and self.reach >= MIN_REACH


@dataclass(slots=True, eq=False)
class FoundCall:
    """A module call under way, or finished.

    Attributes:
        module: what was called.
        parent: the call from which it was made; None for the network's own.
        source: the last call that returned the very tensor that this one reads.
        info: what is known of its output, if that has a grid.
    """

    module: nn.Module
    parent: "FoundCall | None"
    source: "FoundCall | None"
    info: LayerInfo | None = None


def list_calls(model: nn.Module, inputs: Inputs, find_layout: FindLayout) -> list[FoundCall]:
    """Every module call that returns a map with a grid.

    Args:
        model: a borrowed network.
        inputs: one input (a batch of one).
        find_layout: takes a module's output tensor to its layout, or None.

    Returns:
        The calls, each with its `info`, in the order in which they finish.
    """
    names = {module: name for name, module in reversed(list(model.named_modules()))}
    listing = _Listing(names, find_layout, inputs.n_inputs)
    with torch.no_grad(), intercept(names, listing):
        inputs.call(model)
    return listing.found


def locate(model: nn.Module, name: str, module: nn.Module, inputs: Inputs, find_layout: FindLayout) -> list[LayerInfo]:
    """Which tensor of a named layer holds the grid, and how, for each of its calls.

    Args:
        model: a borrowed network.
        name: the layer's name, for messages.
        module: the layer.
        inputs: one input (a batch of one).
        find_layout: takes a tensor to its layout, or None.

    Returns:
        The calls that return a grid, at least one.

    Raises:
        LayerError: if the layer never runs, or returns nothing with a grid of more than one position.
    """
    outputs: list[object] = []

    def keep(called: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        outputs.append(genuine_call(called, args, kwargs))
        return outputs[-1]

    with torch.no_grad(), intercept({module}, keep):
        inputs.call(model)
    if not outputs:
        raise LayerError(f"layer {name!r} does not run in a forward pass; choose one that does (`l2caf layers`)")
    maps = [(number, next(_maps(output, find_layout), None)) for number, output in enumerate(outputs)]
    calls = [found.info(name, module, number) for number, found in maps if found is not None]
    if not calls:
        shapes = [tuple(tensor.shape) for tensor in tensors_in(outputs[-1])]
        raise LayerError(
            f"layer {name!r} returns {shapes or type(outputs[-1]).__name__}, which has no spatial grid of more than "
            "one position; choose another layer (`l2caf layers`) or say where space is with `layout=`"
        )
    return calls


def resolve_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """A layer given by name or as a module.

    Args:
        model: the network.
        layer: dotted name, or a module of the network.

    Returns:
        Its name and itself.

    Raises:
        LayerError: if the network has no such module; a misspelt name gets the nearest real ones.
    """
    named = dict(model.named_modules())
    if isinstance(layer, str):
        if not layer or layer not in named:
            raise LayerError(f"the network has no layer {layer!r}{nearest(layer, filter(None, named))}")
        return layer, named[layer]
    for name, module in named.items():
        if module is layer:
            return name, module
    raise LayerError(f"the given {type(layer).__name__} is not a module of this network; `l2caf layers` lists them")


@dataclass(frozen=True, slots=True)
class _Map:
    """One tensor of a module's output that has a grid of more than one position."""

    part: int
    tensor: Tensor
    layout: Layout
    grid: tuple[int, ...]

    def info(self, name: str, module: nn.Module, call: int, *, hands_on: bool = False) -> LayerInfo:
        """What is known of it."""
        shape = tuple(self.tensor.shape[1:])
        kind = type(module).__name__
        return LayerInfo(name, kind, call, self.part, shape, self.grid, self.layout, hands_on=hands_on)


def _maps(output: object, find_layout: FindLayout) -> Iterator[_Map]:
    """The tensors of an output that have a grid of more than one position."""
    for part, tensor in enumerate(tensors_in(output)):
        layout = find_layout(tensor) if tensor.is_floating_point() and tensor.dim() >= 3 else None
        if layout is None:
            continue
        try:
            grid = tuple(layout.grid(tensor))
        except (LayoutError, IndexError):  # a layout that the user gave for all maps need not fit each of them
            continue
        if math.prod(grid) > 1:
            yield _Map(part, tensor, layout, grid)


@dataclass(slots=True)
class _Listing:
    """Answers every module call of one forward pass, and notes those that return a grid."""

    names: dict[nn.Module, str]
    find_layout: FindLayout
    n_inputs: int
    stack: list[FoundCall] = field(default_factory=list)
    found: list[FoundCall] = field(default_factory=list)
    counts: dict[nn.Module, int] = field(default_factory=dict)
    made: dict[int, tuple[weakref.ref[Tensor], int, FoundCall]] = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        read = next(iter(tensors_in((args, kwargs))), None)
        version = None if read is None else version_of(read)
        parent = self.stack[-1] if self.stack else None
        call = FoundCall(module, parent, self._maker(read))
        self.stack.append(call)
        output = genuine_call(module, args, kwargs)
        self.stack.pop()
        self.counts[module] = self.counts.get(module, -1) + 1
        if parent is not None:
            self._examine(call, output, read if read is not None and version_of(read) == version else None)
        return output

    def _maker(self, tensor: Tensor | None) -> FoundCall | None:
        """The call that returned this tensor, if nothing has changed it since."""
        reference, version, call = self.made.get(id(tensor), (None, 0, None))
        is_it = tensor is not None and reference is not None and reference() is tensor and version_of(tensor) == version
        return call if is_it else None

    def _examine(self, call: FoundCall, output: object, read: Tensor | None) -> None:
        """Note the first map that holds the whole batch; `read` is what the call was given, if it left that alone."""
        for found in _maps(output, self.find_layout):
            if found.tensor.shape[0] != self.n_inputs * found.layout.rows_per_input:
                continue
            hands_on = call.source is not None and read is not None and _hands_on(call.module, found.tensor, read)
            number = self.counts[call.module]
            call.info = found.info(self.names[call.module], call.module, number, hands_on=hands_on)
            self.found.append(call)
            self.made[id(found.tensor)] = (weakref.ref(found.tensor), version_of(found.tensor), call)
            return


def _hands_on(module: nn.Module, output: Tensor, read: Tensor) -> bool:
    """Whether a module without parameters or parts returned what it was given: itself, a view, or equal values."""
    if any(True for _ in module.children()) or any(True for _ in module.parameters()):
        return False
    if output.numel() == read.numel() and output.untyped_storage().data_ptr() == read.untyped_storage().data_ptr():
        return True
    return output.shape == read.shape and bool(torch.equal(output, read))
