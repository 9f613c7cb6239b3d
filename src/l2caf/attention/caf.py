"""`L2CAF`: options in, then call it on inputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from l2caf.attention.discovery import LayerInfo, list_layers, locate, reach_of, resolve_layer
from l2caf.attention.output import OutputChoice, output_reader
from l2caf.attention.result import Attention
from l2caf.attention.solve import Solved, Solver, solve
from l2caf.attention.targets import Target, resolve_targets
from l2caf.constraints import named_constraint
from l2caf.errors import FeatureError, LayerError, LayoutError, OutputError
from l2caf.guard import borrow, unwrapped
from l2caf.layouts import Layout, infer_layout, named_layout
from l2caf.objectives import ClassSpecific, Objective, Oblivious
from l2caf.problem import Constraint
from l2caf.shapes import Targets
from l2caf.tail import Inputs, LayerCall, Tail, cut
from l2caf.tail.replay import Keep


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where to cut the network for inputs of one shape; found once, on the first of them."""

    name: str
    layer: LayerCall
    layout: Layout
    keep: Keep | None


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
        call: int | None = None,
        until: str | nn.Module | None = None,
        fast: bool = True,
    ) -> None:
        """Options for all calls.

        Args:
            model: any vision network.
            layer: dotted name or module; None for the last layer with a grid whose positions reach the output.
            constraint: `"l2"`, `"l1"`, `"softmax"`, `"gaussian"`, or a constraint such as `UnitL2(nonnegative=True)`.
            objective: of calls with a target: Eq. 2 as printed, or `ClassSpecific("mean")`; Eq. 1 serves the others.
            solver: `"auto"` (exact where the tail allows it, else quasi-Newton), `"exact"`, `"quasi-newton"`,
                `"descent"` (the paper's), or the options of one: `QuasiNewton(...)`, `Descent(...)`.
            output: which part of the network's output to explain, where it is no tensor: index, key or function.
            layout: `"auto"`, a name, a layout, or a function from feature map to layout.
            call: which run of a layer that runs several times in a pass (a Siamese trunk, time steps), from 0; None
                for the last. The other runs keep their features.
            until: a later layer whose output takes the place of the network's (Eq. 3), by name or module; a map
                between two inner layers is class-oblivious, or "class-specific" in the later layer's components.
            fast: replay only what comes after the layer; False runs the whole network at every step (the paper's
                vanilla form, for timing; only with `solver="descent"`).
        """
        self.model = model
        self.layer = layer
        self.constraint = constraint
        self.objective = objective
        self.solver = solver
        self.output = output
        self.layout = layout
        self.call = call
        self.until = until
        self.fast = fast
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
        constraint = named_constraint(self.constraint)
        with self.tail(inputs) as (name, tail):
            constraint = constraint.on(tail.grid)
            targets = self.targets(target, tail)
            goal = self._objective(targets).goal(tail.reference, targets)
            solved = solve(tail, goal, self.solver, constraint)
        return _attention(solved, tail, targets, name, Inputs.ensure(inputs))

    @contextmanager
    def tail(self, inputs: Any) -> Iterator[tuple[str, Tail]]:
        """The network after the layer, for as long as the network is borrowed; what other methods build on.

        Args:
            inputs: as for a call.

        Yields:
            The layer's name and the tail.
        """
        model = unwrapped(self.model)
        with torch.inference_mode(mode=False), torch.no_grad(), borrow(model):
            yield self._cut(model, self._call(model, inputs))

    def targets(self, target: Target, tail: Tail) -> Targets | None:
        """Classes (b, k) that `target` means for this batch, or None; raises `TargetError` as a call does."""
        return resolve_targets(target, tail.reference)

    def input_size(self, inputs: Any) -> tuple[int, ...]:
        """Spatial size of the inputs."""
        return _spatial_size(Inputs.ensure(inputs))

    def layers(self, inputs: Any) -> list[LayerInfo]:
        """Every layer with a spatial grid, and how much of it reaches the output.

        Args:
            inputs: as for a call; the first of the batch is used.

        Returns:
            Layers in the order in which they finish; `is_default` marks the one that `layer=None` takes.
        """
        model = unwrapped(self.model)
        with torch.inference_mode(mode=False), torch.no_grad(), borrow(model):
            return self._list(model, _first(self._call(model, inputs)), every=True)

    def _call(self, model: nn.Module, inputs: Any) -> Inputs:
        call = Inputs.ensure(inputs)
        return call if self.until is None else replace(call, until=resolve_layer(model, self.until)[1])

    def _cut(self, model: nn.Module, call: Inputs) -> tuple[str, Tail]:
        shapes = tuple(tensor.shape[1:] for tensor in call.tensors())
        plan = self._plans.get(shapes) or self._plan(model, _first(call))
        tail = cut(model, call, plan.layer, plan.layout, output_reader(self.output), keep=plan.keep)
        self._plans[shapes] = replace(plan, keep=tail.keep)
        _check_values(tail, plan.name)
        return plan.name, tail

    def _plan(self, model: nn.Module, first: Inputs) -> _Plan:
        keep: Keep | None = "shapes" if self.fast else None
        if self.layer is None:
            found = next((info for info in self._list(model, first) if info.is_default), None)
            if found is None:
                raise LayerError(
                    "no layer of this network has a spatial grid that reaches the output; name one with `layer=` "
                    "(`l2caf layers` lists them all with the reason)"
                )
            _, module = resolve_layer(model, found.name)
            return _Plan(found.name, LayerCall(module, found.call, found.part), found.layout, keep)
        name, module = resolve_layer(model, self.layer)
        info = locate(model, name, module, first, self._layout_finder(first), number=self.call)
        if reach_of(model, first, output_reader(self.output), module, info) == 0:
            raise LayerError(
                f"no position of layer {name!r} moves the output: nothing reads it there, or a normalisation right "
                "behind it undoes any scaling; choose another layer (`l2caf layers`)"
            )
        return _Plan(name, LayerCall(module, self.call, info.part), info.layout, keep)

    def _list(self, model: nn.Module, first: Inputs, *, every: bool = False) -> list[LayerInfo]:
        return list_layers(model, first, output_reader(self.output), self._layout_finder(first), every=every)

    def _layout_finder(self, inputs: Inputs) -> Callable[[Tensor], Layout | None]:
        if isinstance(self.layout, str) and self.layout == "auto":
            size = _spatial_size(inputs)
            return lambda tensor: infer_layout(tensor.shape, size)
        if isinstance(self.layout, str):
            named = named_layout(self.layout)
            return lambda _: named
        if callable(self.layout):
            return self.layout
        given = self.layout
        return lambda _: given

    def _objective(self, targets: Targets | None) -> Objective:
        return Oblivious() if targets is None else self.objective


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


def _attention(solved: Solved, tail: Tail, targets: Targets | None, layer: str, call: Inputs) -> Attention:
    solution, b = solved.solution, tail.n_inputs

    def shaped(values: Tensor) -> Tensor:
        return values.unflatten(0, (b, -1))

    k = len(solution.filters) // b
    certificates = solution.certificates
    dtype = torch.promote_types(torch.float32, tail.features.dtype)
    trace = solution.trace
    return Attention(
        filter=shaped(solution.filters).unflatten(-1, tail.grid).to(dtype),
        loss=shaped(solution.loss),
        uniform_loss=shaped(solved.uniform_loss),
        target=targets,
        certificate=tuple(certificates[i * k : (i + 1) * k] for i in range(b)),
        residual=shaped(solution.residual),
        unique=None if solution.unique is None else shaped(solution.unique),
        iterations=shaped(solution.iterations),
        output=tail.reference,
        layer=layer,
        layout=tail.layout.name,
        solver=solution.solver,
        input_size=_spatial_size(call),
        inputs=next((tensor for tensor in call.tensors() if tensor.dim() >= 3), None),
        trace=None if trace is None else trace.unflatten(1, (b, -1)).unflatten(-1, tail.grid),
        trace_loss=None if solution.trace_loss is None else solution.trace_loss.unflatten(1, (b, -1)),
        start=None if solution.start is None else tuple(solution.start[i * k : (i + 1) * k] for i in range(b)),
        spread=None if solution.spread is None else shaped(solution.spread),
    )
