import torch
from tests.support.problems import Bowl

from l2caf import Certificate, UnitL2
from l2caf.problem import Constraint, Smooth, Starts
from l2caf.solvers import SeveralStarts, Solution


class Stay:
    """A solver that returns its start."""

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        filters = constraint.filters(constraint.parameters(next(iter(starts.values()))))
        loss = problem.value(filters, torch.arange(problem.n_problems))
        return Solution(
            filters,
            loss,
            (Certificate.STOPPED,) * len(loss),
            torch.ones_like(loss),
            torch.zeros(len(loss)).long(),
            "stay",
        )


STARTS = {"ones": torch.ones(2, 6).double(), "axis": torch.eye(6)[:2].double(), "minus": -torch.ones(2, 6).double()}


def test_any_solver_runs_from_every_start_and_each_problem_keeps_its_best() -> None:
    bowl = Bowl(2, 6)
    bowl.quadratic.slope[1] *= -1  # what is best for one row is worst for the other
    losses = torch.stack([Stay().solve(bowl, UnitL2(), {name: filters}).loss for name, filters in STARTS.items()])
    found = SeveralStarts(Stay(), seeds=0).solve(bowl, UnitL2(), STARTS)
    assert torch.equal(found.loss, losses.amin(0))
    assert found.start == tuple(list(STARTS)[i] for i in losses.argmin(0).tolist())
    assert len(set(found.start)) == 2
    assert found.spread is not None
    assert torch.allclose(found.spread, losses.amax(0) - losses.amin(0))
    assert torch.allclose(bowl.value(found.filters, torch.arange(2)), found.loss)


def test_seeds_add_starts_of_positive_weights_and_of_both_signs_that_are_the_same_for_every_row() -> None:
    seen: list[torch.Tensor] = []

    class Spy(Stay):
        def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
            seen.append(next(iter(starts.values())))
            return super().solve(problem, constraint, starts)

    SeveralStarts(Spy(), seeds=3).solve(Bowl(2, 6), UnitL2(), {"ones": STARTS["ones"]})
    ones, positive, signed, other = seen[0].unflatten(0, (4, 2))
    assert torch.equal(ones, STARTS["ones"])
    assert float(positive.min()) >= 0
    assert float(signed.min()) < 0 < float(signed.max())
    assert not torch.equal(positive, other)
    assert torch.equal(positive[0], positive[1])


def test_a_start_that_cannot_be_left_does_not_count_in_the_spread_and_a_loss_that_is_not_finite_never_wins() -> None:
    class Marked(Stay):
        def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
            solution = super().solve(problem, constraint, starts)
            loss = torch.tensor([5.0, 2.0, torch.nan], dtype=torch.float64)
            live = torch.tensor([False, True, True])
            return Solution(
                solution.filters, loss, solution.certificates, loss, solution.iterations, "marked", live=live
            )

    found = SeveralStarts(Marked(), seeds=0).solve(Bowl(1, 6), UnitL2(), {n: f[:1] for n, f in STARTS.items()})
    assert found.start == ("axis",)
    assert found.spread is not None
    assert found.spread.tolist() == [0.0]
