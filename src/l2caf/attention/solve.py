"""Solve every problem of a tail and a goal, and measure with the tail itself what was found.

A solver that takes closed forms is given them first, as if the tail were affine, then as if it were affine on either
side of 0. The tail judges: the predicted losses must be the real ones under the solution, under the uniform filter and
under a random filter. Problems for which neither holds are given as losses and gradients to a solver that takes these.
Every loss that is reported was computed by the tail.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.attention.formulate import TailProblem, closed_forms
from l2caf.attention.starts import TailStarts, uniform_filters
from l2caf.errors import SolverError
from l2caf.goals import Goal
from l2caf.problem import ClosedForm, Constraint, Smooth, sphere_of
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers import Certificate, Solution, merged, named_solver, takes
from l2caf.solvers import Solver as AnySolver
from l2caf.tail import Tail
from l2caf.tail.response import probe_filters, rounding_of

Solver = str | AnySolver[Any]


@dataclass(frozen=True, slots=True)
class Solved:
    """A solution, and the losses that it is to be compared with.

    Attributes:
        solution: the solution of m rows, whose losses were computed by the tail.
        uniform_loss: the losses (m,) of the uniform filter.
    """

    solution: Solution
    uniform_loss: Losses


def solve(tail: Tail, goal: Goal, solver: Solver, constraint: Constraint) -> Solved:
    """Find the filter of every problem.

    Args:
        tail: the network after the layer.
        goal: what is wanted of the output, for m problems.
        solver: a name in `l2caf.solvers.SOLVERS`, or any object with a method `solve(problem, constraint, starts)`.
        constraint: the feasible set, bound to the tail's grid.

    Returns:
        Filters, certificates and real losses.

    Raises:
        SolverError: if there is no such solver, if it takes closed forms alone and there is none for some input, or if
            its solution does not fit the problem.
    """
    chosen = named_solver(solver)
    whole = TailProblem.of(tail, goal)
    closed, missed = _solve_closed(whole, chosen, constraint)
    if closed is not None and not len(missed):
        return closed
    if not takes(chosen, Smooth, constraint):
        inputs = sorted(set(whole.inputs[missed].tolist()))
        raise SolverError(
            f"there is no closed form under {constraint.name} for inputs {inputs}: the tail is not affine, its output "
            "or grid is too large for a matrix, or the constraint has none with this objective; use solver='auto'"
        )
    rest = replace(whole, problems=missed)
    found = chosen.solve(rest, constraint, TailStarts(rest, constraint))
    if found.filters.shape != (rest.n_problems, rest.n_positions):
        raise SolverError(
            f"{chosen!r} returned filters of shape {tuple(found.filters.shape)}; "
            f"expected {(rest.n_problems, rest.n_positions)}, one row for each problem"
        )
    return _measured(whole, found if closed is None else merged(closed.solution, found, missed), constraint)


def _solve_closed(whole: TailProblem, solver: AnySolver[Any], constraint: Constraint) -> tuple[Solved | None, Rows]:
    """The solution by closed forms, or None if they solve nothing, and the problems that are left."""
    solved: Solved | None = None
    missed = whole.problems
    starts = TailStarts(whole, constraint)
    for problem in closed_forms(whole, constraint, partial(takes, solver, constraint=constraint)):
        found, agrees = _checked(whole, problem, solver.solve(problem, constraint, starts), constraint)
        gained, missed = missed[agrees[missed]], missed[~agrees[missed]]
        if len(gained) and solved is not None:  # inputs of one batch may differ: some affine, others on either side
            found = replace(solved, solution=merged(solved.solution, found.solution.rows(gained), gained))
        solved = found if len(gained) else solved
        if not len(missed):
            break
    return solved, missed


def _checked(
    whole: TailProblem, problem: ClosedForm, solution: Solution, constraint: Constraint
) -> tuple[Solved, Flags]:
    """Real losses, and whether the problem predicts them at the solution, the uniform and a random filter."""
    # A tail that is affine only in part can agree by chance where the solution is; it seldom does at a random filter.
    # All three go through the tail in one call.
    tail, inputs = whole.tail, whole.inputs
    uniform = uniform_filters(tail, constraint).to(solution.filters)
    probe = probe_filters(tail).to(uniform).expand_as(uniform)
    sphere = sphere_of(constraint)
    probe = probe.abs() if sphere is not None and sphere.nonnegative else probe
    filters = torch.cat([solution.filters, uniform, probe])
    rows = torch.cat([inputs, *[tail.all_rows()] * 2])
    with torch.no_grad():
        answers = tail(_as_features(filters, tail), rows)
    own, even, random = answers.split([len(inputs), tail.n_inputs, tail.n_inputs])
    agrees = _predicts(whole, problem.value(solution.filters), own)
    agrees &= _predicts(whole, problem.value(uniform[inputs]), even[inputs])
    agrees &= _predicts(whole, problem.value(probe[inputs]), random[inputs])
    if whole.goal.closed is not None and whole.goal.closed.needs_proof:
        agrees &= torch.tensor([one is Certificate.GLOBAL for one in solution.certificates], device=agrees.device)
    return Solved(replace(solution, loss=whole.loss(own)), whole.loss(even[inputs])), agrees


def _predicts(whole: TailProblem, predicted: Losses, outputs: Float[Tensor, "m n"]) -> Flags:
    """Whether losses are as predicted, to the rounding of an affine tail."""
    tail, inputs = whole.tail, whole.inputs
    zero, reference = tail.constant(0.0)[inputs].double(), tail.reference[inputs].double()
    # The response to a filter may vanish by chance, so a share of the response to the filter of ones is added.
    response = (outputs.double() - zero).norm(dim=-1) + (reference - zero).norm(dim=-1) / tail.n_positions**0.5
    size = outputs.double().norm(dim=-1) + reference.norm(dim=-1)
    allowed = whole.goal.rounding(outputs, whole.problems, rounding_of(tail, response, size))
    return (predicted - whole.loss(outputs)).abs() <= allowed


def _measured(whole: TailProblem, solution: Solution, constraint: Constraint) -> Solved:
    """Real losses of a solution and of the uniform filter; a loss that no filter can undercut is certified."""
    loss = whole.value(_as_features(solution.filters, whole.tail), whole.problems)
    least = whole.goal.least(partial(_rounding, whole))
    certificates = solution.certificates
    if least is not None:
        pairs = zip((loss <= least).tolist(), certificates, strict=True)
        certificates = tuple(Certificate.GLOBAL if is_least else own for is_least, own in pairs)
    uniform = uniform_filters(whole.tail, constraint)[whole.inputs]
    return Solved(replace(solution, loss=loss, certificates=certificates), whole.value(uniform, whole.problems))


def _rounding(whole: TailProblem) -> Losses:
    """Error (L2 norm) of outputs as large as those of the untouched network (m,)."""
    reference, zero = (outputs[whole.inputs].double() for outputs in (whole.tail.reference, whole.tail.constant(0.0)))
    return rounding_of(whole.tail, (reference - zero).norm(dim=-1), reference.norm(dim=-1))


def _as_features(filters: Filters, tail: Tail) -> Filters:
    """Filters in float32, or in the features' dtype where that is wider."""
    return filters.to(torch.promote_types(torch.float32, tail.features.dtype))
