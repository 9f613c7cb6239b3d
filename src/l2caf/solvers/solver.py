"""What a solver is, and which problems it says it can take."""

from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from l2caf.errors import SolverError
from l2caf.problem import ClosedForm, Constraint, Smooth, Sphere, Starts, sphere_of
from l2caf.solvers.solution import Solution

Problem_contra = TypeVar("Problem_contra", contravariant=True)


@runtime_checkable
class Solver(Protocol[Problem_contra]):
    """One way to find the filters of a problem.

    A solver may also have a method `takes(kind, constraint) -> bool`, which says whether it solves problems of a kind
    (a class of `l2caf.problem`) under a constraint. A solver without it is given `Smooth` problems, which exist for
    every tail, goal and constraint.
    """

    def solve(self, problem: Problem_contra, constraint: Constraint, starts: Starts) -> Solution:
        """The best filter that the solver finds for each row of a problem.

        Args:
            problem: m rows, of a kind that the solver takes.
            constraint: the feasible set, bound to the problem's grid.
            starts: names of starting points and filters (m, p), feasible or not, the uniform one first. Some cost a
                pass of the tail when they are read. Closed solutions use none.

        Returns:
            A solution of m rows. A search that did not converge is no error: its certificate says so.

        Raises:
            SolverError: if the solver does not take the constraint.
        """


def takes(solver: object, kind: type, constraint: Constraint) -> bool:
    """Whether a solver solves problems of a kind under a constraint; without a word of its own, `Smooth` ones only."""
    says = getattr(solver, "takes", None)
    return kind is Smooth if says is None else says(kind, constraint)


class OnSphere:
    """What closed solutions have in common: each is of one kind of problem, on a sphere.

    Attributes:
        kind: the kind of problem.
        or_nonnegative: whether the part of the sphere without negative weights is taken too.
    """

    __slots__ = ()
    kind: ClassVar[type[ClosedForm]]
    or_nonnegative: ClassVar[bool] = False

    def takes(self, kind: type, constraint: Constraint) -> bool:
        """Whether the kind of problem is the solver's own and the constraint a sphere that it takes."""
        sphere = sphere_of(constraint)
        return kind is self.kind and sphere is not None and (self.or_nonnegative or not sphere.nonnegative)

    def sphere(self, constraint: Constraint) -> Sphere:
        """The sphere of a constraint; raises `SolverError` if the solver does not take it."""
        sphere = sphere_of(constraint)
        if sphere is None or not self.takes(self.kind, constraint):
            raise SolverError(
                f"{type(self).__name__} has no solution under {constraint.name}; expected a sphere such as UnitL2(), "
                "or a search such as QuasiNewton()"
            )
        return sphere
