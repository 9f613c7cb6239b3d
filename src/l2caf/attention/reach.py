"""Measure which layers can be explained, and choose the default one.

One pass puts a filter of ones on the map of each candidate and differentiates: a position is *reached* if its weight
moves the output. In a transformer that reads its class token, the patch tokens after the last block are not reached;
before a layer normalisation no token is, since scaling a token is undone there.

The default layer is the last one whose positions may be the picture's and of which at least half is reached. A module
that merely hands on the map of an earlier one (dropout, an identity pooling, a permutation) does not count as a layer
of its own, and a projection at the entrance of an attention module gives way to the map that the module reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from l2caf.attention.discovery import FoundCall, LayerInfo
from l2caf.attention.locality import Survey
from l2caf.guard import Args, Kwargs, genuine_call, intercept
from l2caf.tail import Inputs
from l2caf.tail.replay import ReadOutput
from l2caf.tail.trees import with_part

WINDOW: Final = 48  # candidates differentiated at first; the graph of a whole network is only built if none serves
REACHED_RTOL: Final = 1e-4  # |A_p . dA_p| against |A_p| |dA_p|: rounding gives 1e-6, unrelated vectors 1e-2

Run = tuple[nn.Module, int]  # a module, and which of its calls in a forward pass


def with_reach(survey: Survey, read: ReadOutput, *, every: bool = False) -> list[LayerInfo]:
    """What is known of the calls of a network, with their reach, and with the default one marked.

    Args:
        survey: the calls and how well their maps follow the picture.
        read: takes the network's output to (b, n).
        every: examine all layers, not only the last ones that are needed for the default.

    Returns:
        The layers that were examined and those of the default one's module; at most one is marked `is_default`, none
        if no layer whose positions may be the picture's reaches the output.
    """
    calls = survey.listing.calls
    infos: dict[FoundCall, LayerInfo] = {}
    default: FoundCall | None = None
    for window in (len(calls),) if every else (WINDOW, len(calls)):
        last = {call: info for call in calls[-window:] if window and (info := survey.info(call)) is not None}
        wanted = {(call.module, call.number): info for call, info in last.items() if every or info.is_candidate}
        reached = reaches(survey.model, survey.one, read, wanted)
        infos = {call: replace(info, reach=reached.get((call.module, call.number))) for call, info in last.items()}
        default = _default([call for call, info in infos.items() if info.is_usable])
        if default is not None or len(last) == len(calls):
            break
    if default is not None:
        own = [call for call in calls if call.module is default.module and call not in infos]
        infos = {call: info for call in own if (info := survey.info(call)) is not None} | infos
    return [replace(info, is_default=call is default) for call, info in infos.items()]


def later_in_doubt(survey: Survey, infos: Sequence[LayerInfo]) -> bool:
    """Whether another draw may change which layer is the default.

    Args:
        survey: the calls.
        infos: what is known of them.

    Returns:
        Whether the default one's map, or that of a call that finishes later, is in doubt; without a default, any.
    """
    default = next((info for info in infos if info.is_default), None)
    for call in reversed(survey.listing.calls):
        if survey.is_in_doubt(call):
            return True
        if default is not None and (call.name, call.number) == (default.name, default.call):
            return False
    return False


def reaches(model: nn.Module, inputs: Inputs, read: ReadOutput, wanted: Mapping[Run, LayerInfo]) -> dict[Run, float]:
    """Share of positions whose weight moves the output, in [0, 1], for some calls of some layers.

    Args:
        model: a borrowed network.
        inputs: one input (a batch of one).
        read: takes the network's output to (b, n).
        wanted: the calls, and what is known of them.

    Returns:
        One share per call.
    """
    reaching = _Reaching(wanted)
    with torch.no_grad():
        with intercept(set(model.modules()), reaching):
            outputs = read(inputs.call(model))
        torch.set_grad_enabled(True)
        shares = reaching.shares(outputs)
    return {run: shares.get(run, 0.0) for run in wanted}


def _default(usable: list[FoundCall]) -> FoundCall | None:
    layer = usable[-1] if usable else None
    while layer is not None and (source := _read_by_parent(layer)) in usable:
        layer = source
    return layer


def _read_by_parent(layer: FoundCall) -> FoundCall | None:
    """The map that the layer's own module group reads, if the layer is the first to read it."""
    is_first = layer.parent is not None and layer.parent.source is layer.source
    return layer.source if is_first else None


@dataclass(slots=True)
class _Filtered:
    """A filter of ones on one map, the size of each feature vector, and how strongly the output pulls at it."""

    ones: Tensor
    energy: Tensor
    pull: Tensor | None = None

    def share(self, slope: Tensor | None) -> float:
        """Share of positions at which the filter's slope is more than rounding."""
        if slope is None or self.pull is None:
            return 0.0
        is_moved = slope.abs() > REACHED_RTOL * self.energy * self.pull
        is_moved |= ~torch.isfinite(slope * self.pull)  # half precision explodes
        is_dark = (self.energy == 0) & (self.pull > 0)  # nothing there to filter in this input, but it is looked at
        return float(((is_moved & (self.pull != 0)) | is_dark).float().mean())


@dataclass(slots=True)
class _Reaching:
    """Answers every module call of one forward pass, with a filter of ones on each candidate."""

    wanted: Mapping[Run, LayerInfo]
    counts: dict[nn.Module, int] = field(default_factory=dict)
    filtered: dict[Run, _Filtered] = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
        output = genuine_call(module, args, kwargs)
        count = self.counts[module] = self.counts.get(module, -1) + 1
        info = self.wanted.get((module, count))
        if info is None:
            return output
        torch.set_grad_enabled(True)  # from the first candidate on; the pass runs inside a no_grad block
        return with_part(output, info.part, lambda features: self._filter((module, count), info, features))

    def _filter(self, run: Run, info: LayerInfo, features: Tensor) -> Tensor:
        b = len(features) // info.layout.rows_per_input
        ones = torch.ones(b, torch.Size(info.grid).numel(), device=features.device, requires_grad=True)
        output = info.layout.apply(features, ones)
        filtered = self.filtered[run] = _Filtered(ones, info.layout.vectors(features.detach()).float().norm(dim=-1))

        def note(gradient: Tensor) -> None:
            filtered.pull = info.layout.vectors(gradient).float().norm(dim=-1)

        output.register_hook(note)
        return output

    def shares(self, outputs: Tensor) -> dict[Run, float]:
        """Share of reached positions of every candidate."""
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(outputs.shape, generator=generator).to(outputs)
        if not outputs.requires_grad:
            return {}
        ones = [filtered.ones for filtered in self.filtered.values()]
        slopes = torch.autograd.grad((outputs * weights).sum(), ones, allow_unused=True)
        return {run: one.share(slope) for (run, one), slope in zip(self.filtered.items(), slopes, strict=True)}
