"""The paper's descent against PyTorch's own Adam."""

import pytest
import torch
from tests.support.problems import Bowl

from l2caf import Certificate, Descent, UnitL2
from l2caf.shapes import Filters, Losses, Rows

LIKE = {"like": torch.ones(1, 6).double()}


def by_torch(bowl: Bowl, steps: int, seed: int) -> torch.Tensor:
    """The filters that torch.optim.Adam visits from the same random start, (steps, m, p)."""
    start = torch.rand(6, generator=torch.Generator().manual_seed(seed)).double()
    free = torch.nn.Parameter((start / start.norm()).repeat(bowl.n_problems, 1))
    adam = torch.optim.Adam([free], lr=0.5)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps)
    visited = []
    for _ in range(steps):
        adam.zero_grad()
        filters = free / free.norm(dim=1, keepdim=True)
        visited.append(filters.detach().clone())
        bowl.value(filters, torch.arange(bowl.n_problems)).sum().backward()
        adam.step()
        schedule.step()
    return torch.stack(visited)


@pytest.mark.parametrize("steps", [2, 40])
def test_it_visits_the_filters_that_torchs_adam_visits_and_returns_the_best(steps: int) -> None:
    bowl = Bowl(3, 6)
    found = Descent(max_iterations=steps, seed=4, epsilon=0.0, keep_trace=True).solve(bowl, UnitL2(), LIKE)
    visited = by_torch(bowl, steps, 4)
    assert found.trace is not None
    assert found.trace_loss is not None
    assert torch.allclose(found.trace, visited, atol=1e-9)
    losses = torch.stack([bowl.value(filters, torch.arange(3)) for filters in visited])
    assert torch.allclose(found.trace_loss, losses)
    assert torch.allclose(found.loss, losses.amin(0))
    assert steps == 40 or bool((losses.amin(0) < losses[-1]).any())  # the best is not the last


def test_a_problem_stops_when_its_loss_has_settled_and_is_stationary_then() -> None:
    found = Descent(epsilon=1e-9, patience=20).solve(Bowl(3, 6), UnitL2(), LIKE)
    assert int(found.iterations.min()) < 1000
    assert len(set(found.iterations.tolist())) > 1
    assert set(found.certificates) == {Certificate.STATIONARY}


def test_a_problem_whose_loss_is_not_finite_stops_at_once_and_the_others_go_on() -> None:
    class Broken(Bowl):
        def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
            loss, gradient = super().value_and_gradient(filters, rows)
            return torch.where(rows == 1, torch.nan, loss), gradient

    found = Descent(max_iterations=30).solve(Broken(3, 6), UnitL2(), LIKE)
    assert found.iterations.tolist() == [30, 1, 30]
    assert found.certificates[1] is Certificate.STOPPED
