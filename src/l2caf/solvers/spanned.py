"""Solutions of a problem that is stated in the coordinates of a subspace (`Spanned`)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from l2caf.problem import ClosedForm, Constraint, Spanned, Starts
from l2caf.solvers.solution import Solution
from l2caf.solvers.solver import OnSphere, Solver


@dataclass(frozen=True, slots=True)
class SpannedExact(OnSphere):
    """Solves the inner problem and returns its filters on the whole grid.

    The basis is orthonormal, so the sphere of the coordinates is the sphere of the filters. Without negative weights it
    would not be: a filter's signs are not those of its coordinates.

    Attributes:
        inner: the solver of the inner problem.
    """

    kind: ClassVar[type[ClosedForm]] = Spanned

    inner: Solver[ClosedForm]

    def solve(self, problem: Spanned, constraint: Constraint, starts: Starts) -> Solution:
        """The inner solver's solution, with filters (m, p) in float64."""
        del starts
        solution = self.inner.solve(problem.inner, constraint, {})
        return replace(solution, filters=problem.filters(solution.filters))
