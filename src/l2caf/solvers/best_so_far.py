"""The best filter met, around any solver: a search may end at a worse filter than it has passed."""

from dataclasses import dataclass, replace

import torch

from l2caf.problem import Constraint, Smooth, Starts
from l2caf.shapes import Filters, Losses, Rows
from l2caf.solvers.solution import Certificate, Solution, certified, riemannian_residual
from l2caf.solvers.solver import Solver


@dataclass(frozen=True, slots=True)
class BestSoFar:
    """Runs a solver and returns the filter of least loss among all at which it asked for a gradient.

    Attributes:
        solver: what searches.
        stationary_rtol: the residual up to which the best filter is called stationary.
    """

    solver: Solver[Smooth]
    stationary_rtol: float = 1e-3

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        """The best filter that the solver meets."""
        watched = _Watched(problem)
        solution = self.solver.solve(watched, constraint, starts)
        if watched.filters is None or watched.gradient is None:  # the solver never asked for a gradient
            return solution
        residual = riemannian_residual(watched.filters, watched.gradient)
        residual = torch.where(watched.loss.isfinite(), residual, 1.0)
        return replace(
            solution,
            filters=watched.filters,
            loss=watched.loss,
            residual=residual,
            certificates=certified(residual <= self.stationary_rtol, Certificate.STATIONARY),
        )


class _Watched(Smooth):
    """A problem that remembers the filter of least loss of each row, and the gradient there."""

    def __init__(self, problem: Smooth) -> None:
        self.problem = problem
        self.loss: Losses = torch.full((problem.n_problems,), torch.inf, dtype=torch.float64)
        self.filters: Filters | None = None
        self.gradient: Filters | None = None

    @property
    def n_problems(self) -> int:
        return self.problem.n_problems

    @property
    def n_positions(self) -> int:
        return self.problem.n_positions

    def value(self, filters: Filters, rows: Rows) -> Losses:
        return self.problem.value(filters, rows)

    def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        loss, gradient = self.problem.value_and_gradient(filters, rows)
        if self.filters is None or self.gradient is None:  # only now device and dtype are known
            self.loss = self.loss.to(filters.device)
            self.filters = filters.new_zeros(self.n_problems, filters.shape[1])
            self.gradient = gradient.new_zeros(self.filters.shape)
            self.filters[rows], self.gradient[rows] = filters, gradient
        better = loss < self.loss[rows]
        chosen = rows[better]
        self.loss[chosen] = loss[better].double()
        self.filters[chosen], self.gradient[chosen] = filters[better], gradient[better]
        return loss, gradient
