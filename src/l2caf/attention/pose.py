"""From a tail and a goal to a problem that a solver can take.

affine tail, linear goal    Linear     g = J^T s: one backward pass of the tail
affine tail, squared goal   Quadratic  G = J^T J, b = J^T (NT - c)
affine on either side of 0  TwoSided   both of these, with a column for each sign of each position
any tail, any goal          Smooth     values and gradients
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.objectives import Goal, LinearGoal, SquaredGoal
from l2caf.problem import Linear, Quadratic, TwoSided
from l2caf.shapes import Filters, Losses, Rows
from l2caf.tail import AffineResponse, Tail

CLASSES_AT_ONCE: Final = 32  # backward passes batched together; more only costs memory


@dataclass(frozen=True, slots=True)
class TailProblem:
    """A tail and a goal as a `Smooth` problem.

    Attributes:
        tail: the network after the layer.
        goal: what is wanted of its output, m rows.
        problems: which rows of the goal are asked for.
    """

    tail: Tail
    goal: Goal
    problems: Rows

    @property
    def n_problems(self) -> int:
        """How many rows there are."""
        return len(self.problems)

    @property
    def n_positions(self) -> int:
        """How many weights a filter has."""
        return self.tail.n_positions

    def value(self, filters: Filters, rows: Rows) -> Losses:
        """Losses (m,) of filters (m, p) for the problems numbered `rows`."""
        problems = self.problems[rows]
        with torch.no_grad():
            return self.goal.loss(self.tail(filters, self._inputs(problems)), problems)

    def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        """Losses (m,) and gradients (m, p) for the problems numbered `rows`."""
        problems = self.problems[rows]
        with torch.enable_grad():
            filters = filters.detach().requires_grad_()
            loss = self.goal.loss(self.tail(filters, self._inputs(problems)), problems)
            (gradient,) = torch.autograd.grad(loss.sum(), filters)
        return loss.detach(), gradient

    def _inputs(self, problems: Rows) -> Rows:
        return inputs_of(self.tail, self.goal, problems)


def n_problems(goal: Goal) -> int:
    """How many problems a goal states, b * k."""
    return len(goal.reference if isinstance(goal, SquaredGoal) else goal.weights)


def all_problems(goal: Goal) -> Rows:
    """Every problem of a goal, numbered."""
    tensor = goal.reference if isinstance(goal, SquaredGoal) else goal.weights
    return torch.arange(len(tensor), device=tensor.device)


def inputs_of(tail: Tail, goal: Goal, problems: Rows) -> Rows:
    """The input each problem belongs to: problems are numbered inputs major, targets minor."""
    return problems // (n_problems(goal) // tail.n_inputs)


def affine_problem(tail: Tail, goal: Goal) -> Linear | Quadratic:
    """The closed form of every problem, as if the tail were affine.

    Args:
        tail: the tail.
        goal: m problems.

    Returns:
        A problem of m rows in float64. A linear one is the tangent of the loss at f = 1; a quadratic one is the
        loss of the tail's response to single positions. Whether the tail agrees is for the caller to check.
    """
    if isinstance(goal, LinearGoal):
        return _linear(tail, goal, tangent(tail, goal))
    response = AffineResponse(tail)
    return _quadratic(goal, response.offset, response.jacobian)


def two_sided_problem(tail: Tail, goal: Goal) -> TwoSided | None:
    """The same, as if the tail were affine on either side of 0.

    Args:
        tail: the tail.
        goal: m problems.

    Returns:
        A problem of m rows, or None where it is known not to hold.
    """
    if isinstance(goal, LinearGoal):
        slope_above, slope_below = tangent(tail, goal), tangent(tail, goal, -1.0)
        at_zero = _linear(tail, goal, slope_above).offset
        return TwoSided(Linear(torch.cat([slope_above, slope_below], dim=-1), at_zero))
    above, below = AffineResponse(tail), AffineResponse(tail, -1.0)
    if above.pooled_jacobian is None or below.pooled_jacobian is None:
        return None
    jacobian = torch.cat([above.pooled_jacobian, below.pooled_jacobian], dim=-1)
    return TwoSided(_quadratic(goal, above.offset, jacobian))


def _linear(tail: Tail, goal: LinearGoal, gradient: Filters) -> Linear:
    """The tangent of the loss at f = 1."""
    problems = all_problems(goal)
    at_ones = goal.loss(tail.reference[inputs_of(tail, goal, problems)], problems)
    return Linear(gradient, at_ones - gradient.sum(-1))


def _quadratic(goal: SquaredGoal, offset: Float[Tensor, "b n"], jacobian: Float[Tensor, "b n p"]) -> Quadratic:
    jacobian = jacobian.double()
    wanted = goal.reference.double() - offset.double()
    slope = (jacobian.mT @ wanted.unsqueeze(-1)).squeeze(-1)
    return Quadratic(jacobian.mT @ jacobian, slope, wanted.square().sum(-1))


def tangent(tail: Tail, goal: LinearGoal, side: float = 1.0) -> Filters:
    """Gradients (m, p) of a linear goal at the filter whose weights all are `side`, float64."""
    response = AffineResponse(tail, side)
    weights = goal.weights.unflatten(0, (tail.n_inputs, -1))
    parts = [response.pullback(part) for part in weights.split(CLASSES_AT_ONCE, dim=1)]
    return torch.cat(parts, dim=1).flatten(0, 1).double()
