"""Choose a solver, run it, and measure what it found with the network's own tail.

`auto` solves in closed form, first as if the tail were affine, then as if it were affine on either side of 0, and
lets the tail itself judge: the predicted losses must be the real ones under the solution, under the uniform filter
and under a random filter. Problems for which neither holds are solved iteratively. Every loss reported is one the
tail computed.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.attention.pose import TailProblem, affine_problem, all_problems, inputs_of, two_sided_problem
from l2caf.constraints import UnitL2
from l2caf.errors import TailError
from l2caf.objectives import Goal, SquaredGoal
from l2caf.problem import Linear, Quadratic, TwoSided, uniform_filters
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers import Descent, Exact, Solution, TwoSidedExact, merged
from l2caf.tail import Tail, is_affine
from l2caf.tail.response import probe_filters, rounding_of

Solver = Literal["auto", "exact", "descent"] | Descent


@dataclass(frozen=True, slots=True)
class Solved:
    """A solution and the loss of saying nothing.

    Attributes:
        solution: m rows; its losses are the tail's.
        uniform_loss: (m,) under the uniform filter.
    """

    solution: Solution
    uniform_loss: Losses


def solve(tail: Tail, goal: Goal, solver: Solver, constraint: UnitL2) -> Solved:
    """Find the filter of every problem.

    Args:
        tail: the network after the layer.
        goal: m problems.
        solver: `"auto"`, `"exact"`, `"descent"`, or options of a solver.
        constraint: where to seek.

    Returns:
        Filters, certificates and real losses.

    Raises:
        TailError: if `solver="exact"` and the tail is not affine for some input.
    """
    if isinstance(solver, Descent) or solver == "descent":
        options = solver if isinstance(solver, Descent) else Descent()
        found = _descend(tail, goal, options, constraint, all_problems(goal))
        return _measured(tail, goal, found)
    closed, missed = _closed(tail, goal, constraint)
    if closed is not None and not len(missed):
        return closed
    if solver == "exact":
        inputs = sorted(set(inputs_of(tail, goal, missed).tolist()))
        raise TailError(f"the tail is not affine for inputs {inputs}, so there is no closed form; use solver='auto'")
    iterative = _descend(tail, goal, Descent(), constraint, missed)
    if closed is None:
        return _measured(tail, goal, iterative)
    return _measured(tail, goal, merged(closed.solution, iterative, missed))


def _closed(tail: Tail, goal: Goal, constraint: UnitL2) -> tuple[Solved | None, Rows]:
    """What closed forms solve, and the problems that none of them does; None where that is all."""
    problems = missed = all_problems(goal)
    solved: Solved | None = None
    for pose in (_affine, two_sided_problem):
        problem = pose(tail, goal)
        if problem is None:
            continue
        found, agrees = _checked(tail, goal, problem, _in_closed_form(problem, constraint.radius))
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


def _in_closed_form(problem: Linear | Quadratic | TwoSided, radius: float) -> Solution:
    if isinstance(problem, TwoSided):
        return TwoSidedExact(radius).solve(problem)
    return Exact(radius).solve(problem)


def _affine(tail: Tail, goal: Goal) -> Linear | Quadratic | None:
    """The affine problem, unless it is cheap to see that the tail is not."""
    if isinstance(goal, SquaredGoal) and not bool(is_affine(tail).any()):
        return None
    return affine_problem(tail, goal)


def _checked(
    tail: Tail, goal: Goal, problem: Linear | Quadratic | TwoSided, solution: Solution
) -> tuple[Solved, Flags]:
    """Real losses, and whether the problem predicts them at the solution, the uniform and a random filter."""
    problems = all_problems(goal)
    inputs = inputs_of(tail, goal, problems)
    uniform = uniform_filters(tail.n_inputs, tail.n_positions, solution.filters, _radius(solution))
    probe = probe_filters(tail).to(uniform).expand_as(uniform)
    filters = torch.cat([solution.filters, uniform, probe, torch.zeros_like(uniform)])
    rows = torch.cat([inputs, *[tail.all_rows()] * 3])
    b = tail.n_inputs
    with torch.no_grad():
        own, even, random, nothing = tail(_as_features(filters, tail), rows).split([len(inputs), b, b, b])
    zero = nothing[inputs]
    agrees = _predicts(tail, goal, problem.value(solution.filters), own, zero)
    agrees &= _predicts(tail, goal, problem.value(uniform[inputs]), even[inputs], zero)
    agrees &= _predicts(tail, goal, problem.value(probe[inputs]), random[inputs], zero)
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


def _descend(tail: Tail, goal: Goal, options: Descent, constraint: UnitL2, problems: Rows) -> Solution:
    like = torch.empty(0, device=tail.features.device, dtype=torch.float32)
    return options.solve(TailProblem(tail, goal, problems), constraint, like)


def _measured(tail: Tail, goal: Goal, solution: Solution) -> Solved:
    """Real losses of a solution and of the uniform filter."""
    problems = all_problems(goal)
    everything = TailProblem(tail, goal, problems)
    uniform = uniform_filters(len(problems), tail.n_positions, solution.filters, _radius(solution))
    loss = everything.value(_as_features(solution.filters, tail), problems)
    return Solved(replace(solution, loss=loss), everything.value(_as_features(uniform, tail), problems))


def _radius(solution: Solution) -> float:
    return float(solution.filters[0].norm())


def _as_features(filters: Filters, tail: Tail) -> Filters:
    """Filters in float32, or in the features' dtype where that is wider."""
    return filters.to(torch.promote_types(torch.float32, tail.features.dtype))
