"""The solver for tails that are not affine: L-BFGS from several starts, which race."""

from dataclasses import dataclass

from l2caf.problem import Constraint, Smooth, Starts
from l2caf.solvers.lbfgs import LBFGS
from l2caf.solvers.race import Race
from l2caf.solvers.several_starts import SeveralStarts
from l2caf.solvers.solution import Solution


@dataclass(frozen=True, slots=True)
class QuasiNewton(LBFGS):
    """Options of the quasi-Newton search: those of `LBFGS`, which hold for each start, and how the starts race.

    Attributes:
        seeds: the number of random starts beside the deterministic ones, by turns of positive weights and of both
            signs.
        race: the numbers of steps after each of which a problem goes on from the better half of its starts, and after
            the last from the best alone; empty for all starts to the end.
    """

    seeds: int = 2
    race: tuple[int, ...] = (2, 4, 8)

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        """Search from every start and keep each problem's best."""
        return SeveralStarts(Race(self, self.race), self.seeds).solve(problem, constraint, starts)
