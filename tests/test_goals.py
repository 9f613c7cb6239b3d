"""Goals against their own definition: each closed problem has the losses that the goal gives to the response."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from l2caf.goals import Goal, LinearGoal
from l2caf.objectives import CosineGoal, SquaredGoal
from l2caf.problem import Response


@dataclass(frozen=True)
class Dense(Response):
    """An affine response whose matrix is at hand."""

    c: Tensor
    columns: Tensor

    def offset(self) -> Tensor:
        return self.c

    def reference(self) -> Tensor:
        return self.c + self.columns.sum(-1)

    def ones(self) -> Tensor:
        return torch.ones(len(self.c), self.columns.shape[2], dtype=torch.float64)

    def jacobian(self) -> Tensor:
        return self.columns

    def pullback(self, weights: Tensor) -> Tensor:
        return weights.double() @ self.columns.double()


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


B, K, N, P = 3, 2, 4, 5
GOALS: dict[str, Callable[[], Goal]] = {
    "squared": lambda: SquaredGoal(drawn(B, N, seed=1)),
    "squared, some kept": lambda: SquaredGoal(drawn(B, N, seed=1), (drawn(B, N, seed=2) > 0).double()),
    "squared, two an input": lambda: SquaredGoal(drawn(B * K, N, seed=1), (drawn(B * K, N, seed=2) > 0).double()),
    "linear": lambda: LinearGoal(drawn(B * K, N, seed=3)),
    "cosine": lambda: CosineGoal(drawn(B * K, N, seed=4)),
}


@pytest.mark.parametrize("name", GOALS)
def test_the_closed_problem_has_the_goals_loss_at_every_filter(name: str) -> None:
    goal, response = GOALS[name](), Dense(drawn(B, N, seed=5), drawn(B, N, P, seed=6))
    problem = goal.problem(response)
    assert type(problem) is goal.closed
    k = goal.per_input(B)
    problems = torch.arange(B * k)
    for seed in range(20):
        filters = drawn(B * k, P, seed=100 + seed)
        outputs = response.c[problems // k] + (response.columns[problems // k] @ filters.unsqueeze(-1)).squeeze(-1)
        assert torch.allclose(problem.value(filters), goal.loss(outputs, problems), rtol=1e-9)


@pytest.mark.parametrize("name", GOALS)
def test_rounding_bounds_the_change_of_the_loss_and_no_more_than_it_must(name: str) -> None:
    goal = GOALS[name]()
    problems = torch.arange(B * goal.per_input(B))
    outputs, error = drawn(len(problems), N, seed=7), torch.full((len(problems),), 1e-5, dtype=torch.float64)
    allowed = goal.rounding(outputs, problems, error)
    changes = []
    for seed in range(300):
        shift = torch.nn.functional.normalize(drawn(len(problems), N, seed=200 + seed), dim=1) * error[:, None]
        changes.append((goal.loss(outputs + shift, problems) - goal.loss(outputs, problems)).abs())
    largest = torch.stack(changes).amax(0)
    assert bool((largest <= allowed).all())
    assert float((allowed / largest).min()) <= 5


class OfTheFirst(Goal):
    """A goal of a user: the fourth power of the first component, and nothing beside the loss."""

    def loss(self, outputs: Tensor, problems: Tensor) -> Tensor:
        del problems
        return outputs[:, 0].double() ** 4


def test_a_goal_that_has_only_a_loss_has_one_problem_an_input_no_closed_form_and_rounding_to_first_order() -> None:
    goal, outputs = OfTheFirst(), drawn(B, N, seed=8)
    error = torch.full((B,), 1e-3, dtype=torch.float64)
    assert (goal.per_input(B), goal.closed, goal.direction(), goal.least(lambda: error)) == (1, None, None, None)
    slope = 4 * outputs[:, 0].abs() ** 3
    assert torch.allclose(goal.rounding(outputs, torch.arange(B), error), slope * error)


def test_a_goal_without_a_loss_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="loss"):
        type("Idle", (Goal,), {})()


def test_only_the_squared_goal_knows_when_it_is_reached() -> None:
    error = torch.tensor([0.1, 0.2], dtype=torch.float64)
    least = SquaredGoal(drawn(2, N, seed=1)).least(lambda: error)
    assert torch.allclose(least, torch.tensor([0.01, 0.04], dtype=torch.float64))
    assert LinearGoal(drawn(2, N, seed=1)).least(lambda: error) is None
    assert CosineGoal(drawn(2, N, seed=1)).least(lambda: error) is None


def test_descending_a_goals_direction_lowers_its_loss() -> None:
    for goal in (LinearGoal(drawn(B, N, seed=3)), CosineGoal(drawn(B, N, seed=4))):
        outputs, problems = drawn(B, N, seed=9), torch.arange(B)
        after = outputs - 1e-3 * goal.direction()
        assert bool((goal.loss(after, problems) < goal.loss(outputs, problems)).all())
