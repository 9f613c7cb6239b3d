"""Choose a solver, run it, and measure what it found with the network's own tail.

`auto` solves in closed form, first as if the tail were affine, then as if it were affine on either side of 0, and
lets the tail itself judge: the predicted losses must be the real ones under the solution, under the uniform filter
and under a random filter. Problems for which neither holds are solved iteratively. Every loss reported is one the
tail computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.attention.formulate import TailProblem, affine_problem, all_problems, inputs_of, tangent, two_sided_problem
from l2caf.constraints import UnitL2
from l2caf.errors import SolverError
from l2caf.objectives import CosineGoal, Goal, LinearGoal, SquaredGoal
from l2caf.problem import ClosedForm, Constraint, Cosine, Spanned, TwoSided
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers import Certificate, CosineExact, Descent, Exact, QuasiNewton, Solution, TwoSidedExact, merged
from l2caf.tail import AffineResponse, Tail
from l2caf.tail.response import probe_filters, rounding_of

LARGEST_JACOBIAN: Final = 2**30  # bytes in float64, for all inputs of a batch
LARGEST_MATRIX: Final = 5000  # rows of one whose eigenvectors are sought: 200 MB, and a minute

SolverName = Literal["auto", "exact", "quasi-newton", "descent"]
Solver = SolverName | Descent | QuasiNewton


@dataclass(frozen=True, slots=True)
class Solved:
    """A solution and the loss of saying nothing.

    Attributes:
        solution: m rows; its losses are the tail's.
        uniform_loss: (m,) under the uniform filter.
    """

    solution: Solution
    uniform_loss: Losses


def solve(tail: Tail, goal: Goal, solver: Solver, constraint: Constraint) -> Solved:
    """Find the filter of every problem.

    Args:
        tail: the network after the layer.
        goal: m problems.
        solver: `"auto"`, `"exact"`, `"quasi-newton"`, `"descent"`, or options of a solver.
        constraint: where to seek.

    Returns:
        Filters, certificates and real losses.

    Raises:
        SolverError: if there is no such solver, or `solver="exact"` and no closed form for some input.
    """
    if isinstance(solver, str) and solver not in get_args(SolverName):
        names = ", ".join(get_args(SolverName))
        raise SolverError(f"unknown solver {solver!r}; expected one of {names}, or a solver's options")
    everything = all_problems(goal)
    if isinstance(solver, Descent | QuasiNewton) or solver in {"descent", "quasi-newton"}:
        return _measured(tail, goal, _iterate(tail, goal, solver, constraint, everything), constraint)
    closed, missed = None, everything
    if isinstance(constraint, UnitL2) and _has_closed_form(tail, goal, constraint):
        closed, missed = _closed(tail, goal, constraint)
        if closed is not None and not len(missed):
            return closed
    if solver == "exact":
        inputs = sorted(set(inputs_of(tail, goal, missed).tolist()))
        raise SolverError(
            f"there is no closed form under {constraint.name} for inputs {inputs}: the tail is not affine, its output "
            "or grid is too large for a matrix, or the constraint has none with this objective; use solver='auto'"
        )
    found = _iterate(tail, goal, "quasi-newton", constraint, missed)
    solution = found if closed is None else merged(closed.solution, found, missed)
    return _measured(tail, goal, solution, constraint)


def _closed(tail: Tail, goal: Goal, constraint: UnitL2) -> tuple[Solved | None, Rows]:
    """What closed forms solve, and the problems that none of them does; None where that is all."""
    problems = missed = all_problems(goal)
    solved: Solved | None = None
    above, below = AffineResponse(tail), AffineResponse(tail, -1.0)
    poses: list[Callable[[Goal], ClosedForm | None]] = [
        partial(affine_problem, above, nonnegative=constraint.nonnegative)
    ]
    if not constraint.nonnegative:  # without negative weights there is no second side
        poses.append(partial(two_sided_problem, above, below))
    for pose in poses:
        problem = pose(goal)
        if problem is None:
            continue
        solution = _in_closed_form(problem, constraint)
        found, agrees = _checked(tail, goal, problem, solution, constraint)
        gained = missed[agrees[missed]]
        if solved is None:
            solved = found if len(gained) else None
        elif len(gained):
            solution = merged(solved.solution, found.solution.rows(gained), gained)
            solved = Solved(solution, solved.uniform_loss)
        missed = missed[~agrees[missed]]
        if not len(missed):
            break
    return solved, missed if solved is not None else problems


def _in_closed_form(problem: ClosedForm, constraint: UnitL2) -> Solution:
    if isinstance(problem, Spanned):
        solution = _in_closed_form(problem.inner, constraint)
        return replace(solution, filters=problem.filters(solution.filters))
    if isinstance(problem, TwoSided):
        return TwoSidedExact(constraint.radius).solve(problem)
    if isinstance(problem, Cosine):
        return CosineExact(constraint.radius).solve(problem)
    return Exact(constraint.radius, constraint.nonnegative).solve(problem)


def _has_closed_form(tail: Tail, goal: Goal, constraint: UnitL2) -> bool:
    """Whether there is one if the tail is affine. An output of a million pixels has products with J, but no J."""
    if isinstance(goal, SquaredGoal | CosineGoal):
        fits = 8 * goal.reference.numel() * tail.n_positions <= LARGEST_JACOBIAN
        small = min(tail.n_positions, goal.reference.shape[1]) <= LARGEST_MATRIX
        return fits and small and not constraint.nonnegative
    return True


def _checked(
    tail: Tail, goal: Goal, problem: ClosedForm, solution: Solution, constraint: UnitL2
) -> tuple[Solved, Flags]:
    """Real losses, and whether the problem predicts them at the solution, the uniform and a random filter."""
    problems = all_problems(goal)
    inputs = inputs_of(tail, goal, problems)
    uniform = _uniform(tail, constraint).to(solution.filters)
    probe = probe_filters(tail).to(uniform).expand_as(uniform)
    probe = probe.abs() if constraint.nonnegative else probe
    filters = torch.cat([solution.filters, uniform, probe])
    rows = torch.cat([inputs, *[tail.all_rows()] * 2])
    with torch.no_grad():
        answers = tail(_as_features(filters, tail), rows)
    own, even, random = answers.split([len(inputs), tail.n_inputs, tail.n_inputs])
    zero = tail.constant(0.0)[inputs]
    agrees = _predicts(tail, goal, problem.value(solution.filters), own, zero)
    agrees &= _predicts(tail, goal, problem.value(uniform[inputs]), even[inputs], zero)
    agrees &= _predicts(tail, goal, problem.value(probe[inputs]), random[inputs], zero)
    if isinstance(goal, CosineGoal):  # what is not proven is sought again from several starts
        agrees &= torch.tensor([one is Certificate.GLOBAL for one in solution.certificates], device=agrees.device)
    measured = replace(solution, loss=goal.loss(own, problems))
    return Solved(measured, goal.loss(even[inputs], problems)), agrees


def _predicts(
    tail: Tail, goal: Goal, predicted: Losses, outputs: Float[Tensor, "m n"], zero: Float[Tensor, "m n"]
) -> Flags:
    """Whether losses are as predicted, to the rounding of an affine tail whose answer to nothing is `zero`."""
    problems = all_problems(goal)
    inputs = inputs_of(tail, goal, problems)
    whole = (tail.reference[inputs].double() - zero.double()).norm(dim=-1)
    response = (outputs.double() - zero.double()).norm(dim=-1) + whole / tail.n_positions**0.5
    size = outputs.double().norm(dim=-1) + tail.reference[inputs].double().norm(dim=-1)
    allowed = goal.rounding(outputs, problems, rounding_of(tail, response, size))
    return (predicted - goal.loss(outputs, problems)).abs() <= allowed


def _iterate(tail: Tail, goal: Goal, solver: Solver, constraint: Constraint, problems: Rows) -> Solution:
    """Run an iterative solver on some of the problems."""
    problem = TailProblem(tail, goal, problems)
    uniform = _uniform(tail, constraint)[inputs_of(tail, goal, problems)]
    if isinstance(solver, Descent) or solver == "descent":
        return (solver if isinstance(solver, Descent) else Descent()).solve(problem, constraint, uniform[:0])
    options = solver if isinstance(solver, QuasiNewton) else QuasiNewton()
    starts = {"uniform": uniform, "energy": _energy(tail)[inputs_of(tail, goal, problems)].to(uniform)}
    if not isinstance(goal, SquaredGoal):  # where the untouched network would go: Grad-CAM's direction
        linear = goal if isinstance(goal, LinearGoal) else LinearGoal(-goal.reference)
        starts["tangent"] = -tangent(AffineResponse(tail), linear)[problems].to(uniform)
    return options.solve(problem, constraint, starts)


def _energy(tail: Tail) -> Float[Tensor, "b p"]:
    """||A_p||_2 for every input and position: where there is most to keep."""
    return tail.layout.vectors(tail.features).float().norm(dim=-1)


def _uniform(tail: Tail, constraint: Constraint) -> Float[Tensor, "b p"]:
    """The filter that prefers no position (for a Gaussian, the centred one), for every input, in float32 or wider."""
    dtype = torch.promote_types(torch.float32, tail.features.dtype)
    ones = torch.ones(tail.n_inputs, tail.n_positions, device=tail.features.device, dtype=dtype)
    return constraint.filters(constraint.parameters(ones))


def _measured(tail: Tail, goal: Goal, solution: Solution, constraint: Constraint) -> Solved:
    """Real losses of a solution and of the uniform filter."""
    problems = all_problems(goal)
    everything = TailProblem(tail, goal, problems)
    uniform = _uniform(tail, constraint)[inputs_of(tail, goal, problems)]
    loss = everything.value(_as_features(solution.filters, tail), problems)
    perfect = (loss <= _rounding_of_zero(tail, goal)).tolist()  # a squared loss is never below 0
    certificates = tuple(
        Certificate.GLOBAL if zero else own for zero, own in zip(perfect, solution.certificates, strict=True)
    )
    return Solved(replace(solution, loss=loss, certificates=certificates), everything.value(uniform, problems))


def _rounding_of_zero(tail: Tail, goal: Goal) -> Losses:
    """The largest loss (m,) that is 0 but for rounding; -inf where it has no lower bound, or another one."""
    problems = all_problems(goal)
    if not isinstance(goal, SquaredGoal):
        return torch.full((len(problems),), -torch.inf, dtype=torch.float64, device=problems.device)
    whole = goal.reference.double()
    response = (whole - tail.constant(0.0)[inputs_of(tail, goal, problems)].double()).norm(dim=-1)
    return rounding_of(tail, response, whole.norm(dim=-1)).square()


def _as_features(filters: Filters, tail: Tail) -> Filters:
    """Filters in float32, or in the features' dtype where that is wider."""
    return filters.to(torch.promote_types(torch.float32, tail.features.dtype))
