import pytest
import torch

from l2caf import Gaussian, QuasiNewton, UnitL2
from l2caf.errors import SolverError
from l2caf.problem import Cosine, Linear, Quadratic, Smooth, Spanned, TwoSided
from l2caf.solvers import CosineExact, LinearExact, QuadraticExact, TwoSidedExact, takes

KINDS = (Linear, Quadratic, Cosine, TwoSided, Spanned, Smooth)


@pytest.mark.parametrize(
    ("solver", "kind"),
    [(LinearExact(), Linear), (QuadraticExact(), Quadratic), (CosineExact(), Cosine), (TwoSidedExact(), TwoSided)],
)
def test_a_closed_solution_takes_its_own_kind_on_a_sphere(solver: object, kind: type) -> None:
    assert [one for one in KINDS if takes(solver, one, UnitL2())] == [kind]
    assert not any(takes(solver, one, Gaussian()) for one in KINDS)
    assert takes(solver, kind, UnitL2(nonnegative=True)) == (kind is Linear)


def test_a_solver_that_does_not_say_takes_smooth_problems_under_every_constraint() -> None:
    for constraint in (UnitL2(), Gaussian()):
        assert [one for one in KINDS if takes(QuasiNewton(), one, constraint)] == [Smooth]


def test_a_closed_solution_refuses_a_constraint_by_name() -> None:
    problem = Linear(torch.ones(1, 3), torch.zeros(1))
    with pytest.raises(SolverError, match="LinearExact has no solution under gaussian, sigma 1"):
        LinearExact().solve(problem, Gaussian(), {})
    with pytest.raises(SolverError, match="CosineExact has no solution under l2, nonnegative"):
        CosineExact().sphere(UnitL2(nonnegative=True))
