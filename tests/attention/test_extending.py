"""What a user may add without touching l2caf: a constraint, objectives with goals of their own, solvers.

The networks have a grid of two positions where an answer is found by brute force: on the unit circle, by angle.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf import L2CAF, Certificate
from l2caf.errors import SolverError
from l2caf.goals import Goal
from l2caf.problem import ClosedForm, Constraint, Quadratic, Response, Smooth, Sphere, Starts
from l2caf.solvers import Solution

ANGLES = torch.arange(0, 2 * math.pi, 2 * math.pi / 720, dtype=torch.float64)
CIRCLE = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def two_positions(hidden: nn.Module) -> nn.Sequential:
    """A network whose last convolution has a grid of 1 x 2, and a head that is affine if `hidden` is."""
    trunk = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU())
    return networks.seeded(nn.Sequential(trunk, nn.Flatten(), nn.Linear(8, 9), hidden, nn.Linear(9, 4)))  # type: ignore[return-value]


AFFINE, BENT = two_positions(nn.Identity()), two_positions(nn.Tanh())
PICTURES = torch.randn(3, 3, 4, 8, generator=torch.Generator().manual_seed(5))


def by_angle(model: nn.Sequential, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The least of `loss(outputs, reference)` over the unit circle, for each picture, without l2caf."""
    with torch.no_grad():
        features = model[0](PICTURES)
        outputs = [model[1:](features * f.float().view(1, 1, 1, 2)).double() for f in CIRCLE]
        return torch.stack([loss(one, model(PICTURES).double()) for one in outputs]).amin(0)


@dataclass(frozen=True)
class Stripes:
    """A constraint of a user: unit norm, and one weight for each column of the grid."""

    grid: tuple[int, ...] = ()
    name: str = "stripes"

    def on(self, grid: tuple[int, ...]) -> Constraint:
        return Stripes(grid)

    def filters(self, parameters: Tensor) -> Tensor:
        rows = parameters.unsqueeze(1).expand(-1, self.grid[0], -1).flatten(1)
        return rows / rows.norm(dim=1, keepdim=True)

    def parameters(self, filters: Tensor) -> Tensor:
        return filters.unflatten(1, self.grid).mean(1)

    def scale(self, parameters: Tensor) -> Tensor:
        return parameters.norm(dim=1) * self.grid[0] ** 0.5


STRIPES = Stripes()


@pytest.mark.parametrize("constraint", [STRIPES, f"{__name__}:STRIPES"], ids=["object", "name"])
def test_a_constraint_of_ones_own_is_searched_to_its_optimum(constraint: str | Constraint) -> None:
    model, x = networks.seeded(networks.Flattening()), networks.pictures()
    attention = L2CAF(model, constraint=constraint)(x, 1)
    ones = torch.ones(4, 4, requires_grad=True)
    outputs = model.head((model.trunk(x) * ones).flatten(1))  # type: ignore[operator]
    for row in range(3):  # a linear loss is least against its gradient, summed down each column
        (gradient,) = torch.autograd.grad(outputs[row].sum() - 2 * outputs[row, 1], ones, retain_graph=True)
        best = -gradient.sum(0) / gradient.sum(0).norm() / 2
        assert torch.allclose(attention.filter[row, 0], best.expand(4, 4), atol=2e-3)
    assert attention.evidence.solver == "quasi-newton"


@dataclass(frozen=True)
class Small(Stripes):
    """A constraint of a user that is a sphere, and says so."""

    sphere: Sphere = field(default_factory=lambda: Sphere(0.5))

    def on(self, grid: tuple[int, ...]) -> Constraint:
        return Small(grid)

    def filters(self, parameters: Tensor) -> Tensor:
        return 0.5 * parameters / parameters.norm(dim=1, keepdim=True)

    def parameters(self, filters: Tensor) -> Tensor:
        return filters


def test_a_constraint_of_ones_own_that_is_a_sphere_is_solved_in_closed_form() -> None:
    attention = L2CAF(networks.gap(), constraint=Small())(networks.pictures(), "top2")
    usual = L2CAF(networks.gap())(networks.pictures(), "top2")
    assert attention.evidence.solver == "exact"
    assert torch.allclose(attention.filter, usual.filter / 2, atol=1e-6)


class Probability(Goal):
    """A goal of a user: -log of the softmax probability of the largest class, and nothing but that loss."""

    def __init__(self, classes: Tensor) -> None:
        self.classes = classes

    def loss(self, outputs: Tensor, problems: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.double(), self.classes[problems], reduction="none")


class Confident:
    """An objective of a user."""

    def goal(self, reference: Tensor, targets: Tensor | None) -> Goal:
        assert targets is None
        return Probability(reference.argmax(1))


@pytest.mark.parametrize("model", [AFFINE, BENT], ids=["affine", "bent"])
def test_an_objective_whose_goal_has_only_a_loss_is_searched_to_the_best_angle(model: nn.Sequential) -> None:
    attention = L2CAF(model, "0", objective=Confident())(PICTURES)
    best = by_angle(model, lambda y, nt: -y.log_softmax(1).gather(1, nt.argmax(1, keepdim=True)).squeeze(1))
    assert attention.evidence.solver == "quasi-newton"
    assert torch.allclose(attention.loss[:, 0], best, atol=1e-4)
    with pytest.raises(SolverError, match="no closed form"):
        L2CAF(model, "0", objective=Confident(), solver="exact")(PICTURES)


@dataclass(frozen=True)
class Weighted(Goal):
    """A goal of a user with a closed form: the squared distance, weighted by component."""

    closed: ClassVar[type[ClosedForm]] = Quadratic

    wanted: Tensor
    weights: Tensor

    def loss(self, outputs: Tensor, problems: Tensor) -> Tensor:
        return ((outputs.double() - self.wanted[problems]).square() * self.weights).sum(1)

    def problem(self, response: Response) -> Quadratic:
        columns, apart = response.jacobian().double(), self.wanted - response.offset().double()
        weighted = columns.mT * self.weights
        slope = (weighted @ apart.unsqueeze(-1)).squeeze(-1)
        return Quadratic(weighted @ columns, slope, (apart.square() * self.weights).sum(1), response.ones())


WEIGHTS = torch.tensor([1.0, 5.0, 0.0, 2.0], dtype=torch.float64)


class Keeping:
    """An objective of a user: keep the output, some components more than others."""

    def goal(self, reference: Tensor, targets: Tensor | None) -> Goal:
        assert targets is None
        return Weighted(reference.double(), WEIGHTS)


@pytest.mark.parametrize(("model", "solver"), [(AFFINE, "exact"), (BENT, "quasi-newton")], ids=["affine", "bent"])
def test_an_objective_whose_goal_states_a_closed_form_is_solved_exactly_where_the_tail_is_affine(
    model: nn.Sequential, solver: str
) -> None:
    attention = L2CAF(model, "0", objective=Keeping())(PICTURES)
    best = by_angle(model, lambda y, nt: ((y - nt).square() * WEIGHTS).sum(1))
    assert attention.evidence.solver == solver
    assert torch.allclose(attention.loss[:, 0], best, rtol=1e-3)
    assert all((row[0] is Certificate.GLOBAL) == (solver == "exact") for row in attention.certificate)


class ByAngle:
    """A solver of a user: tries every angle of a grid of two positions."""

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        m, like = problem.n_problems, next(iter(starts.values()))
        filters = constraint.filters(CIRCLE.to(like))
        losses = torch.stack([problem.value(f.expand(m, -1), torch.arange(m)) for f in filters])
        best, nothing = losses.argmin(0), torch.zeros(m, dtype=torch.float64)
        stopped, tried = (Certificate.STOPPED,) * m, torch.full((m,), len(filters))
        return Solution(filters[best], losses.amin(0), stopped, nothing, tried, "by angle")


BY_ANGLE = ByAngle()


@pytest.mark.parametrize("model", [AFFINE, BENT], ids=["affine", "bent"])
@pytest.mark.parametrize("target", [None, "top2"])
def test_a_solver_of_ones_own_works_for_every_tail_and_goal(model: nn.Sequential, target: str | None) -> None:
    attention = L2CAF(model, "0", solver=f"{__name__}:BY_ANGLE")(PICTURES, target)
    ours = L2CAF(model, "0")(PICTURES, target)
    assert attention.evidence.solver == "by angle"
    assert torch.allclose(attention.loss, ours.loss, rtol=1e-3, atol=1e-5)
    if target is None:
        best = by_angle(model, lambda y, nt: (y - nt).square().sum(1))
        assert torch.allclose(attention.loss[:, 0], best, rtol=1e-5)


class Quadratics:
    """A solver of a user that takes problems of one kind alone."""

    def takes(self, kind: type, constraint: Constraint) -> bool:
        return kind is Quadratic and constraint.name == "l2"

    def solve(self, problem: Quadratic, constraint: Constraint, starts: Starts) -> Solution:
        del constraint, starts
        losses = torch.stack([problem.value(f.expand(len(problem.slope), -1)) for f in CIRCLE])
        best, m = losses.argmin(0), len(problem.slope)
        nothing = torch.zeros(m, dtype=torch.float64)
        return Solution(CIRCLE[best], losses.amin(0), (Certificate.STOPPED,) * m, nothing, nothing.long(), "mine")


def test_a_solver_that_says_what_it_takes_is_given_nothing_else() -> None:
    attention = L2CAF(AFFINE, "0", solver=Quadratics())(PICTURES)
    assert attention.evidence.solver == "mine"
    assert torch.allclose(attention.loss, L2CAF(AFFINE, "0")(PICTURES).loss, rtol=1e-3)
    for model, target in ((BENT, None), (AFFINE, 1)):
        with pytest.raises(SolverError, match="no closed form"):
            L2CAF(model, "0", solver=Quadratics())(PICTURES, target)


def test_a_solver_that_returns_too_few_filters_is_named() -> None:
    class Short(ByAngle):
        def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
            return super().solve(problem, constraint, starts).rows(torch.tensor([0]))

    with pytest.raises(SolverError, match=r"Short object .* returned filters of shape \(1, 2\); expected \(3, 2\)"):
        L2CAF(AFFINE, "0", solver=Short())(PICTURES)
