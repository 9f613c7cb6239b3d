"""`L2CAF`: options in, then call it on inputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any

import torch
from torch import nn

from l2caf.attention.accepted import accepted_inputs, accepted_network, in_our_words
from l2caf.attention.answer import attention_of
from l2caf.attention.cut import Cut, CutOptions
from l2caf.attention.discovery import LayerInfo, resolve_layer
from l2caf.attention.output import OutputChoice, output_reader
from l2caf.attention.plan import HALF, Plan, Shapes, cut_open, list_layers
from l2caf.attention.question import Question, described
from l2caf.attention.result import Attention
from l2caf.attention.solve import Solved, Solver, solve
from l2caf.attention.targets import Target, resolve_targets
from l2caf.constraints import named_constraint
from l2caf.guard import borrow, unwrapped
from l2caf.layouts import LayoutChoice
from l2caf.objectives import ClassSpecific, Objective, Oblivious
from l2caf.problem import Constraint
from l2caf.shapes import Targets
from l2caf.tail import Inputs, Tail


@dataclass(frozen=True, eq=False, repr=False)
class L2CAF:
    """Where a network looks: the filter of unit L2 norm on one layer that keeps the output, or speaks for a class.

    An explainer does not change: `dataclasses.replace(caf, layer="layer3")` is another one. Nothing is done to the
    network before a call, and after it the network is as it was.
    Source: Taha et al., ECCV 2020 (arXiv 2007.09748).

    Attributes:
        model: any vision network.
        layer: dotted name or module; `"input"` for the network's own input, where that already is a feature map;
            None for the last layer with a grid whose positions reach the output.
        constraint: `"l2"`, `"l1"`, `"softmax"`, `"gaussian"`, a constraint such as `UnitL2(nonnegative=True)`, or one
            of your own (`l2caf.problem.Constraint`), as an object or as `"package.module:name"`.
        objective: what calls with a target ask for: Eq. 2 as printed, or `ClassSpecific("mean")`. Calls without a
            target ask for Eq. 1. `Oblivious(top=5)` and `Similar()` take no target.
        solver: `"auto"` (exact where the tail allows it, else quasi-Newton), `"exact"`, `"quasi-newton"`,
            `"descent"` (the paper's), the options of one: `QuasiNewton(...)`, `Descent(...)`, or any object with
            a method `solve(problem, constraint, starts)`, also as `"package.module:name"`.
        output: which part of the network's output to explain, where it is no tensor: index, key or function.
        layout: `"auto"`, the name of a layout, a layout, or a function from feature map to layout.
        call: which runs of a layer that runs several times in a pass (a Siamese trunk, time steps), or which of
            the frames that it returns at once, from 0; None for all that return a map of one shape. Each gets
            a filter of its own, found with the others left as they are.
        joint: whether all of these share one filter instead, t x h x w. Its norm is shared too, so that its part in a
            frame says how much that frame matters.
        until: a later layer whose output takes the place of the network's (Eq. 3), by name or module. A map
            between two inner layers is class-oblivious, or "class-specific" in the later layer's components.
        fast: whether to replay only what comes after the layer; False runs the whole network at every step (the
            paper's vanilla form, for timing; only with `solver="descent"`).
        memory: bytes of filtered feature maps that may be in flight at once; None for a size that suits the
            device. At least one row always is.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        >>> net = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        >>> caf = L2CAF(net, solver="exact")
        >>> caf
        L2CAF(Sequential, solver='exact')
        >>> attention = caf(torch.rand(2, 3, 16, 16), target="top2")
        >>> attention.filter.shape
        torch.Size([2, 2, 7, 7])
    """

    model: nn.Module
    layer: str | nn.Module | None = None
    _: KW_ONLY
    constraint: str | Constraint = "l2"
    objective: Objective = ClassSpecific()  # noqa: RUF009  (frozen)
    solver: Solver = "auto"
    output: OutputChoice = None
    layout: LayoutChoice = "auto"
    call: int | Sequence[int] | None = None
    joint: bool = False
    until: str | nn.Module | None = None
    fast: bool = True
    memory: int | None = None
    _plans: dict[Shapes, Plan] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        """The network's class, and the options that are not the default."""
        options = (one for one in fields(self)[1:] if one.init and getattr(self, one.name) != one.default)
        said = (f"{one.name}={_shown(getattr(self, one.name))}" for one in options)
        return f"L2CAF({', '.join([type(self.model).__name__, *said])})"

    def __call__(self, inputs: Any, target: Target = None) -> Attention:
        """Explain a batch.

        Args:
            inputs: what the network takes: a tensor (b, ...), a tuple of positional or a mapping of keyword
                arguments.
            target: None (class-oblivious, Eq. 1); an int or a list of k ints, all of them for every input, so that
                `[208, 853]` means both classes for both of two pictures; a tensor (b,) of one class for each input,
                or (b, k); `"top1"`, `"top5"`, ...

        Returns:
            Filters for every input and target, with losses and certificates.

        Raises:
            ModelError: if the network is none, or keeps its layers to itself (TorchScript, exported programs, int8).
            DataError: if the inputs are arrays, pictures or file names, or integers where the network wants floats.
            LayerError: if the layer does not exist, has no grid, or does not reach the output.
            LayoutError: if space cannot be told from the inputs, or they have no axis for the batch.
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
            cut: the cut of this or another explainer of the same network, still open.
            target: None, an int, a list, a tensor or a text such as `"top5"`; see `__call__`.
            objective: what to ask for instead of the explainer's own objective.

        Returns:
            Filters for every input and target. Errors are those of `__call__` that do not concern the layer.
        """
        tail, constraint = cut.tail, named_constraint(self.constraint).on(cut.tail.grid)
        targets = self.targets(target, tail)
        chosen = objective or self._objective(targets)
        goal = chosen.goal(tail.reference, targets)
        solved = solve(tail, goal, self.solver, constraint)
        if tail.reference.dtype in HALF and not _is_sound(solved):
            tail = tail.in_float32()
            goal = chosen.goal(tail.reference, targets)
            solved = solve(tail, goal, self.solver, constraint)
        undecided = goal.undecided(solved.solution.loss, solved.uniform_loss)
        question = self._question(cut, chosen, constraint)
        return attention_of(solved, undecided, replace(cut, tail=tail), question, targets)

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
            inputs: what the network takes: a tensor (b, ...), a tuple or a mapping; see `__call__`.

        Yields:
            The cut.
        """
        with self._borrowed() as model:
            called = self._inputs(model, inputs)
            with in_our_words(model, called):
                opened = cut_open(model, called, self._cut_options(), self._plans, memory=self.memory)
            yield opened

    def targets(self, target: Target, tail: Tail) -> Targets | None:
        """Classes (b, k) that `target` means for a tail's inputs, or None; raises `TargetError` as a call does."""
        targets = resolve_targets(target, tail.reference[:: tail.n_calls])
        return targets if targets is None or tail.n_calls == 1 else targets.repeat_interleave(tail.n_calls, dim=0)

    def layers(self, inputs: Any) -> list[LayerInfo]:
        """Every layer with a spatial grid, and how much of it reaches the output.

        Args:
            inputs: what the network takes; see `__call__`. Reach is measured on noise of their shape and scale.

        Returns:
            Layers in the order in which they finish; `is_default` marks the one that `layer=None` takes.
        """
        with self._borrowed() as model:
            called = self._inputs(model, inputs)
            with in_our_words(model, called):
                return list_layers(model, called, self._cut_options())

    @contextmanager
    def _borrowed(self) -> Iterator[nn.Module]:
        model = accepted_network(self.model)
        with torch.inference_mode(mode=False), torch.no_grad(), borrow(model):
            yield model

    def _inputs(self, model: nn.Module, inputs: Any) -> Inputs:
        given = accepted_inputs(inputs)
        return given if self.until is None else replace(given, until=resolve_layer(model, self.until)[1])

    def _cut_options(self) -> CutOptions:
        return CutOptions(self.layer, self.layout, self.call, self.joint, output_reader(self.output), self.fast)

    def _objective(self, targets: Targets | None) -> Objective:
        is_idle = targets is None and isinstance(self.objective, ClassSpecific)
        return Oblivious() if is_idle else self.objective


def _shown(option: object) -> str:
    return type(option).__name__ if isinstance(option, nn.Module) else repr(option)


def _is_sound(solved: Solved) -> bool:
    """Whether the arithmetic held: finite filters and losses, and a gradient to start from."""
    solution = solved.solution
    finite = torch.isfinite(solution.filters).all() & torch.isfinite(solution.loss).all()
    return bool(finite & torch.isfinite(solved.uniform_loss).all() & (solution.residual < 1).all())
