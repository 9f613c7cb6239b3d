"""Which solver serves which kind of problem, and which solvers have a name.

A new built-in solver is one file in this folder and one line here.
"""

from dataclasses import dataclass
from inspect import isclass
from typing import Any, Final

from l2caf.errors import SolverError
from l2caf.problem import ClosedForm, Constraint, Cosine, Linear, Quadratic, Smooth, Spanned, Starts, TwoSided
from l2caf.registry import Registry
from l2caf.solvers.cosine import CosineExact
from l2caf.solvers.descent import Descent
from l2caf.solvers.linear import LinearExact
from l2caf.solvers.quadratic import QuadraticExact
from l2caf.solvers.quasi_newton import QuasiNewton
from l2caf.solvers.solution import Solution
from l2caf.solvers.solver import Solver, takes
from l2caf.solvers.spanned import SpannedExact
from l2caf.solvers.two_sided import TwoSidedExact


@dataclass(frozen=True, slots=True)
class ByKind:
    """Solves each problem by the solver that `BY_KIND` names for its kind.

    Attributes:
        smooth: whether `Smooth` problems are taken too, and not those with a closed form alone.
    """

    smooth: bool = True

    def takes(self, kind: type, constraint: Constraint) -> bool:
        """Whether the table has a solver for the kind, and this solver takes the constraint."""
        if kind is Smooth and not self.smooth:
            return False
        return kind in BY_KIND and takes(BY_KIND[kind], kind, constraint)

    def solve(self, problem: ClosedForm | Smooth, constraint: Constraint, starts: Starts) -> Solution:
        """The solution by the solver of the problem's kind."""
        kind = next((base for base in type(problem).__mro__ if base in BY_KIND), Smooth)
        return BY_KIND[kind].solve(problem, constraint, starts)


BY_KIND: Final[dict[type, Solver[Any]]] = {
    Linear: LinearExact(),
    Quadratic: QuadraticExact(),
    Cosine: CosineExact(),
    TwoSided: TwoSidedExact(),
    Spanned: SpannedExact(ByKind()),
    Smooth: QuasiNewton(),
}

SOLVERS: Final = Registry[Solver[Any]]("solver", SolverError)
SOLVERS.register("auto")(ByKind())
SOLVERS.register("exact")(ByKind(smooth=False))
SOLVERS.register("quasi-newton")(QuasiNewton())
SOLVERS.register("descent")(Descent())


def named_solver(value: str | Solver[Any]) -> Solver[Any]:
    """The solver that a name stands for, or the one that is given.

    Args:
        value: a name in `SOLVERS`, `package.module:name`, or an object with a method `solve`.

    Returns:
        The solver.

    Raises:
        SolverError: if there is no such name, or the value is no solver.
    """
    solver = SOLVERS[value] if isinstance(value, str) else value
    if isclass(solver) or not callable(getattr(solver, "solve", None)):
        raise SolverError(
            f"{solver!r} is no solver; expected one of {', '.join(SOLVERS)}, or an object with a method "
            "solve(problem, constraint, starts), such as QuasiNewton(seeds=20)"
        )
    return solver
