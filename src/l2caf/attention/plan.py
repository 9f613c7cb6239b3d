"""Find where to cut a network, once for inputs of one shape, and cut it open there.

    caf -> cut_open -> probe        one input that stands for all inputs of this shape
                    -> discovery    which modules return what may be a map; `layouts` proposes where its grid lies
                    -> locality     which of these follow the picture, and so where the grid lies
                    -> reach        which of these move the output, and which of them is the default
                    -> frames, tail in which order the batch holds frames, what runs again on a replay, what is kept

A plan is found on one input of noise, so that it depends on the network, on the shape of its inputs and on how large
their values are, but not on which inputs came first: features that are dead in one picture must not change the layer
of the others.
"""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from l2caf.attention.cut import Cut, CutOptions
from l2caf.attention.discovery import LayerInfo, resolve_layer
from l2caf.attention.entrance import INPUT, Entrance
from l2caf.attention.following import Locality, Verdict
from l2caf.attention.frames import frame_order, named_calls, named_frames
from l2caf.attention.locality import Survey, nothing_follows, survey
from l2caf.attention.probe import probe_of
from l2caf.attention.reach import later_in_doubt, reaches, with_reach
from l2caf.errors import FeatureError, LayerError, LocalityWarning, OutputError
from l2caf.layouts import Layout, Space
from l2caf.tail import (
    Inputs,
    Keep,
    LayerCalls,
    Slots,
    Tail,
    cut,
    dependents,
    prove_rows_apart,
    row_axes,
    with_shared,
)
from l2caf.tail.replay import ReadOutput

HALF: Final = (torch.float16, torch.bfloat16)
Shapes = tuple[torch.Size, ...]  # of the tensors that a network is called with, without the batch where they have it


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to cut a network for inputs of one shape.

    Attributes:
        name: name of the layer.
        model: the network, or the network behind an `Entrance`.
        slots: which runs and frames of the layer, and where space is in them.
        space: which axes of the inputs the grid lies on.
        locality: how well its positions follow the picture.
        read: takes the network's output to (b, n).
        keep: the least that a replay needs of what ran before the layer; None to run the whole network instead. A
            batch that needs more gets more, for itself: its result does not depend on the batches before it.
        shared: which tensors of the inputs belong to the whole batch although they are as long as it is.
    """

    name: str
    model: nn.Module
    slots: Slots
    space: Space
    locality: Locality
    read: ReadOutput
    keep: Keep | None
    shared: frozenset[int]

    def open(self, inputs: Inputs, memory: int | None) -> Cut:
        """Cut the network open for a batch.

        Args:
            inputs: what to call the network with.
            memory: bytes of filtered feature maps that may be in flight at once; None for a size that suits the device.

        Returns:
            The cut.

        Raises:
            TailError: if the network cannot be replayed on these inputs.
            FeatureError: if the feature map of an input is not finite, or zero.
            OutputError: if the output of an input is not finite.
        """
        tail = cut(self.model, inputs, self.slots, self.read, keep=self.keep, memory=memory)
        if tail.reference.dtype in HALF and not bool(torch.isfinite(tail.reference).all()):
            tail = tail.in_float32()
        self._check_values(tail)
        return Cut(
            self.name, tail, inputs, self.slots.numbers, self._input_size(tail, inputs), self.space, self.locality
        )

    def _input_size(self, tail: Tail, inputs: Inputs) -> tuple[int, ...]:
        """Sizes in the inputs of what the grid covers; the grid's own where it covers no axes of theirs."""
        if isinstance(self.model, Entrance) or not self.space.axes:
            return tail.grid
        shape = inputs.tensors()[self.space.part].shape
        frames = (tail.layout.n_frames,) if tail.layout.has_frames else ()
        sizes = tuple(shape[axis] for axis in self.space.axes)
        return (*frames, *sizes[len(frames) - len(tail.grid) :])

    def _check_values(self, tail: Tail) -> None:
        """Refuse inputs whose features hold nothing to attend to."""
        size = tail.features.flatten(1).abs().amax(dim=1)
        for bad, what in ((~torch.isfinite(size), "is not finite"), (size == 0, "is zero throughout")):
            if bool(bad.any()):
                raise FeatureError(
                    f"the feature map of layer {self.name!r} {what} for inputs {bad.nonzero().flatten().tolist()}; "
                    "check those inputs and the network's weights"
                )
        bad = ~torch.isfinite(tail.reference).all(dim=1)
        if bool(bad.any()):
            wrong = bad.nonzero().flatten().tolist()
            raise OutputError(
                f"the network's output is not finite for inputs {wrong}; check those inputs and the weights"
            )


def cut_open(
    model: nn.Module, inputs: Inputs, options: CutOptions, plans: dict[Shapes, Plan], *, memory: int | None
) -> Cut:
    """Cut a network open for a batch, by the plan for inputs of its shape.

    Args:
        model: a borrowed network.
        inputs: what to call the network with.
        options: what the user said about where to cut.
        plans: plans found earlier with these options, by the shapes of the inputs; a new one is added.
        memory: bytes of filtered feature maps that may be in flight at once; None for a size that suits the device.

    Returns:
        The cut.

    Raises:
        LayerError: if the layer does not exist, has no grid, or does not reach the output.
        LayoutError: if space cannot be told from the inputs.
        TailError: if the network cannot be replayed on these inputs.
        FeatureError: if the feature map of an input is not finite, or zero.
        OutputError: if the output of an input is not finite.
    """
    has_rows = zip(inputs.tensors(), inputs.has_rows(), strict=True)
    shapes = tuple(tensor.shape[1:] if own else tensor.shape for tensor, own in has_rows)
    plan = plans.get(shapes) or find_plan(model, with_shared(model, inputs, options.read), options)
    opened = plan.open(replace(inputs, shared=plan.shared), memory)
    if shapes not in plans:
        prove_rows_apart(opened.tail)  # one row cannot tell what is shared by the batch from what belongs to an input
        plans[shapes] = plan
    return opened


def find_plan(model: nn.Module, inputs: Inputs, options: CutOptions) -> Plan:
    """Where to cut for inputs of this shape.

    Args:
        model: a borrowed network.
        inputs: a batch of any size; its values matter as `probe_of` says.
        options: what the user said.

    Returns:
        The plan.

    Raises:
        LayerError: if the layer does not exist, has no grid, or does not reach the output, or if none is named and no
            layer follows the picture.
        TailError: if the network cannot be replayed.
    """
    try:
        plan = _plan_on(model, probe_of(model, inputs, options.read), options)
    except LayerError:  # all may be dead on noise; where that is not why, the first input raises the same
        plan = _plan_on(model, inputs.first(), options)
    if plan.locality.verdict is Verdict.ELSEWHERE:
        warnings.warn(
            f"the map of layer {plan.name!r} ({plan.slots.layout.name}) is no map of the picture: {plan.locality}; "
            "choose a layer that follows it (`l2caf layers`), or say where space is with `layout=`",
            LocalityWarning,
            stacklevel=2,
        )
    return plan


def list_layers(model: nn.Module, inputs: Inputs, options: CutOptions) -> list[LayerInfo]:
    """Every layer that returns something like a map, with what `find_plan` sees of it.

    Args:
        model: a borrowed network.
        inputs: a batch of any size; its values matter as `probe_of` says.
        options: what the user said.

    Returns:
        The layers, in the order in which they finish.
    """
    listed: list[LayerInfo] = []
    inputs = with_shared(model, inputs, options.read)
    for one in (probe_of(model, inputs, options.read), inputs.first()):
        listed = _listed(survey(model, one, options.layout), options, every=True)
        if any(info.is_default for info in listed):
            break
    return listed


def _plan_on(model: nn.Module, one: Inputs, options: CutOptions) -> Plan:
    """Where to cut, found on one input (a batch of one)."""
    if options.layer == INPUT and INPUT not in dict(model.named_modules()):
        model = Entrance(model)
    runs, like = _runs(model, one, options)
    name, module = resolve_layer(model, like.name)
    asked = None if like.layout.has_frames else options.call  # else `call` says which frames, not which runs
    if asked is None:
        chosen = [info for info in runs if (info.shape, info.part) == (like.shape, like.part)]
    else:
        chosen = named_calls(name, runs, asked)
    if any(info.reach is None for info in chosen):  # a listing knows it of most runs, which saves this pass
        reached = reaches(model, one, options.read, {(module, info.call): info for info in chosen})
        chosen = [replace(info, reach=reached[module, info.call]) for info in chosen]
    moving = [info for info in chosen if info.reach]
    if not moving or (asked is not None and len(moving) < len(chosen)):
        raise LayerError(
            f"no position of layer {name!r} moves the output: nothing reads it there, or a normalisation right "
            "behind it undoes any scaling; choose another layer (`l2caf layers`)"
        )
    slots = _slots(model, one, name, module, moving, options)
    worst = max((info.locality for info in moving), key=lambda one: list(Verdict).index(one.verdict))
    if isinstance(model, Entrance):  # the map is the input, so its positions are the input's
        worst = Locality(1.0, 0.5, Verdict.FOLLOWS)
    plan = Plan(name, model, slots, moving[0].space, worst, options.read, None, one.shared)
    if not options.fast:
        return plan
    tail = cut(model, one, slots, options.read)
    slots = replace(slots, layer=replace(slots.layer, rows=row_axes(model, tail.recording)))
    return replace(plan, slots=slots, keep=tail.keep)


def _runs(model: nn.Module, one: Inputs, options: CutOptions) -> tuple[list[LayerInfo], LayerInfo]:
    """The runs of the layer that return a grid, and the one whose shape they shall have to be explained together."""
    if options.layer is not None:
        runs = _named_runs(model, one, options)
        return runs, runs[-1]
    surveyed = survey(model, one, options.layout)
    listed = _listed(surveyed, options)
    like = next((info for info in listed if info.is_default), None)
    if like is None:
        raise LayerError(nothing_follows(surveyed))
    return [info for info in listed if info.name == like.name], like


def _named_runs(model: nn.Module, one: Inputs, options: CutOptions) -> list[LayerInfo]:
    """The runs of a layer named by the user that return a grid."""
    name, module = resolve_layer(model, options.layer or "")
    surveyed = survey(model, one, options.layout, of=module)
    calls = surveyed.listing.calls
    if surveyed.can_draw and any(map(surveyed.is_in_doubt, calls)):
        surveyed.draw()
    runs = [info for call in calls if (info := surveyed.info(call)) is not None]
    if runs:
        return runs
    shapes = surveyed.listing.shapes.get(module)
    if shapes is None:
        raise LayerError(f"layer {name!r} does not run in a forward pass; choose one that does (`l2caf layers`)")
    raise LayerError(
        f"layer {name!r} returns {shapes or 'no tensor'}, which has no spatial grid of more than one position; choose "
        "another layer (`l2caf layers`) or say where space is with `layout=`"
    )


def _listed(surveyed: Survey, options: CutOptions, *, every: bool = False) -> list[LayerInfo]:
    """The layers with their reach, after as many draws as it takes to be sure of the default one."""
    listed = with_reach(surveyed, options.read, every=every)
    if surveyed.can_draw and later_in_doubt(surveyed, listed):
        surveyed.draw()
        listed = with_reach(surveyed, options.read, every=every)
    return listed


def _slots(
    model: nn.Module, one: Inputs, name: str, module: nn.Module, runs: list[LayerInfo], options: CutOptions
) -> Slots:
    """Which runs and frames are explained, and what of the network runs again when one of them is filtered."""
    layout = runs[0].layout
    layer = LayerCalls(module, tuple(info.call for info in runs), runs[0].part, joint=options.joint)
    if layout.has_frames:  # one run returns them all
        frames = named_frames(name, layout.n_frames, options.call)
        layer = replace(layer, calls=layer.calls[-1:], frames=frames)
    if layout.rows_per_input > 1:
        layout = layout.in_order(frame_order(model, one, layer))
    if len(layer.calls) > 1:
        layer = replace(layer, rerun=dependents(model, one, layer, partial(_changed, layout)))
    return Slots(layer, layout)


def _changed(layout: Layout, features: Tensor) -> Tensor:
    """The same map under other weights at every position."""
    weights = torch.linspace(0.5, -0.5, layout.vectors(features).shape[1], device=features.device)
    return layout.apply(features, weights.expand(len(features), -1))
