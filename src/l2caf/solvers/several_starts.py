"""Several starts around any solver: every start of every problem is a row of one larger problem.

A loss that is not convex has several minima, and which one a search finds depends on where it starts. The solver sees
one problem of s m rows, so that all starts go through the tail in the same passes.
"""

from dataclasses import dataclass, replace

import torch

from l2caf.problem import Constraint, Smooth, Starts
from l2caf.shapes import Filters, Losses, Rows
from l2caf.solvers.solution import Solution
from l2caf.solvers.solver import Solver


@dataclass(frozen=True, slots=True)
class Copies(Smooth):
    """A problem whose m rows are repeated, copies major and rows minor.

    Attributes:
        problem: m rows.
        n_copies: how often each of them is repeated.
    """

    problem: Smooth
    n_copies: int

    @property
    def n_problems(self) -> int:
        """The number of rows of all copies."""
        return self.n_copies * self.problem.n_problems

    @property
    def n_positions(self) -> int:
        """How many weights a filter has."""
        return self.problem.n_positions

    def value(self, filters: Filters, rows: Rows) -> Losses:
        """Losses of filters for the problems that the `rows` are copies of."""
        return self.problem.value(filters, rows % self.problem.n_problems)

    def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        """Losses and their gradients for the problems that the `rows` are copies of."""
        return self.problem.value_and_gradient(filters, rows % self.problem.n_problems)


@dataclass(frozen=True, slots=True)
class SeveralStarts:
    """Runs a solver from every start and keeps the best solution of each problem.

    Attributes:
        solver: what solves from one start.
        seeds: the number of random starts beside the given ones, by turns of positive weights and of both signs.
    """

    solver: Solver[Copies]
    seeds: int = 2

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        """Search from every start."""
        starts = {**starts, **_random(self.seeds, like=next(iter(starts.values())))}
        copies = Copies(problem, len(starts))
        found = self.solver.solve(copies, constraint, {"every start": torch.cat(list(starts.values()))})
        return _best(found, tuple(starts))


def _random(count: int, like: Filters) -> dict[str, Filters]:
    # One draw for all rows, so that the map of a picture does not depend on the batch that it is in.
    draws = {}
    for seed in range(count):
        draw = (torch.rand, torch.randn)[seed % 2]
        start = draw(like.shape[1], generator=torch.Generator().manual_seed(seed // 2))
        draws[f"seed {seed}"] = start.to(like).expand_as(like)
    return draws


def _best(found: Solution, names: tuple[str, ...]) -> Solution:
    """Of solutions from every start, starts major, the best of each problem."""
    loss = found.loss.view(len(names), -1)
    best = torch.where(loss.isfinite(), loss, torch.inf).argmin(dim=0)
    m = loss.shape[1]
    kept = found.rows(best * m + torch.arange(m, device=best.device))
    # A start that the search could not leave says how bad the start is, not how much the minima differ.
    left = torch.ones_like(loss, dtype=torch.bool) if found.live is None else found.live.view_as(loss)
    worst = torch.where(left & ~loss.isnan(), loss, -torch.inf).amax(dim=0)
    spread = (worst - kept.loss).clamp_min(0)
    return replace(kept, start=tuple(names[number] for number in best.tolist()), spread=spread)
