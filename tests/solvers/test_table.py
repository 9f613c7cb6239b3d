import pytest
import torch
from tests.support.problems import Bowl

from l2caf import Descent, QuasiNewton, UnitL1, UnitL2
from l2caf.errors import SolverError
from l2caf.problem import Linear, Quadratic, Smooth, Spanned
from l2caf.solvers import SOLVERS, ByKind, named_solver, takes


def test_each_problem_is_solved_by_the_solver_of_its_kind() -> None:
    bowl, starts = Bowl(1, 5), {"ones": torch.ones(1, 5).double()}
    linear = Linear(torch.tensor([[3.0, -4.0]]), torch.zeros(1))
    assert ByKind().solve(linear, UnitL2(), starts).filters.tolist() == [[-0.6, 0.8]]
    exact, searched = (ByKind().solve(one, UnitL2(), starts) for one in (bowl.quadratic, bowl))
    assert (exact.solver, searched.solver) == ("exact", "quasi-newton")
    assert torch.allclose(exact.loss, searched.loss, rtol=1e-3)
    inner = Spanned(bowl.quadratic, torch.eye(5, dtype=torch.float64)[None])
    assert torch.allclose(ByKind().solve(inner, UnitL2(), starts).loss, exact.loss)


def test_exact_takes_what_auto_takes_but_for_searches() -> None:
    auto, exact = SOLVERS["auto"], SOLVERS["exact"]
    assert takes(auto, Smooth, UnitL1())
    assert not takes(exact, Smooth, UnitL1())
    for solver in (auto, exact):
        assert takes(solver, Quadratic, UnitL2())
        assert not takes(solver, Quadratic, UnitL1())
        assert not takes(solver, Bowl, UnitL2())


def test_names_stand_for_solvers_and_what_is_none_is_refused() -> None:
    assert named_solver("descent") == Descent()
    assert named_solver(QuasiNewton(seeds=3)) == QuasiNewton(seeds=3)
    with pytest.raises(
        SolverError, match=r"unknown solver 'quasi-newtom'; did you mean 'quasi-newton'\?; expected one"
    ):
        named_solver("quasi-newtom")
    with pytest.raises(SolverError, match="is no solver; expected one of auto, exact, quasi-newton, descent, or"):
        named_solver(QuasiNewton)  # type: ignore[arg-type]
