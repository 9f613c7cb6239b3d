"""From a tail and a goal to a problem that a solver can take.

affine tail, linear goal    Linear     g = J^T s: one backward pass of the tail
affine tail, squared goal   Quadratic  G = J^T J, b = J^T (NT - c)
affine tail, a cosine       Cosine     the same G, and what c and the partner have to do with J and each other
... and a short output      Spanned    either of them in the span of J's rows
affine on either side of 0  TwoSided   the first two, with a column for each sign of each position
any tail, any goal          Smooth     values and gradients
"""

from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.objectives import CosineGoal, Goal, LinearGoal, SquaredGoal
from l2caf.problem import Cosine, Linear, Quadratic, Spanned, TwoSided
from l2caf.shapes import Filters, Losses, Rows
from l2caf.tail import AffineResponse, Tail, is_affine, is_odd, is_straight
from l2caf.tail.response import OUTPUTS_AT_ONCE, probe_filters

SPARE: Final = 2  # directions beside J's rows: the constant filter, and one in which the output does not move
SPAN_PAYS: Final = 2  # times as many positions as coordinates


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
        limit = self.tail.rows_at_once  # one graph at a time
        parts = zip(filters.split(limit), self.problems[rows].split(limit), strict=True)
        losses, gradients = zip(*(self._differentiate(*part) for part in parts), strict=True)
        return torch.cat(losses), torch.cat(gradients)

    def _differentiate(self, filters: Filters, problems: Rows) -> tuple[Losses, Filters]:
        with torch.enable_grad():
            filters = filters.detach().requires_grad_()
            loss = self.goal.loss(self.tail(filters, self._inputs(problems)), problems)
            (gradient,) = torch.autograd.grad(loss.sum(), filters)
        return loss.detach(), gradient

    def _inputs(self, problems: Rows) -> Rows:
        return inputs_of(self.tail, self.goal, problems)


def n_problems(goal: Goal) -> int:
    """How many problems a goal states, b * k."""
    return len(_rows_of(goal))


def all_problems(goal: Goal) -> Rows:
    """Every problem of a goal, numbered."""
    tensor = _rows_of(goal)
    return torch.arange(len(tensor), device=tensor.device)


def _rows_of(goal: Goal) -> Float[Tensor, "m n"]:
    return goal.weights if isinstance(goal, LinearGoal) else goal.reference


def inputs_of(tail: Tail, goal: Goal, problems: Rows) -> Rows:
    """The input each problem belongs to: problems are numbered inputs major, targets minor."""
    return problems // (n_problems(goal) // tail.n_inputs)


def affine_problem(
    response: AffineResponse, goal: Goal, *, nonnegative: bool = False
) -> Linear | Quadratic | Cosine | Spanned | None:
    """The closed form of every problem, as if the tail were affine.

    Args:
        response: to non-negative filters.
        goal: m problems.
        nonnegative: no filter with negative weights is asked for, so that the tail may do with them what it likes.

    Returns:
        A problem of m rows in float64, or None where it is known not to hold. A linear one is the tangent of the loss
        at f = 1; the others are the loss of the tail's response to single positions. Whether the tail agrees is
        for the caller to check.
    """
    if not bool((is_straight if nonnegative else is_odd)(response.tail).any()):
        return None
    if isinstance(goal, LinearGoal):
        return _linear(response.tail, goal, tangent(response, goal))
    if response.pooled_jacobian is None and not bool(is_affine(response.tail).any()):
        return None
    n, p = response.jacobian.shape[1:]
    if p < SPAN_PAYS * (n + SPARE):
        return _stated(goal, response.offset, response.jacobian)
    jacobian, uniform, basis = _span(response)
    k = n_problems(goal) // len(basis)
    inner = _stated(goal, response.offset, jacobian)
    return Spanned(replace(inner, uniform=uniform.repeat_interleave(k, dim=0)), basis.repeat_interleave(k, dim=0))


def two_sided_problem(above: AffineResponse, below: AffineResponse, goal: Goal) -> TwoSided | None:
    """The same, as if the tail were affine on either side of 0.

    Args:
        above: the response to filters without negative weights.
        below: to filters without positive ones.
        goal: m problems.

    Returns:
        A problem of m rows, or None where it is known not to hold.
    """
    if not bool(is_straight(above.tail).any()):
        return None
    if isinstance(goal, LinearGoal):
        slope_above, slope_below = tangent(above, goal), tangent(below, goal)
        at_zero = _linear(above.tail, goal, slope_above).offset
        return TwoSided(Linear(torch.cat([slope_above, slope_below], dim=-1), at_zero))
    if isinstance(goal, CosineGoal) or above.pooled_jacobian is None or below.pooled_jacobian is None:
        return None
    jacobian = torch.cat([above.pooled_jacobian, below.pooled_jacobian], dim=-1)
    return TwoSided(_quadratic(goal, above.offset, jacobian))


def _linear(tail: Tail, goal: LinearGoal, gradient: Filters) -> Linear:
    """The tangent of the loss at f = 1."""
    problems = all_problems(goal)
    at_ones = goal.loss(tail.reference[inputs_of(tail, goal, problems)], problems)
    return Linear(gradient, at_ones - gradient.sum(-1))


def _stated(
    goal: SquaredGoal | CosineGoal, offset: Float[Tensor, "b n"], jacobian: Float[Tensor, "b n p"]
) -> Quadratic | Cosine:
    return _cosine(goal, offset, jacobian) if isinstance(goal, CosineGoal) else _quadratic(goal, offset, jacobian)


def _span(
    response: AffineResponse,
) -> tuple[Float[Tensor, "b n q"], Float[Tensor, "b q"], Float[Tensor, "b p q"]]:
    """J and the constant filter in an orthonormal basis of J's rows, that filter and one more, and the basis."""
    b, n, p = response.jacobian.shape
    probe = probe_filters(response.tail).to(response.jacobian)  # in no span of a few rows, so orthogonal to it in part
    spare = torch.stack([torch.ones_like(probe), probe], dim=-1).expand(b, p, SPARE)
    basis, coordinates = torch.linalg.qr(torch.cat([response.jacobian.mT, spare], dim=-1).double())
    return coordinates[:, :, :n].mT, coordinates[:, :, n], basis


def _quadratic(goal: SquaredGoal, offset: Float[Tensor, "b n"], jacobian: Float[Tensor, "b n p"]) -> Quadratic:
    columns = jacobian.mT.double()  # positions first, as the tail gave them
    wanted = goal.reference.double() - offset.double()
    if goal.kept is not None:
        columns, wanted = columns * goal.kept.double().unsqueeze(1), wanted * goal.kept.double()
    slope = (columns @ wanted.unsqueeze(-1)).squeeze(-1)
    return Quadratic(columns @ columns.mT, slope, wanted.square().sum(-1))


def _cosine(goal: CosineGoal, offset: Float[Tensor, "b n"], jacobian: Float[Tensor, "b n p"]) -> Cosine:
    columns, at_zero = jacobian.mT.double(), offset.double()
    wanted = goal.reference.double()
    wanted = (wanted / wanted.norm(dim=-1, keepdim=True)).unflatten(0, (len(offset), -1))
    k = wanted.shape[1]
    return Cosine(
        gram=(columns @ columns.mT).repeat_interleave(k, dim=0),
        slope=(wanted @ columns.mT).flatten(0, 1),
        cross=(columns @ at_zero.unsqueeze(-1)).squeeze(-1).repeat_interleave(k, dim=0),
        along=(wanted @ at_zero.unsqueeze(-1)).flatten(),
        square=at_zero.square().sum(-1).repeat_interleave(k, dim=0),
    )


def tangent(response: AffineResponse, goal: LinearGoal) -> Filters:
    """Gradients (m, p) of a linear goal at the constant filter of the response's side, float64."""
    weights = goal.weights.unflatten(0, (response.tail.n_inputs, -1))
    parts = [response.pullback(part) for part in weights.split(OUTPUTS_AT_ONCE, dim=1)]
    return torch.cat(parts, dim=1).flatten(0, 1).double()
