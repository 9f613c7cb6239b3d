"""State the problem of a tail and a goal: in a closed form if the tail is affine, and as losses and gradients always.

Closed forms are stated on trust, from the tail's response to few filters; `attention.solve` checks their solutions
against the tail itself. Two tests of one pass each come first, so that a tail that is plainly not affine costs no more:

    FT(1) + FT(-1) = 2 FT(0)       one response to weights of both signs
    FT(0) + FT(1) = 2 FT(1/2)      one response to weights of either sign: two-sided, or no negative weights asked for
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.goals import Goal
from l2caf.problem import ClosedForm, Constraint, Response, Smooth, Spanned, TwoSided, sphere_of
from l2caf.shapes import Filters, Losses, Outputs, Rows
from l2caf.tail import AffineResponse, Tail, is_affine, is_odd, is_straight
from l2caf.tail.response import OUTPUTS_AT_ONCE, probe_filters

SPARE: Final = 2  # directions beside J's rows: the constant filter, and one in which the output does not move
SPAN_PAYS: Final = 2  # times as many positions as coordinates
LARGEST_JACOBIAN: Final = 2**30  # bytes in float64, for all inputs of a batch
LARGEST_MATRIX: Final = 5000  # rows of one whose eigenvectors are sought: 200 MB, and a minute


@dataclass(frozen=True, slots=True)
class TailProblem(Smooth):
    """A tail and a goal as a problem of which losses and gradients can be asked.

    Attributes:
        tail: the network after the layer.
        goal: what is wanted of its output.
        problems: the numbers (m,) of the goal's problems that are asked for.
    """

    tail: Tail
    goal: Goal
    problems: Rows

    @classmethod
    def of(cls, tail: Tail, goal: Goal) -> "TailProblem":
        """Every problem of a goal."""
        count = goal.per_input(tail.n_inputs) * tail.n_inputs
        return cls(tail, goal, torch.arange(count, device=tail.features.device))

    @property
    def n_problems(self) -> int:
        """How many rows there are."""
        return len(self.problems)

    @property
    def n_positions(self) -> int:
        """How many weights a filter has."""
        return self.tail.n_positions

    @property
    def inputs(self) -> Rows:
        """The input (m,) of the tail that each problem belongs to."""
        return self.problems // self.goal.per_input(self.tail.n_inputs)

    def loss(self, outputs: Float[Tensor, "m n"]) -> Losses:
        """Losses (m,) of outputs that the tail has given already."""
        return self.goal.loss(outputs, self.problems)

    def value(self, filters: Filters, rows: Rows) -> Losses:
        """Losses of filters for the problems numbered `rows`."""
        with torch.no_grad():
            return self.goal.loss(self.tail(filters, self.inputs[rows]), self.problems[rows])

    def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        """Losses and gradients for the problems numbered `rows`."""
        limit = self.tail.rows_at_once  # one graph at a time, so that memory does not grow with the number of rows
        parts = zip(filters.split(limit), rows.split(limit), strict=True)
        losses, gradients = zip(*(self._differentiate(*part) for part in parts), strict=True)
        return torch.cat(losses), torch.cat(gradients)

    def _differentiate(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        with torch.enable_grad():
            filters = filters.detach().requires_grad_()
            loss = self.goal.loss(self.tail(filters, self.inputs[rows]), self.problems[rows])
            (gradient,) = torch.autograd.grad(loss.sum(), filters)
        return loss.detach(), gradient


def closed_forms(whole: TailProblem, constraint: Constraint, takes: Callable[[type], bool]) -> Iterator[ClosedForm]:
    """Closed forms of every problem, the likelier first, each stated only when it is asked for.

    Args:
        whole: every problem of a goal.
        constraint: the feasible set. Without negative weights in it, the tail may answer to them as it likes.
        takes: says whether the solver solves problems of a kind under this constraint.

    Yields:
        Problems of m rows in float64, none of them if the goal has no closed form that the solver takes, if it would
        take matrices that are too large, or if the tail is known not to be affine. A linear one is the tangent of the
        loss at the filter of ones; the others are the loss of the tail's response to single positions. Whether the
        tail agrees is for the caller to check.
    """
    goal, tail = whole.goal, whole.tail
    if goal.closed is None or not takes(goal.closed) or (goal.closed.needs_jacobian and not _fits(whole)):
        return
    above, below = AffineResponse(tail), AffineResponse(tail, -1.0)
    sphere = sphere_of(constraint)
    is_likely = is_straight if sphere is not None and sphere.nonnegative else is_odd
    if bool(is_likely(tail).any()):
        if not goal.closed.needs_jacobian:
            yield goal.problem(_Sides(above))
        elif above.pooled_jacobian is not None or bool(is_affine(tail).any()):
            yield _spanned(goal, _Sides(above)) if takes(Spanned) else goal.problem(_Sides(above))
    if not (goal.closed.is_two_sided and takes(TwoSided) and bool(is_straight(tail).any())):
        return
    # Two Jacobians are tried on trust only where each costs no more than one small pass.
    if not goal.closed.needs_jacobian or all(side.pooled_jacobian is not None for side in (above, below)):
        yield TwoSided(goal.problem(_Sides(above, below)))


def tangent(tail: Tail, weights: Float[Tensor, "m n"]) -> Filters:
    """Gradients J^T s (m, p) at the filter of ones, in float64, of sums of the output with weights s."""
    return _Sides(AffineResponse(tail)).pullback(weights.unflatten(0, (tail.n_inputs, -1))).flatten(0, 1)


def _fits(whole: TailProblem) -> bool:
    """Whether J is small enough. An output of a million pixels has products with J, but no J."""
    p, n = whole.n_positions, whole.tail.reference.shape[1]
    return 8 * whole.n_problems * n * p <= LARGEST_JACOBIAN and min(p, n) <= LARGEST_MATRIX


class _Sides(Response):
    """The response of a tail to filters f, or to (max(f, 0), min(f, 0)) where the sides have columns of their own."""

    def __init__(self, *sides: AffineResponse) -> None:
        self.sides = sides
        self.tail = sides[0].tail

    def offset(self) -> Outputs:
        return self.tail.constant(0.0)

    def reference(self) -> Outputs:
        return self.tail.reference

    def ones(self) -> Float[Tensor, "b q"]:
        shape, device = (self.tail.n_inputs, self.tail.n_positions), self.tail.features.device
        parts = [torch.full(shape, weight, dtype=torch.float64, device=device) for weight in (1.0, 0.0)]
        return torch.cat(parts[: len(self.sides)], dim=1)  # nothing of the filter of ones is negative

    def jacobian(self) -> Float[Tensor, "b n q"]:
        columns = [side.jacobian for side in self.sides]
        return columns[0] if len(columns) == 1 else torch.cat(columns, dim=-1)

    def pullback(self, weights: Float[Tensor, "b k n"]) -> Float[Tensor, "b k q"]:
        parts = weights.split(OUTPUTS_AT_ONCE, dim=1)
        columns = [torch.cat([side.pullback(part) for part in parts], dim=1) for side in self.sides]
        return torch.cat(columns, dim=-1).double()


@dataclass(frozen=True, slots=True)
class _InSpan(Response):
    """The same response in the coordinates x of a subspace, f = basis x."""

    whole: _Sides
    basis: Float[Tensor, "b p q"]
    columns: Float[Tensor, "b n q"]
    uniform: Float[Tensor, "b q"]

    @classmethod
    def of(cls, whole: _Sides) -> "_InSpan":
        """In the span of J's rows, the filter of ones and one direction more, by a QR decomposition in float64."""
        jacobian = whole.jacobian()
        b, n, p = jacobian.shape
        probe = probe_filters(whole.tail).to(jacobian)  # in no span of a few rows, so orthogonal to it in part
        spare = torch.stack([torch.ones_like(probe), probe], dim=-1).expand(b, p, SPARE)
        basis, coordinates = torch.linalg.qr(torch.cat([jacobian.mT, spare], dim=-1).double())
        return cls(whole, basis, coordinates[:, :, :n].mT, coordinates[:, :, n])

    def offset(self) -> Outputs:
        return self.whole.offset()

    def reference(self) -> Outputs:
        return self.whole.reference()

    def ones(self) -> Float[Tensor, "b q"]:
        return self.uniform

    def jacobian(self) -> Float[Tensor, "b n q"]:
        return self.columns

    def pullback(self, weights: Float[Tensor, "b k n"]) -> Float[Tensor, "b k q"]:
        return weights.to(self.columns) @ self.columns


def _spanned(goal: Goal, response: _Sides) -> ClosedForm:
    """The problem in the span of J's rows, where there are far fewer of them than positions."""
    b, n, p = response.jacobian().shape
    if p < SPAN_PAYS * (n + SPARE):
        return goal.problem(response)
    span = _InSpan.of(response)
    return Spanned(goal.problem(span), span.basis.repeat_interleave(goal.per_input(b), dim=0))
