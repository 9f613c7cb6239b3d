"""Find the layers that can be looked at, by looking at the network at work on one input.

Two passes over the first input of a batch. The first lists every module output that has a spatial grid. The
second puts a filter of ones on each of them and differentiates: a position is *reached* if its weight moves the
output. In a transformer that reads its class token, the patch tokens after the last block are not; before a
layer normalisation no token is, since scaling a token is undone there. No table of architectures is involved.

The default layer is the last one of which at least half is reached. A module that merely hands on the map of an
earlier one (dropout, an identity pooling, a permutation) does not count as a layer of its own, and a projection
at the entrance of an attention module gives way to the map that the module reads.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from l2caf.errors import LayerError, LayoutError, nearest
from l2caf.guard import genuine_call, intercept
from l2caf.layouts import Frames, Layout
from l2caf.tail import Inputs
from l2caf.tail.record import with_part

WINDOW: Final = 48  # candidates differentiated at first; the graph of a whole network is only built if none serves
REACHED_RTOL: Final = 1e-4  # |A_p . dA_p| against |A_p| |dA_p|: rounding gives 1e-6, unrelated vectors 1e-2
MIN_REACH: Final = 0.5  # positions that must reach the output


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One call of one module that returns a map with a spatial grid.

    Attributes:
        name: dotted name of the module.
        kind: its class.
        call: which of its calls in a forward pass, from 0.
        part: which tensor of its output.
        shape: shape of the feature map for one input.
        grid: its spatial axes.
        layout: where they are.
        reach: share of positions whose weight moves the output, in [0, 1]; None where not examined.
        hands_on: the map is that of an earlier layer, unchanged.
        is_default: the one `layer=None` takes.
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


@dataclass(slots=True)
class _Call:
    """A module call under way, or finished.

    Attributes:
        module: what was called.
        parent: the call it was made from.
        source: the last call that returned the very tensor this one reads.
        info: what is known of its output, if that has a grid.
    """

    module: nn.Module
    parent: "_Call | None"
    source: "_Call | None"
    info: LayerInfo | None = None


@dataclass(slots=True)
class _Listing:
    """First pass: every call that returns a grid, in the order of finishing."""

    names: dict[nn.Module, str]
    find_layout: Callable[[Tensor], Layout | None]
    n_inputs: int
    stack: list[_Call] = field(default_factory=list)
    found: list[_Call] = field(default_factory=list)
    counts: dict[nn.Module, int] = field(default_factory=dict)
    made: dict[int, tuple[weakref.ref[Tensor], int, _Call]] = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read = _first_tensor((args, kwargs))
        version = None if read is None else _version(read)
        parent = self.stack[-1] if self.stack else None
        call = _Call(module, parent, self._maker(read))
        self.stack.append(call)
        output = genuine_call(module, args, kwargs)
        self.stack.pop()
        count = self.counts[module] = self.counts.get(module, -1) + 1
        if parent is not None:
            untouched = read if read is not None and _version(read) == version else None
            self._examine(call, output, count, untouched)
        return output

    def _maker(self, tensor: Tensor | None) -> _Call | None:
        """The call that returned this tensor, if nothing has changed it since."""
        reference, version, call = self.made.get(id(tensor), (None, 0, None))
        is_it = tensor is not None and reference is not None and reference() is tensor and _version(tensor) == version
        return call if is_it else None

    def _examine(self, call: _Call, output: Any, count: int, read: Tensor | None) -> None:
        for part, tensor in enumerate(_tensors(output)):
            if tensor.dim() < 3 or not tensor.is_floating_point():
                continue
            layout = self.find_layout(tensor)
            if layout is None or (tensor.shape[0] != self.n_inputs and not isinstance(layout, Frames)):
                continue
            call.info = LayerInfo(
                name=self.names[call.module],
                kind=type(call.module).__name__,
                call=count,
                part=part,
                shape=tuple(tensor.shape[1:]),
                grid=layout.grid(tensor),
                layout=layout,
                hands_on=call.source is not None and read is not None and _hands_on(call.module, tensor, read),
            )
            self.found.append(call)
            self.made[id(tensor)] = (weakref.ref(tensor), _version(tensor), call)
            return


def _hands_on(module: nn.Module, output: Tensor, read: Tensor) -> bool:
    """Whether a module without parameters or parts returned what it was given: itself, a view, or equal values."""
    if any(True for _ in module.children()) or any(True for _ in module.parameters()):
        return False
    if output.numel() == read.numel() and output.untyped_storage().data_ptr() == read.untyped_storage().data_ptr():
        return True
    return output.shape == read.shape and bool(torch.equal(output, read))


@dataclass(slots=True)
class _Reaching:
    """Second pass: a filter of ones on each candidate, and what it does to the output."""

    wanted: dict[tuple[nn.Module, int], LayerInfo]
    counts: dict[nn.Module, int] = field(default_factory=dict)
    filters: list[tuple[LayerInfo, Tensor]] = field(default_factory=list)
    pulls: dict[LayerInfo, Tensor] = field(default_factory=dict)
    energies: dict[LayerInfo, Tensor] = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = genuine_call(module, args, kwargs)
        count = self.counts[module] = self.counts.get(module, -1) + 1
        info = self.wanted.get((module, count))
        if info is None:
            return output
        torch.set_grad_enabled(True)  # from the first candidate on; the pass runs inside a no_grad block
        return with_part(output, info.part, lambda tensor: self._filtered(info, tensor), lambda other: other)

    def _filtered(self, info: LayerInfo, features: Tensor) -> Tensor:
        b = 1 if isinstance(info.layout, Frames) else len(features)
        ones = torch.ones(b, _size(info.grid), device=features.device, requires_grad=True)
        filtered = info.layout.apply(features, ones)
        self.energies[info] = info.layout.vectors(features.detach()).float().norm(dim=-1)

        def note(gradient: Tensor) -> None:
            self.pulls[info] = info.layout.vectors(gradient).float().norm(dim=-1)

        filtered.register_hook(note)
        self.filters.append((info, ones))
        return filtered

    def reach(self, outputs: Tensor) -> dict[LayerInfo, float]:
        """Share of reached positions of every candidate."""
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(outputs.shape, generator=generator).to(outputs)
        if not outputs.requires_grad:
            return {info: 0.0 for info, _ in self.filters}
        slopes = torch.autograd.grad((outputs * weights).sum(), [ones for _, ones in self.filters], allow_unused=True)
        return {
            info: 0.0 if slope is None or info not in self.pulls else self._share(info, slope)
            for (info, _), slope in zip(self.filters, slopes, strict=True)
        }

    def _share(self, info: LayerInfo, slope: Tensor) -> float:
        energy, pull = self.energies[info], self.pulls[info]
        moved = (slope.abs() > REACHED_RTOL * energy * pull) | ~torch.isfinite(slope * pull)  # half precision explodes
        dark = (energy == 0) & (pull > 0)  # nothing there to filter in this input, but it is looked at
        return float(((moved & (pull != 0)) | dark).float().mean())


def list_layers(
    model: nn.Module,
    inputs: Inputs,
    read: Callable[[Any], Tensor],
    find_layout: Callable[[Tensor], Layout | None],
    *,
    every: bool = False,
) -> list[LayerInfo]:
    """Every layer with a grid, in the order in which they finish.

    Args:
        model: a borrowed network.
        inputs: one input (a batch of one).
        read: takes the network's output to (b, n).
        find_layout: takes a module's output tensor to its layout, or None.
        every: examine the reach of all layers, not only of the last ones that are needed for the default.

    Returns:
        The layers; at most one is marked `is_default`, none if no layer with a grid reaches the output.
    """
    names = {module: name for name, module in reversed(list(model.named_modules()))}
    listing = _Listing(names, find_layout, inputs.tensors()[0].shape[0])
    modules = set(model.modules())
    with torch.no_grad(), intercept(modules, listing):
        inputs.call(model)
    calls = listing.found
    for window in (len(calls),) if every else (WINDOW, len(calls)):
        examined = _examine_reach(model, inputs, read, calls[-window:] if window else [])
        default = _default(calls)
        if default is not None or examined == len(calls):
            break
    return [replace(call.info, is_default=call is default) for call in calls if call.info is not None]


def _examine_reach(model: nn.Module, inputs: Inputs, read: Callable[[Any], Tensor], calls: list[_Call]) -> int:
    wanted = {(call.module, call.info.call): call.info for call in calls if call.info is not None}
    reaching = _Reaching(wanted)
    with torch.no_grad():
        with intercept(set(model.modules()), reaching):
            outputs = read(inputs.call(model))
        torch.set_grad_enabled(True)
        reach = reaching.reach(outputs)
    for call in calls:
        if call.info is not None:
            call.info = replace(call.info, reach=reach.get(call.info, 0.0))
    return len(calls)


def _default(calls: list[_Call]) -> _Call | None:
    usable = [call for call in calls if call.info is not None and call.info.is_usable]
    if not usable:
        return None
    layer = usable[-1]
    while (source := _read_by_parent(layer, usable)) is not None:
        layer = source
    return layer


def _read_by_parent(layer: _Call, usable: list[_Call]) -> _Call | None:
    """The usable map that the layer's own module group reads, if the layer is the first to read it."""
    source = layer.source
    if source is None or layer.parent is None or layer.parent.source is not source:
        return None
    return source if source in usable else None


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


def reaches(
    model: nn.Module, inputs: Inputs, read: Callable[[Any], Tensor], module: nn.Module, infos: list[LayerInfo]
) -> list[float]:
    """Share of positions whose weight moves the output, in [0, 1], for some calls of one layer.

    Args:
        model: a borrowed network.
        inputs: one input (a batch of one).
        read: takes the network's output to (b, n).
        module: the layer.
        infos: what `locate` said of those calls.

    Returns:
        One share per call.
    """
    calls = [_Call(module, None, None, info) for info in infos]
    _examine_reach(model, inputs, read, calls)
    return [call.info.reach or 0.0 for call in calls if call.info is not None]


def locate(
    model: nn.Module, name: str, module: nn.Module, inputs: Inputs, find_layout: Callable[[Tensor], Layout | None]
) -> list[LayerInfo]:
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
    seen: list[Any] = []

    def keep(called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = genuine_call(called, args, kwargs)
        seen.append(pytree.tree_map_only(Tensor, Tensor.detach, output))
        return output

    with torch.no_grad(), intercept({module}, keep):
        inputs.call(model)
    if not seen:
        raise LayerError(f"layer {name!r} does not run in a forward pass; choose one that does (`l2caf layers`)")
    found = [_with_grid(name, module, number, output, find_layout) for number, output in enumerate(seen)]
    calls = [info for info in found if info is not None]
    if not calls:
        shapes = [tuple(tensor.shape) for tensor in _tensors(seen[-1])]
        raise LayerError(
            f"layer {name!r} returns {shapes or type(seen[-1]).__name__}, which has no spatial grid of more than one "
            "position; choose another layer (`l2caf layers`) or say where space is with `layout=`"
        )
    return calls


def _with_grid(
    name: str, module: nn.Module, number: int, output: Any, find_layout: Callable[[Tensor], Layout | None]
) -> LayerInfo | None:
    """The first tensor of an output that has a grid of more than one position."""
    for part, tensor in enumerate(_tensors(output)):
        try:
            layout = find_layout(tensor)
        except LayoutError:
            continue
        if layout is not None and tensor.is_floating_point() and _size(layout.grid(tensor)) > 1:
            grid = layout.grid(tensor)
            return LayerInfo(name, type(module).__name__, number, part, tuple(tensor.shape[1:]), grid, layout)
    return None


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def _first_tensor(arguments: Any) -> Tensor | None:
    tensors = _tensors(arguments)
    return tensors[0] if tensors else None


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001


def _size(grid: tuple[int, ...]) -> int:
    return torch.Size(grid).numel()
