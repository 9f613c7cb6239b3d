import math

import pytest
import torch
from scipy.optimize import minimize
from tests.support import networks

from l2caf import L2CAF, Gaussian, Softmax, UnitL1, UnitL2
from l2caf.constraints import CONSTRAINTS, named_constraint
from l2caf.errors import ConstraintError
from l2caf.problem import Constraint, Sphere, sphere_of

EVERY = [UnitL2(2.0), UnitL2(nonnegative=True), UnitL1(), Softmax(), Gaussian(), Gaussian(fit_covariance=True)]


@pytest.mark.parametrize("constraint", EVERY, ids=lambda c: c.name)
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


def test_a_name_stands_for_its_constraint_and_what_is_none_is_refused() -> None:
    assert named_constraint("l1") == UnitL1()
    with pytest.raises(ConstraintError, match="expected one of l2, l1, softmax, gaussian, or an object"):
        named_constraint(UnitL2)  # type: ignore[arg-type]


def test_only_the_sphere_opens_closed_solutions() -> None:
    assert sphere_of(UnitL2(2.0, nonnegative=True)) == Sphere(2.0, nonnegative=True)
    assert [name for name in CONSTRAINTS if sphere_of(CONSTRAINTS[name]) is not None] == ["l2"]


@pytest.mark.parametrize("constraint", [UnitL2(2.0), UnitL2(nonnegative=True), UnitL1(), Softmax(), Gaussian(0.7)])
def test_the_scale_turns_a_slope_into_at_most_the_size_of_the_gradient(constraint: Constraint) -> None:
    bound = constraint.on((3, 4))
    parameters = bound.parameters(torch.rand(8, 12) + 0.05).requires_grad_()
    gradient = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad(bound.filters(parameters), parameters, gradient)
    share = slope.norm(dim=1) * bound.scale(parameters.detach()) / gradient.norm(dim=1)
    assert float(share.max()) < 3
    assert float(share.max()) > 0.05
