"""Find what a network's layers return, by watching one forward pass.

Every module's output is shown to a function that proposes where space may be in a tensor (`l2caf.layouts.propose`). No
table of architectures is involved. Which of the tensors follow the picture is for `locality` to measure, which of
the layers can be explained for `reach`.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from l2caf.attention.following import Locality, Verdict
from l2caf.errors import LayerError, nearest
from l2caf.guard import Args, Kwargs, genuine_call, intercept, version_of
from l2caf.layouts import ChannelsFirst, Layout, Proposal, Row, Space
from l2caf.tail import Inputs
from l2caf.tail.trees import tensors_in

MIN_REACH: Final = 0.5  # positions that must reach the output
SAMPLE: Final = 2**15  # elements of a map that are compared: of a larger one every so many channels

CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Propose = Callable[[Tensor], Sequence[Proposal | Row]]


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
        space: which axes of the inputs they lie on.
        locality: how well its positions follow the picture.
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
    space: Space
    locality: Locality
    reach: float | None = None
    hands_on: bool = False
    is_default: bool = False

    @property
    def is_candidate(self) -> bool:
        """Whether it is a map of its own that may be the picture's."""
        return not self.hands_on and self.locality.verdict is not Verdict.ELSEWHERE

    @property
    def is_usable(self) -> bool:
        """Whether a filter on it can say anything about the picture and the output."""
        return self.is_candidate and self.reach is not None and self.reach >= MIN_REACH


@dataclass(slots=True, eq=False)
class Candidate:
    """One tensor that a module returned, which may be a map of the picture.

    Attributes:
        part: which tensor of the module's output.
        shape: its shape in a pass of one input.
        proposed: the layouts that it may have, at least one.
        features: what of it is compared, by axis of the feature vectors; under None the vectors of a given layout.
        hands_on: whether the module returned what it was given.
    """

    part: int
    shape: tuple[int, ...]
    proposed: Sequence[Proposal | Row]
    features: dict[int | None, Tensor]
    hands_on: bool = False

    @classmethod
    def of(cls, part: int, tensor: Tensor, proposed: Sequence[Proposal | Row], *, hands_on: bool) -> "Candidate":
        """A tensor with its features kept."""
        candidate = cls(part, tuple(tensor.shape), proposed, {}, hands_on)
        for channels in {one.channels for one in proposed}:
            candidate.features[channels] = candidate.sample(tensor, channels).float().clone()
        return candidate

    def sample(self, tensor: Tensor, channels: int | None) -> Tensor:
        """What of a tensor is compared: all places, and so many of the features that a large map costs no more."""
        given = self.proposed[0]
        if channels is None and isinstance(given, Proposal):
            tensor, channels = given.layout.vectors(tensor), 2
        step = max(1, min(tensor.numel() // SAMPLE, tensor.shape[channels or 0]))
        return tensor[(*(slice(None),) * (channels or 0), slice(None, None, step))]


@dataclass(slots=True, eq=False)
class FoundCall:
    """A module call under way, or finished.

    Attributes:
        module: what was called.
        parent: the call from which it was made; None for the network's own.
        source: the last call that returned the very tensor that this one reads.
        name: the module's name; empty for the network.
        number: which call of the module it is, from 0.
        candidates: the tensors that it returned and that may be maps of the picture.
    """

    module: nn.Module
    parent: "FoundCall | None"
    source: "FoundCall | None"
    name: str = ""
    number: int = 0
    candidates: list[Candidate] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Listing:
    """What one forward pass showed.

    Attributes:
        calls: the calls that returned something that may be a map, in the order in which they finish.
        shapes: the shapes of the tensors that each module last returned.
        convolved: the grids of maps that convolutions returned.
    """

    calls: list[FoundCall]
    shapes: dict[nn.Module, list[tuple[int, ...]]]
    convolved: set[tuple[int, ...]]

    def is_convolution(self, layout: Layout, shape: Sequence[int]) -> bool:
        """Whether a map has the layout and the grid of a convolution's, which makes its positions certain."""
        grid = tuple(shape[-2:] if layout.has_frames else shape[2:])
        return layout.frame == ChannelsFirst() and grid in self.convolved


def list_calls(model: nn.Module, inputs: Inputs, propose: Propose, *, of: nn.Module | None = None) -> Listing:
    """Every module call that returns something that may be a map of the picture.

    Args:
        model: a borrowed network.
        inputs: one input (a batch of one).
        propose: takes a module's output tensor to the layouts that it may have.
        of: the module whose calls are wanted; None for all within the network.

    Returns:
        The calls and what else was seen.
    """
    names = {module: name for name, module in reversed(list(model.named_modules()))}
    listing = _Watch(names, propose, of)
    with torch.no_grad(), intercept(names, listing):
        inputs.call(model)
    return Listing(listing.found, listing.shapes, listing.convolved)


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


@dataclass(slots=True)
class _Watch:
    """Answers every module call of one forward pass, and notes those that return something that may be a map."""

    names: dict[nn.Module, str]
    propose: Propose
    of: nn.Module | None
    stack: list[FoundCall] = field(default_factory=list)
    found: list[FoundCall] = field(default_factory=list)
    shapes: dict[nn.Module, list[tuple[int, ...]]] = field(default_factory=dict)
    convolved: set[tuple[int, ...]] = field(default_factory=set)
    counts: dict[nn.Module, int] = field(default_factory=dict)
    made: dict[int, tuple[weakref.ref[Tensor], int, FoundCall]] = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        read = next(iter(tensors_in((args, kwargs))), None)
        version = None if read is None else version_of(read)
        parent = self.stack[-1] if self.stack else None
        call = FoundCall(module, parent, self._maker(read), self.names.get(module, ""))
        self.stack.append(call)
        output = genuine_call(module, args, kwargs)
        self.stack.pop()
        call.number = self.counts[module] = self.counts.get(module, -1) + 1
        if isinstance(module, CONVOLUTIONS) and isinstance(output, Tensor):
            self.convolved.add(tuple(output.shape[2:]))
        if module is self.of or (self.of is None and parent is not None):
            self._examine(call, output, read if read is not None and version_of(read) == version else None)
        return output

    def _maker(self, tensor: Tensor | None) -> FoundCall | None:
        """The call that returned this tensor, if nothing has changed it since."""
        reference, version, call = self.made.get(id(tensor), (None, 0, None))
        is_it = tensor is not None and reference is not None and reference() is tensor and version_of(tensor) == version
        return call if is_it else None

    def _examine(self, call: FoundCall, output: object, read: Tensor | None) -> None:
        """Note every tensor that may be a map; `read` is what the call was given, if it left that alone."""
        tensors = tensors_in(output)
        self.shapes[call.module] = [tuple(tensor.shape) for tensor in tensors]
        for part, tensor in enumerate(tensors):
            proposed = self.propose(tensor) if tensor.is_floating_point() and tensor.numel() else ()
            if not proposed:
                continue
            hands_on = call.source is not None and read is not None and _hands_on(call.module, tensor, read)
            call.candidates.append(Candidate.of(part, tensor, proposed, hands_on=hands_on))
            self.made[id(tensor)] = (weakref.ref(tensor), version_of(tensor), call)
        if call.candidates:
            self.found.append(call)


def _hands_on(module: nn.Module, output: Tensor, read: Tensor) -> bool:
    """Whether a module without parameters or parts returned what it was given: itself, a view, or equal values."""
    if any(True for _ in module.children()) or any(True for _ in module.parameters()):
        return False
    if output.numel() == read.numel() and output.untyped_storage().data_ptr() == read.untyped_storage().data_ptr():
        return True
    return output.shape == read.shape and bool(torch.equal(output, read))
