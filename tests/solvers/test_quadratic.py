import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from l2caf import UnitL2
from l2caf.problem import Quadratic
from l2caf.solvers import Certificate, QuadraticExact

sizes = st.tuples(st.integers(2, 12), st.integers(1, 15), st.integers(0, 10_000))


def quadratic(p: int, n: int, seed: int) -> tuple[Quadratic, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    jacobian, wanted = rng.normal(size=(n, p)), rng.normal(size=n) * 3
    problem = Quadratic(
        torch.tensor(jacobian.T @ jacobian)[None],
        torch.tensor(jacobian.T @ wanted)[None],
        torch.tensor([wanted @ wanted]),
    )
    return problem, jacobian, wanted


@given(sizes, st.floats(0.1, 2.0))
def test_solutions_lie_on_the_sphere_and_no_random_point_of_it_is_better(
    size: tuple[int, int, int], radius: float
) -> None:
    problem, _, _ = quadratic(*size)
    solution = QuadraticExact().solve(problem, UnitL2(radius), {})
    assert float(solution.filters.norm()) == pytest.approx(radius, rel=1e-9)
    rivals = torch.randn(500, size[0], dtype=torch.float64, generator=torch.Generator().manual_seed(size[2]))
    rivals *= radius / rivals.norm(dim=1, keepdim=True)
    assert float(problem.value(rivals).min()) >= float(solution.loss) - 1e-9 * float(problem.offset)
    assert solution.certificates == (Certificate.GLOBAL,)


@pytest.mark.parametrize("seed", range(8))
def test_the_minimum_is_that_of_a_generic_solver_started_from_many_points(seed: int) -> None:
    problem, jacobian, wanted = quadratic(6, 9, seed)
    solution = QuadraticExact().solve(problem, UnitL2(), {})

    def loss(x: np.ndarray) -> float:
        return float(np.square(wanted - jacobian @ (x / np.linalg.norm(x))).sum())

    rng = np.random.default_rng(seed)
    best = min(minimize(loss, rng.normal(size=6), method="BFGS", options={"gtol": 1e-9}).fun for _ in range(12))
    assert float(solution.loss) == pytest.approx(best, rel=1e-6)


@given(sizes)
def test_the_optimality_conditions_hold_with_a_multiplier_above_the_lowest_eigenvalue(
    size: tuple[int, int, int],
) -> None:
    problem, _, _ = quadratic(*size)
    f = QuadraticExact().solve(problem, UnitL2(), {}).filters[0]
    gram, slope = problem.gram[0], problem.slope[0]
    multiplier = float(f @ (slope - gram @ f))
    assert torch.allclose(gram @ f + multiplier * f, slope, atol=1e-8 * float(gram.norm() + slope.norm()))
    assert multiplier >= -float(torch.linalg.eigvalsh(gram)[0]) - 1e-8 * float(gram.norm())


def test_the_hard_case_returns_the_minimum_nearest_to_uniform_and_says_it_is_not_unique() -> None:
    # G = diag(0, 0, 4), b = (0, 0, 2): the third weight wants 1/2, the first two are free up to the norm.
    gram = torch.diag(torch.tensor([0.0, 0.0, 4.0], dtype=torch.float64))[None]
    problem = Quadratic(gram, torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64), torch.ones(1).double())
    solution = QuadraticExact().solve(problem, UnitL2(), {})
    share = (0.75 / 2) ** 0.5
    assert torch.allclose(solution.filters, torch.tensor([[share, share, 0.5]], dtype=torch.float64), atol=1e-9)
    assert solution.unique is not None
    assert not bool(solution.unique)


def test_a_batch_is_solved_as_its_rows_one_by_one() -> None:
    problems = [quadratic(7, 5, seed)[0] for seed in range(6)]
    batch = Quadratic(*(torch.cat([getattr(q, name) for q in problems]) for name in ("gram", "slope", "offset")))
    together = QuadraticExact().solve(batch, UnitL2(), {}).filters
    alone = torch.cat([QuadraticExact().solve(q, UnitL2(), {}).filters for q in problems])
    assert torch.allclose(together, alone, atol=1e-10)
