"""A race of starts: a search that goes on from fewer and fewer of them.

After each of the given numbers of steps every problem goes on from the better half of its starts, and after the last
from the best alone, which then mostly stays the best. Fewer starts or a shorter race end in worse minima; more starts
and a longer race cost more and find better ones seldom (`benchmarks/inner.py`).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from l2caf.problem import Constraint, Starts
from l2caf.shapes import Flags, Losses, Rows
from l2caf.solvers.several_starts import Copies
from l2caf.solvers.solution import Solution


@runtime_checkable
class Search(Protocol):
    """A search in progress.

    Attributes:
        loss: the losses (m,) of the filters that were reached so far.
        live: whether (m,) the search could leave its start.
    """

    loss: Losses
    live: Flags

    def run(self, limit: int) -> None:
        """Go on until every row is over or has taken `limit` steps since the start."""

    def drop(self, rows: Flags) -> None:
        """End some of the rows (m,) where they are."""

    def solution(self) -> Solution:
        """The filters that every row has reached so far."""


@runtime_checkable
class Stepwise(Protocol):
    """A solver whose search can be halted and looked at."""

    @property
    def max_iterations(self) -> int:
        """The largest number of steps that a search takes."""

    def begin(self, problem: Copies, constraint: Constraint, starts: Starts) -> Search:
        """A search from the first of the starts."""


@dataclass(frozen=True, slots=True)
class Race:
    """Runs a search from every start for some steps, and from the better ones to the end.

    Attributes:
        solver: the solver whose search is raced.
        laps: steps since the start, after each of which starts drop out; empty for all starts to the end.
    """

    solver: Stepwise
    laps: tuple[int, ...] = (2, 4, 8)

    def solve(self, problem: Copies, constraint: Constraint, starts: Starts) -> Solution:
        """Search from every copy's start."""
        search = self.solver.begin(problem, constraint, starts)
        for lap in self.laps:
            search.run(lap)
            stay = 1 if lap == self.laps[-1] else -(-problem.n_copies // 2)
            search.drop(_rank(search, problem.n_copies) >= stay)
        search.run(self.solver.max_iterations)
        return search.solution()


def _rank(search: Search, n_copies: int) -> Rows:
    """The place of each row among the copies of its problem, from 0; those that never left their start come last."""
    loss = torch.where(search.live & search.loss.isfinite(), search.loss, torch.inf)
    return loss.view(n_copies, -1).argsort(dim=0, stable=True).argsort(dim=0).flatten()
