import math

import pytest
import torch
from scipy.optimize import minimize
from tests.support import networks

from l2caf import L2CAF, Certificate, Descent, Gaussian, QuasiNewton, Softmax, UnitL1, UnitL2
from l2caf.errors import ConstraintError
from l2caf.problem import Constraint, Quadratic
from l2caf.shapes import Filters, Losses, Rows
from l2caf.solvers import Exact


class Bowl:
    """A `Smooth` problem whose minimum on the sphere the exact solver knows."""

    def __init__(self, m: int, p: int) -> None:
        generator = torch.Generator().manual_seed(3)
        jacobian = torch.randn(m, 9, p, generator=generator, dtype=torch.float64)
        wanted = jacobian.sum(-1)
        slope = (jacobian.mT @ wanted.unsqueeze(-1)).squeeze(-1)
        self.quadratic = Quadratic(jacobian.mT @ jacobian, slope, wanted.square().sum(-1))
        self.n_problems, self.n_positions, self.rows_evaluated = m, p, 0

    def value(self, filters: Filters, rows: Rows) -> Losses:
        q = self.quadratic
        return Quadratic(q.gram[rows], q.slope[rows], q.offset[rows]).value(filters)

    def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        self.rows_evaluated += len(rows)
        bent = (self.quadratic.gram[rows] @ filters.unsqueeze(-1)).squeeze(-1)
        return self.value(filters, rows), 2 * (bent - self.quadratic.slope[rows])


def test_on_a_quadratic_loss_it_ends_at_the_exact_solution_within_few_evaluations() -> None:
    bowl = Bowl(5, 16)
    found = QuasiNewton(residual_rtol=1e-7, progress_rtol=1e-9).solve(
        bowl, UnitL2(), {"uniform": torch.ones(5, 16).double()}
    )
    exact = Exact().solve(bowl.quadratic)
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


def test_after_the_race_only_the_best_start_goes_on() -> None:
    bowl = Bowl(3, 6)
    starts = {"ones": torch.ones(3, 6).double(), "axis": torch.eye(6)[:3].double()}
    raced = QuasiNewton(race=(2,), seeds=0).solve(bowl, UnitL2(), starts)
    early = QuasiNewton(max_iterations=2, race=(), seeds=0).solve(bowl, UnitL2(), starts)
    assert raced.start == early.start
    assert raced.start is not None
    for row, name in enumerate(raced.start):  # the leader goes on as it would have gone alone
        alone = QuasiNewton(race=(2,), seeds=0).solve(bowl, UnitL2(), {name: starts[name]})
        assert float(raced.loss[row]) == pytest.approx(float(alone.loss[row]), rel=1e-6)
    assert int(raced.iterations.max()) > 2


def test_half_of_the_starts_stay_in_the_race_at_first() -> None:
    seen: list[int] = []

    class Counting(Bowl):
        def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
            seen.append(len(rows))
            return super().value_and_gradient(filters, rows)

    starts = {"ones": torch.ones(1, 6).double()}
    QuasiNewton(seeds=4, race=(2, 4), residual_rtol=0.0, progress_rtol=-1.0).solve(Counting(1, 6), UnitL2(), starts)
    assert seen[0] == 5
    assert {count for count in seen[1:] if count <= 3} >= {3, 1}
    assert seen[-1] == 1


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
    assert int(ours.iterations.max()) * 4 <= int(theirs.iterations.max())
    assert bool((ours.loss <= ours.uniform_loss).all())


def test_a_batch_is_searched_as_its_rows_one_by_one() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    together, alone = L2CAF(model)(x, "top2"), [L2CAF(model)(one[None], "top2") for one in x]
    assert torch.allclose(together.loss, torch.cat([one.loss for one in alone]), rtol=2e-3, atol=1e-3)


CONSTRAINTS = [UnitL2(2.0), UnitL2(nonnegative=True), UnitL1(), Softmax(), Gaussian(), Gaussian(fit_covariance=True)]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: c.name)
@pytest.mark.parametrize("grid", [(7, 7), (6, 9), (11,), (3, 4, 5)])
def test_filters_are_feasible_on_grids_of_every_rank_and_size(constraint: Constraint, grid: tuple[int, ...]) -> None:
    p, bound = math.prod(grid), constraint.on(grid)
    filters = bound.filters(bound.parameters(torch.randn(4, p)) + torch.randn(bound.parameters(torch.ones(4, p)).shape))
    norm = {"l1": filters.abs().sum(1), "softmax": filters.sum(1)}.get(constraint.name, filters.norm(dim=1))
    assert torch.allclose(norm, torch.full((4,), 2.0 if "radius" in constraint.name else 1.0), atol=1e-5)
    if constraint.name not in {"l1", "l2, radius 2"}:
        assert float(filters.min()) >= 0


@pytest.mark.parametrize("constraint", [UnitL2(), UnitL1(), Softmax(), UnitL2(nonnegative=True)], ids=lambda c: c.name)
def test_parameters_of_a_feasible_filter_give_it_back(constraint: Constraint) -> None:
    feasible = constraint.filters(torch.rand(5, 12) + 0.1)
    assert torch.allclose(constraint.filters(constraint.parameters(feasible)), feasible, atol=1e-5)


def test_a_gaussian_is_the_normal_density_with_the_mean_asked_for() -> None:
    bound = Gaussian(1.5).on((5, 8))
    density = bound.filters(torch.tensor([[1.25, 6.0]])).view(5, 8)
    by_hand = torch.tensor(
        [[math.exp(-((i - 1.25) ** 2 + (j - 6.0) ** 2) / (2 * 1.5**2)) for j in range(8)] for i in range(5)]
    )
    assert torch.allclose(density, by_hand / by_hand.norm(), atol=1e-6)


def test_a_gaussian_finds_the_mode_that_a_generic_solver_finds() -> None:
    model, x = networks.seeded(networks.Flattening()), networks.pictures(1)
    attention = L2CAF(model, constraint=Gaussian())(x)
    with L2CAF(model).cut(x) as cut:
        tail = cut.tail
        bound = Gaussian().on(tail.grid)

        def loss(mean: list[float]) -> float:
            filters = bound.filters(torch.as_tensor(mean, dtype=torch.float32)[None])
            return float((tail.reference - tail(filters, tail.all_rows())).square().sum())

        best = min(minimize(loss, start, method="Nelder-Mead").fun for start in ([1.5, 1.5], [0, 0], [3, 3], [0, 3]))
    assert float(attention.loss) <= best * 1.05


NESTED = (UnitL2(), UnitL2(nonnegative=True), UnitL1(), Softmax(), Gaussian())


def test_losses_are_ordered_as_the_feasible_sets_are_nested() -> None:
    model, x = networks.gap(), networks.pictures()
    loss = {c.name: L2CAF(model, constraint=c)(x).loss for c in NESTED}
    assert bool((loss["l2"] <= loss["l2, nonnegative"] * (1 + 1e-5)).all())
    assert bool((loss["l2, nonnegative"] <= loss["gaussian, sigma 1"] * (1 + 1e-5)).all())
    assert bool((loss["l2"] <= loss["l1"]).all())
    assert bool((loss["l1"] <= loss["softmax"] * (1 + 1e-3)).all())


@pytest.mark.parametrize(
    ("constraint", "message"),
    [("l3", "unknown constraint 'l3'"), (UnitL2(9.0), "admits the all-ones filter"), (Gaussian(99.0), "uniform")],
)
def test_constraints_that_make_no_sense_are_refused(constraint: str | Constraint, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        L2CAF(networks.gap(), constraint=constraint)(networks.pictures())
    for make in (lambda: UnitL2(0.0), lambda: Gaussian(-1.0), lambda: UnitL2(math.nan)):
        with pytest.raises(ConstraintError):
            make()
