import pytest
import torch
from tests.support import networks
from tests.support.problems import Bowl

from l2caf import L2CAF, Certificate, Descent, QuasiNewton, UnitL2
from l2caf.shapes import Filters, Losses, Rows
from l2caf.solvers import QuadraticExact


def test_on_a_quadratic_loss_it_ends_at_the_exact_solution_within_few_evaluations() -> None:
    bowl = Bowl(5, 16)
    found = QuasiNewton(residual_rtol=1e-7, progress_rtol=1e-9).solve(
        bowl, UnitL2(), {"uniform": torch.ones(5, 16).double()}
    )
    exact = QuadraticExact().solve(bowl.quadratic, UnitL2(), {})
    assert torch.allclose(found.loss, exact.loss, rtol=1e-6)
    assert set(found.certificates) == {Certificate.STATIONARY}
    assert bowl.rows_evaluated < 5 * 60


def test_every_start_is_searched_the_best_is_kept_and_the_worst_is_told() -> None:
    bowl = Bowl(2, 6)
    starts = {"ones": torch.ones(2, 6).double(), "axis": torch.eye(6)[:2].double()}
    options = QuasiNewton(max_iterations=1, seeds=0)
    both = options.solve(bowl, UnitL2(), starts)
    alone = {name: options.solve(bowl, UnitL2(), {name: filters}).loss for name, filters in starts.items()}
    losses = torch.stack([alone["ones"], alone["axis"]])
    assert torch.allclose(both.loss, losses.amin(0))
    assert both.start == tuple(("ones", "axis")[i] for i in losses.argmin(0).tolist())
    assert both.spread is not None
    assert torch.allclose(both.spread, losses.amax(0) - losses.amin(0))


def test_a_dead_start_is_abandoned_and_never_called_stationary() -> None:
    class Flat(Bowl):
        def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
            loss, gradient = super().value_and_gradient(filters, rows)
            flat = (filters > 0).all(dim=-1)
            return torch.where(flat, 100.0, loss), torch.where(flat[:, None], 0.0, gradient)

    starts = {"dead": torch.ones(1, 4).double(), "live": torch.tensor([[1.0, -1.0, 0.5, 0.2]]).double()}
    both = QuasiNewton(seeds=0).solve(Flat(1, 4), UnitL2(), starts)
    only = QuasiNewton(seeds=0).solve(Flat(1, 4), UnitL2(), {"dead": starts["dead"]})
    assert both.start == ("live",)
    assert only.certificates == (Certificate.STOPPED,)


@pytest.mark.parametrize("target", [None, "top2"])
@pytest.mark.parametrize("make", [networks.fully_connected, lambda: networks.seeded(networks.ClassToken())])
def test_it_reaches_the_papers_descent_in_a_fraction_of_its_steps(make: object, target: str | None) -> None:
    model, x = make(), networks.pictures(3, 16 if make is networks.fully_connected else 32)  # type: ignore[operator]
    ours, theirs = L2CAF(model, solver=QuasiNewton(seeds=1))(x, target), L2CAF(model, solver=Descent())(x, target)
    assert bool((ours.loss <= theirs.loss + 0.02 * theirs.loss.abs()).all())
    assert int(ours.evidence.iterations.max()) * 4 <= int(theirs.evidence.iterations.max())
    assert bool((ours.loss <= ours.uniform_loss).all())


def test_a_batch_is_searched_as_its_rows_one_by_one() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    together, alone = L2CAF(model)(x, "top2"), [L2CAF(model)(one[None], "top2") for one in x]
    assert torch.allclose(together.loss, torch.cat([one.loss for one in alone]), rtol=2e-3, atol=1e-3)
