"""`L2CAF`: options in, then call it on inputs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from l2caf.attention.discovery import LayerInfo, list_layers, locate, reaches, resolve_layer
from l2caf.attention.entrance import INPUT, Entrance
from l2caf.attention.frames import clip_of, find_frames, frame_order, map_size, named_calls, named_frames
from l2caf.attention.output import OutputChoice, output_reader
from l2caf.attention.question import Question, described
from l2caf.attention.result import Attention, attention_of
from l2caf.attention.solve import Solved, Solver, solve
from l2caf.attention.targets import Target, resolve_targets
from l2caf.constraints import named_constraint
from l2caf.errors import FeatureError, LayerError, LayoutError, OutputError
from l2caf.guard import borrow, unwrapped
from l2caf.layouts import Frames, Layout, infer_layout, named_layout
from l2caf.objectives import ClassSpecific, Objective, Oblivious
from l2caf.problem import Constraint
from l2caf.shapes import Targets
from l2caf.tail import Inputs, LayerCalls, Tail, cut, dependents, prove_rows_apart
from l2caf.tail.replay import Keep


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where to cut the network for inputs of one shape; found once, on the first of them."""

    name: str
    model: nn.Module
    layer: LayerCalls
    layout: Layout
    keep: Keep | None
    dependents: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Cut:
    """A network cut open at a layer.

    Attributes:
        layer: its name.
        tail: what comes after it.
        inputs: what the network was called with.
        calls: which of its runs, or of the frames it returns, the tail's inputs stand for, minor; None where there is
            only one, or one filter for all.
        input_size: spatial size of the inputs.
    """

    layer: str
    tail: Tail
    inputs: Inputs
    calls: tuple[int, ...] | None
    input_size: tuple[int, ...]


_HALF: Final = (torch.float16, torch.bfloat16)


class L2CAF:
    """Where a network looks: the filter of unit L2 norm on one layer that keeps the output, or speaks for a class.

    Attributes are the arguments. Nothing is done to the network before the call, and after it the network is as it
    was. Source: Taha et al., ECCV 2020 (arXiv 2007.09748).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        >>> net = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> attention = L2CAF(net)(torch.rand(2, 3, 16, 16), target="top2")
        >>> attention.filter.shape
        torch.Size([2, 2, 7, 7])
    """

    def __init__(  # noqa: PLR0913  (the public options, all but the first two by keyword)
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        constraint: str | Constraint = "l2",
        objective: Objective = ClassSpecific(),  # noqa: B008  (frozen)
        solver: Solver = "auto",
        output: OutputChoice = None,
        layout: str | Layout | Callable[[Tensor], Layout | None] = "auto",
        call: int | Sequence[int] | None = None,
        joint: bool = False,
        until: str | nn.Module | None = None,
        fast: bool = True,
        memory: int | None = None,
    ) -> None:
        """Options for all calls.

        Args:
            model: any vision network.
            layer: dotted name or module; `"input"` for the network's own input, where that already is a feature map;
                None for the last layer with a grid whose positions reach the output.
            constraint: `"l2"`, `"l1"`, `"softmax"`, `"gaussian"`, or a constraint such as `UnitL2(nonnegative=True)`.
            objective: of calls with a target: Eq. 2 as printed, or `ClassSpecific("mean")`; Eq. 1 serves calls without
                one, or `Oblivious(top=5)` or `Similar()`, which then take no target.
            solver: `"auto"` (exact where the tail allows it, else quasi-Newton), `"exact"`, `"quasi-newton"`,
                `"descent"` (the paper's), or the options of one: `QuasiNewton(...)`, `Descent(...)`.
            output: which part of the network's output to explain, where it is no tensor: index, key or function.
            layout: `"auto"`, a name, a layout, or a function from feature map to layout.
            call: which runs of a layer that runs several times in a pass (a Siamese trunk, time steps), or which of
                the frames that it returns at once, from 0; None for all that return a map of one shape. Each gets
                a filter of its own, found with the others left as they are.
            joint: one filter over all of these instead, t x h x w, whose norm they share: its part in a frame says how
                much that frame matters.
            until: a later layer whose output takes the place of the network's (Eq. 3), by name or module; a map
                between two inner layers is class-oblivious, or "class-specific" in the later layer's components.
            fast: replay only what comes after the layer; False runs the whole network at every step (the paper's
                vanilla form, for timing; only with `solver="descent"`).
            memory: bytes of filtered feature maps that may be in flight at once; None for a size that suits the
                device. At least one row always is.
        """
        self.model = model
        self.layer = layer
        self.constraint = constraint
        self.objective = objective
        self.solver = solver
        self.output = output
        self.layout = layout
        self.call = call
        self.joint = joint
        self.until = until
        self.fast = fast
        self.memory = memory
        self._plans: dict[tuple[torch.Size, ...], _Plan] = {}

    def __call__(self, inputs: Any, target: Target = None) -> Attention:
        """Explain a batch.

        Args:
            inputs: what the network takes: a tensor (b, ...), a tuple of positional or a mapping of keyword
                arguments.
            target: None (class-oblivious, Eq. 1); an int or a list of k ints; a tensor (b,) or (b, k); `"top1"`,
                `"top5"`, ...

        Returns:
            Filters for every input and target, with losses and certificates.

        Raises:
            LayerError: if the layer does not exist, has no grid, or does not reach the output.
            LayoutError: if space cannot be told from the inputs.
            TailError: if the network cannot be replayed.
            SolverError: if there is no such solver, or no closed form where `solver="exact"`.
            OutputError: if the network's output is not a finite tensor.
            TargetError: if a class does not exist or the targets do not fit the batch.
            FeatureError: if the feature map of an input is not finite, or zero.
        """
        with self.cut(inputs) as cut:
            return self.on(cut, target)

    def on(self, cut: Cut, target: Target = None, *, objective: Objective | None = None) -> Attention:
        """Explain a network that is cut open already, so that several methods share one pass of it.

        Args:
            cut: by this or another explainer of the same network, still open.
            target: as for a call.
            objective: in the place of the explainer's own.

        Returns:
            As a call does; raises what a call raises, but for what concerns the layer.
        """
        tail, constraint = cut.tail, named_constraint(self.constraint).on(cut.tail.grid)
        targets = self.targets(target, tail)
        chosen = objective or self._objective(targets)
        goal = chosen.goal(tail.reference, targets)
        solved = solve(tail, goal, self.solver, constraint)
        if tail.reference.dtype in _HALF and not _is_sound(solved):
            tail = tail.in_float32()
            goal = chosen.goal(tail.reference, targets)
            solved = solve(tail, goal, self.solver, constraint)
        undecided = goal.undecided(solved.solution.loss, solved.uniform_loss)
        picture = next((tensor for tensor in cut.inputs.tensors() if tensor.dim() >= 3), None)
        return attention_of(solved, undecided, tail, self._question(cut, chosen, constraint), targets, picture)

    def _question(self, cut: Cut, objective: Objective, constraint: Constraint) -> Question:
        return Question(
            layer=cut.layer,
            layout=cut.tail.layout.name,
            objective=described(objective),
            constraint=constraint.name,
            input_size=cut.input_size,
            solver=described(self.solver),
            output=None if self.output is None else described(self.output),
            until=None if self.until is None else resolve_layer(unwrapped(self.model), self.until)[0],
            part=cut.tail.slots.layer.part,
            runs=cut.calls,
            joint=self.joint,
            fast=self.fast,
        )

    @contextmanager
    def cut(self, inputs: Any) -> Iterator[Cut]:
        """The network cut open at the layer, for as long as it is borrowed; what other methods build on.

        Args:
            inputs: as for a call.

        Yields:
            The cut.
        """
        model = unwrapped(self.model)
        with torch.inference_mode(mode=False), torch.no_grad(), borrow(model):
            yield self._cut(model, self._inputs(model, inputs))

    def targets(self, target: Target, tail: Tail) -> Targets | None:
        """Classes (b, k) that `target` means for a tail's inputs, or None; raises `TargetError` as a call does."""
        targets = resolve_targets(target, tail.reference[:: tail.n_calls])
        return targets if targets is None or tail.n_calls == 1 else targets.repeat_interleave(tail.n_calls, dim=0)

    def layers(self, inputs: Any) -> list[LayerInfo]:
        """Every layer with a spatial grid, and how much of it reaches the output.

        Args:
            inputs: as for a call; the first of the batch is used.

        Returns:
            Layers in the order in which they finish; `is_default` marks the one that `layer=None` takes.
        """
        model = unwrapped(self.model)
        with torch.inference_mode(mode=False), torch.no_grad(), borrow(model):
            return self._list(model, _first(self._inputs(model, inputs)), every=True)

    def _inputs(self, model: nn.Module, inputs: Any) -> Inputs:
        given = Inputs.ensure(inputs)
        return given if self.until is None else replace(given, until=resolve_layer(model, self.until)[1])

    def _cut(self, model: nn.Module, inputs: Inputs) -> Cut:
        shapes = tuple(tensor.shape[1:] for tensor in inputs.tensors())
        known = self._plans.get(shapes)
        plan = known or self._plan(model, _first(inputs))
        tail = cut(
            plan.model, inputs, plan.layer, plan.layout, output_reader(self.output),
            keep=plan.keep, dependents=plan.dependents, memory=self.memory,
        )  # fmt: skip
        if known is None:
            prove_rows_apart(tail)
            self._plans[shapes] = replace(plan, keep=tail.keep)  # not later: a result must not depend on earlier calls
        if tail.reference.dtype in _HALF and not bool(torch.isfinite(tail.reference).all()):
            tail = tail.in_float32()
        _check_values(tail, plan.name)
        size = tail.grid if isinstance(plan.model, Entrance) else map_size(tail, _spatial_size(inputs))
        return Cut(plan.name, tail, inputs, _slot_names(plan), size)

    def _plan(self, model: nn.Module, first: Inputs) -> _Plan:
        """Where to cut."""
        if self.layer == INPUT and INPUT not in dict(model.named_modules()):
            return self._plan_at(Entrance(model), INPUT, first)
        if self.layer is not None:
            return self._plan_at(model, self.layer, first)
        listed = self._list(model, first)
        default = next((info for info in listed if info.is_default), None)
        if default is None:
            raise LayerError(
                "no layer of this network has a spatial grid of more than one position that reaches the output, so "
                "there is nothing to look at; name a layer with `layer=` (`l2caf layers` lists them all with the "
                "reason), or say `layer='input'` where the input already is a feature map"
            )
        runs = [info for info in listed if info.name == default.name]
        return self._plan_at(model, default.name, first, runs, default)

    def _plan_at(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        first: Inputs,
        runs: Sequence[LayerInfo] = (),
        like: LayerInfo | None = None,
    ) -> _Plan:
        """Which runs of a layer to cut at; what a listing knows of them already costs no further pass."""
        name, module = resolve_layer(model, layer)
        runs = runs or locate(model, name, module, first, self._layout_finder(model, first))
        like = like or runs[-1]
        chosen = [info for info in runs if (info.shape, info.part) == (like.shape, like.part)]
        if self.call is not None and not isinstance(like.layout, Frames):
            chosen = named_calls(name, runs, self.call)
        reached = [info.reach for info in chosen if info.reach is not None]
        if len(reached) < len(chosen):
            reached = reaches(model, first, output_reader(self.output), module, chosen)
        if self.call is None or isinstance(like.layout, Frames):
            chosen = [info for info, reach in zip(chosen, reached, strict=True) if reach > 0]
        if not chosen or not all(reached[-len(chosen) :]):
            raise LayerError(
                f"no position of layer {name!r} moves the output: nothing reads it there, or a normalisation right "
                "behind it undoes any scaling; choose another layer (`l2caf layers`)"
            )
        layout = chosen[0].layout
        calls = LayerCalls(module, tuple(info.call for info in chosen), chosen[0].part, joint=self.joint)
        if isinstance(layout, Frames):
            calls = replace(calls, calls=calls.calls[-1:], frames=named_frames(name, layout, self.call))
            layout = layout if layout.order == "axis" else replace(layout, order=frame_order(model, first, calls))
        changing = frozenset[int]()
        if len(calls.calls) > 1:
            changing = dependents(model, first, calls, partial(_changed, layout))
        return _Plan(name, model, calls, layout, "shapes" if self.fast else None, changing)

    def _list(self, model: nn.Module, first: Inputs, *, every: bool = False) -> list[LayerInfo]:
        return list_layers(model, first, output_reader(self.output), self._layout_finder(model, first), every=every)

    def _layout_finder(self, model: nn.Module, inputs: Inputs) -> Callable[[Tensor], Layout | None]:
        clip = clip_of(model, inputs)
        if isinstance(self.layout, str) and self.layout == "auto":
            size = _spatial_size(inputs)
            return find_frames(clip) if clip else lambda tensor: infer_layout(tensor.shape, size)
        return find_frames(clip, self._given_layout()) if clip else self._given_layout()

    def _given_layout(self) -> Callable[[Tensor], Layout | None]:
        if isinstance(self.layout, str):
            named = named_layout(self.layout)
            return lambda _: named
        if callable(self.layout):
            return self.layout
        given = self.layout
        return lambda _: given

    def _objective(self, targets: Targets | None) -> Objective:
        is_idle = targets is None and isinstance(self.objective, ClassSpecific)
        return Oblivious() if is_idle else self.objective


def _first(call: Inputs) -> Inputs:
    """The first input of a batch, as a batch of one."""
    tensors = call.tensors()
    if not tensors or tensors[0].dim() == 0 or tensors[0].shape[0] == 0:
        raise LayoutError(
            f"inputs hold {'an empty batch' if tensors else 'no tensor'}; expected tensors (b, ...) with b > 0"
        )
    b = tensors[0].shape[0]
    return call.map(lambda tensor: tensor[:1] if tensor.dim() and tensor.shape[0] == b else tensor)


def _spatial_size(inputs: Inputs) -> tuple[int, ...]:
    for tensor in inputs.tensors():
        if tensor.is_floating_point() and tensor.dim() >= 3:
            return tuple(tensor.shape[2:])
    shapes = [tuple(tensor.shape) for tensor in inputs.tensors()]
    raise LayoutError(f"inputs of shapes {shapes} have no spatial axes; expected (b, c, ...), or say `layout=`")


def _check_values(tail: Tail, layer: str) -> None:
    """Refuse inputs whose features hold nothing to attend to."""
    output_is_finite = torch.isfinite(tail.reference).all(dim=1)
    size = tail.features.flatten(1).abs().amax(dim=1)
    for bad, what in ((~torch.isfinite(size), "is not finite"), (size == 0, "is zero throughout")):
        if bool(bad.any()):
            raise FeatureError(
                f"the feature map of layer {layer!r} {what} for inputs {bad.nonzero().flatten().tolist()}; "
                "check those inputs and the network's weights"
            )
    if not bool(output_is_finite.all()):
        wrong = (~output_is_finite).nonzero().flatten().tolist()
        raise OutputError(f"the network's output is not finite for inputs {wrong}; check those inputs and the weights")


def _slot_names(plan: _Plan) -> tuple[int, ...] | None:
    """The number of the run or frame that each slot is."""
    layer = plan.layer
    names = layer.calls
    if isinstance(plan.layout, Frames):
        names = tuple(range(plan.layout.n)) if layer.frames is None else layer.frames
    return None if layer.joint or len(names) == 1 else names


def _changed(layout: Layout, features: Tensor) -> Tensor:
    """The same map under other weights at every position."""
    weights = torch.linspace(0.5, -0.5, layout.vectors(features).shape[1], device=features.device)
    return layout.apply(features, weights.expand(len(features), -1))


def _is_sound(solved: Solved) -> bool:
    """Whether the arithmetic held: finite filters and losses, and a gradient to start from."""
    solution = solved.solution
    finite = torch.isfinite(solution.filters).all() & torch.isfinite(solution.loss).all()
    return bool(finite & torch.isfinite(solved.uniform_loss).all() & (solution.residual < 1).all())
