import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from tests.support import networks

from l2caf import L2CAF, Certificate, Descent, UnitL2
from l2caf.problem import Linear, Quadratic, TwoSided
from l2caf.solvers import TwoSidedExact


def random_filters(n: int, p: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    filters = torch.randn(n, p, generator=generator, dtype=torch.float64)
    filters[::3] *= (torch.rand(filters[::3].shape, generator=generator) < 0.5).double() + 1e-12
    return filters / filters.norm(dim=1, keepdim=True)


def columns(p: int, n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 2 * p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 200), st.sampled_from([1.0, -1.0]))
def test_no_random_filter_beats_the_linear_solution_even_where_every_position_costs(seed: int, side: float) -> None:
    slopes = columns(5, 1, seed)
    if side < 0:  # both sides cost at every position: the filter goes to the cheapest one
        slopes = torch.cat([slopes[:, :5].abs(), -slopes[:, 5:].abs()], dim=1)
    problem = TwoSided(Linear(slopes, torch.zeros(1, dtype=torch.float64)))
    solution = TwoSidedExact().solve(problem, UnitL2(), {})
    rivals = torch.cat([random_filters(2000, 5, seed), torch.eye(5).double(), -torch.eye(5).double()])
    assert solution.certificates == (Certificate.GLOBAL,)
    assert torch.allclose(solution.filters.norm(dim=1), torch.ones(1, dtype=torch.float64))
    assert float(problem.value(rivals).min()) >= float(solution.loss[0]) - 1e-12


def best_of_all_patterns(problem: TwoSided, p: int) -> float:
    """Brute force: a generic local solver from a start in every orthant."""

    def loss(free: list[float]) -> float:
        f = torch.as_tensor(free, dtype=torch.float64)
        return float(problem.value((f / f.norm())[None]))

    starts = itertools.product([1.0, -1.0], repeat=p)
    return min(float(minimize(loss, start, method="BFGS", options={"gtol": 1e-7}).fun) for start in starts)


def test_the_quadratic_solution_is_mostly_the_best_of_all_sign_patterns_and_never_far_from_it() -> None:
    p, reached = 4, []
    for seed in range(6):
        jacobian = columns(p, 7, seed)
        wanted = jacobian[:, :p].sum(1)  # what the all-ones filter says
        unfolded = Quadratic((jacobian.mT @ jacobian)[None], (jacobian.mT @ wanted)[None], wanted.square().sum()[None])
        problem = TwoSided(unfolded)
        solution = TwoSidedExact().solve(problem, UnitL2(), {})
        assert torch.allclose(problem.value(solution.filters), solution.loss)
        best = best_of_all_patterns(problem, p)
        assert float(solution.loss[0]) >= best - 1e-6
        assert float(solution.loss[0]) <= 1.15 * best
        reached.append(float(solution.loss[0]) <= best + 1e-6)
    assert sum(reached) >= 4


def test_a_tail_that_starts_with_a_relu_is_solved_without_iterations_and_better_than_by_descent() -> None:
    model, x = networks.seeded(networks.FunctionalInPlace()), networks.pictures()
    descent = Descent(max_iterations=1500, epsilon=0.0)
    for target in (None, "top3"):
        attention, reference = L2CAF(model)(x, target), L2CAF(model, solver=descent)(x, target)
        assert "descent" not in attention.evidence.solver
        assert bool((attention.loss <= reference.loss + 1e-4 * reference.loss.abs()).all())
        assert int(attention.evidence.iterations.max()) <= 3
    assert all(c is Certificate.GLOBAL for c in attention.certificate.flat)


def test_a_problem_whose_sides_agree_is_solved_as_the_one_sided_one() -> None:
    jacobian = columns(5, 8, 3)[:, :5]
    wanted = jacobian.sum(1)
    both = torch.cat([jacobian, jacobian], dim=1)
    unfolded = Quadratic((both.mT @ both)[None], (both.mT @ wanted)[None], wanted.square().sum()[None])
    solution = TwoSidedExact().solve(TwoSided(unfolded), UnitL2(), {})
    rivals = random_filters(4000, 5, 0)
    losses = (wanted - rivals @ jacobian.T).square().sum(1)
    assert float(solution.loss[0]) <= float(losses.min())
