import torch
from tests.support.problems import Bowl

from l2caf import Certificate, UnitL2
from l2caf.problem import Constraint, Smooth, Starts
from l2caf.shapes import Filters, Losses, Rows
from l2caf.solvers import BestSoFar, QuadraticExact, Solution


class Walk:
    """A solver that asks at given filters, one after the other, and returns the last."""

    def __init__(self, *path: Filters) -> None:
        self.path = path

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        del constraint, starts
        rows = torch.arange(problem.n_problems)
        losses = [problem.value_and_gradient(filters, rows)[0] for filters in self.path]
        return Solution(
            self.path[-1], losses[-1], (Certificate.STOPPED,) * len(rows), losses[-1], rows * 0 + len(losses), "walk"
        )


def unit(seed: int) -> Filters:
    filters = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return filters / filters.norm(dim=1, keepdim=True)


def test_each_row_gets_the_best_filter_that_the_solver_met_wherever_it_ends() -> None:
    bowl, path = Bowl(3, 6), [unit(seed) for seed in range(6)]
    losses = torch.stack([bowl.value(filters, torch.arange(3)) for filters in path])
    found = BestSoFar(Walk(*path)).solve(bowl, UnitL2(), {})
    assert torch.equal(found.loss, losses.amin(0))
    assert not torch.equal(found.loss, losses[-1])
    for row, step in enumerate(losses.argmin(0).tolist()):
        assert torch.equal(found.filters[row], path[step][row])
    assert found.iterations.tolist() == [6, 6, 6]
    assert set(found.certificates) == {Certificate.STOPPED}


def test_the_best_filter_is_called_stationary_where_its_own_gradient_says_so() -> None:
    bowl = Bowl(3, 6)
    best = QuadraticExact().solve(bowl.quadratic, UnitL2(), {}).filters
    found = BestSoFar(Walk(best, unit(0))).solve(bowl, UnitL2(), {})
    assert torch.equal(found.filters, best)
    assert set(found.certificates) == {Certificate.STATIONARY}
    assert float(found.residual.max()) < 1e-6


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    class Broken(Bowl):
        def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
            loss, gradient = super().value_and_gradient(filters, rows)
            return torch.where(filters[:, 0] > 0, loss, torch.nan), gradient

    good, bad = unit(0).abs(), -unit(1).abs()
    found = BestSoFar(Walk(bad, good, bad)).solve(Broken(3, 6), UnitL2(), {})
    assert torch.equal(found.filters, good)
    lost = BestSoFar(Walk(bad)).solve(Broken(3, 6), UnitL2(), {})
    assert torch.equal(lost.filters, bad)
    assert lost.residual.tolist() == [1.0, 1.0, 1.0]
    assert bool(lost.loss.isinf().all())
