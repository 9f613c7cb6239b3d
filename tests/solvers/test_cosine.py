"""The largest cosine on a sphere, against descent from many starts and against cases known by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l2caf import UnitL2
from l2caf.problem import Cosine
from l2caf.solvers import Certificate, CosineExact, Solution


def random_problem(seed: int, p: int, n: int, bias: float, m: int = 4) -> Cosine:
    generator = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(m, n, p, generator=generator, dtype=torch.float64)
    offset = bias * torch.randn(m, n, generator=generator, dtype=torch.float64)
    partner = torch.nn.functional.normalize(torch.randn(m, n, generator=generator, dtype=torch.float64), dim=1)
    return stated(jacobian, offset, partner)


def stated(jacobian: torch.Tensor, offset: torch.Tensor, partner: torch.Tensor) -> Cosine:
    return Cosine(
        jacobian.mT @ jacobian,
        (jacobian.mT @ partner.unsqueeze(-1)).squeeze(-1),
        (jacobian.mT @ offset.unsqueeze(-1)).squeeze(-1),
        (partner * offset).sum(1),
        offset.square().sum(1),
    )


def on_sphere(filters: torch.Tensor, radius: float = 1.0) -> torch.Tensor:
    return radius * filters / filters.norm(dim=-1, keepdim=True)


def descended(problem: Cosine, radius: float = 1.0, starts: int = 4) -> torch.Tensor:
    """The least loss that L-BFGS finds from random starts."""
    best = torch.full_like(problem.along, torch.inf)
    for seed in range(starts):
        generator = torch.Generator().manual_seed(seed)
        free = torch.randn(problem.slope.shape, generator=generator, dtype=torch.float64, requires_grad=True)
        search = torch.optim.LBFGS([free], max_iter=150, line_search_fn="strong_wolfe", tolerance_change=1e-14)

        def loss(free: torch.Tensor = free, search: torch.optim.LBFGS = search) -> torch.Tensor:
            search.zero_grad()
            value = problem.value(on_sphere(free, radius)).sum()
            value.backward()
            return value

        search.step(loss)
        best = torch.minimum(best, problem.value(on_sphere(free.detach(), radius)))
    return best


def is_global(solution: Solution) -> torch.Tensor:
    return torch.tensor([one is Certificate.GLOBAL for one in solution.certificates])


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(2, 2), (4, 3), (4, 9), (9, 4), (9, 9), (16, 40)]),
    bias=st.sampled_from([0.0, 0.01, 0.3, 1.0, 3.0]),
    radius=st.sampled_from([0.5, 1.0, 1.7]),
)
def test_what_is_called_proven_is_beaten_neither_by_random_filters_nor_by_descent(
    seed: int, shape: tuple[int, int], bias: float, radius: float
) -> None:
    problem = random_problem(seed, *shape, bias)
    solution = CosineExact().solve(problem, UnitL2(radius), {})
    assert torch.allclose(solution.filters.norm(dim=1), torch.full((4,), radius, dtype=torch.float64))
    assert torch.allclose(solution.loss, problem.value(solution.filters))
    generator = torch.Generator().manual_seed(seed + 1)
    random = on_sphere(torch.randn(500, 1, shape[0], generator=generator, dtype=torch.float64), radius)
    beaten = torch.stack([problem.value(filters.expand(4, -1)) for filters in random]).amin(0)
    best = torch.minimum(beaten, descended(problem, radius))
    proven = is_global(solution)
    assert bool((solution.loss <= best + 1e-9)[proven].all())
    assert bool((proven == (best < 1))[(best - 1).abs() > 1e-6].all())  # wherever a cosine above 0 can be reached


def test_without_an_offset_the_cosine_is_that_of_least_squares() -> None:
    problem = random_problem(0, 5, 12, 0.0)
    solution = CosineExact().solve(problem, UnitL2(), {})
    least = torch.linalg.solve(problem.gram, problem.slope)
    assert torch.allclose(solution.filters, on_sphere(least), atol=1e-9)
    assert bool(is_global(solution).all())


def test_a_partner_within_reach_is_reached_whatever_is_left_of_the_norm() -> None:
    problem = random_problem(1, 20, 3, 0.2)
    solution = CosineExact().solve(problem, UnitL2(), {})
    assert torch.allclose(solution.loss, torch.zeros(4, dtype=torch.float64), atol=1e-10)
    assert bool(is_global(solution).all())
    assert not bool(solution.unique.any())


def test_where_no_filter_has_a_positive_cosine_nothing_is_called_proven() -> None:
    offset = torch.tensor([[-5.0, 0.0]], dtype=torch.float64)
    partner = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    solution = CosineExact().solve(stated(torch.eye(2, dtype=torch.float64)[None], offset, partner), UnitL2(), {})
    assert solution.certificates == (Certificate.STOPPED,)
    assert bool(solution.filters.isfinite().all())


def test_a_disc_off_the_origin_seen_along_the_axis() -> None:
    # y = (3, 0) + f with |f| = 1: the directions within asin(1/3) of the axis; v at 45 degrees is nearest at a tangent.
    offset = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    partner = torch.full((1, 2), 0.5**0.5, dtype=torch.float64)
    solution = CosineExact().solve(stated(torch.eye(2, dtype=torch.float64)[None], offset, partner), UnitL2(), {})
    angle = torch.pi / 4 - torch.asin(torch.tensor(1 / 3, dtype=torch.float64))
    assert float(solution.loss) == pytest.approx(1 - float(torch.cos(angle)), abs=1e-10)
    assert solution.certificates == (Certificate.GLOBAL,)
