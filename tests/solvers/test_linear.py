import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l2caf import UnitL2
from l2caf.problem import Linear
from l2caf.solvers import Certificate, LinearExact

sizes = st.tuples(st.integers(2, 12), st.integers(1, 15), st.integers(0, 10_000))


@given(sizes, st.floats(0.1, 2.0), st.sampled_from(["mixed", "all positive", "zero"]))
def test_a_linear_loss_under_non_negative_weights(size: tuple[int, int, int], radius: float, kind: str) -> None:
    gradient = torch.randn(1, size[0], dtype=torch.float64, generator=torch.Generator().manual_seed(size[2]))
    gradient = {"mixed": gradient, "all positive": gradient.abs(), "zero": gradient * 0}[kind]
    problem = Linear(gradient, torch.zeros(1, dtype=torch.float64))
    solution = LinearExact().solve(problem, UnitL2(radius, nonnegative=True), {})
    assert float(solution.filters.min()) >= 0
    assert float(solution.filters.norm()) == pytest.approx(radius, rel=1e-9)
    rivals = torch.rand(500, size[0], dtype=torch.float64, generator=torch.Generator().manual_seed(size[2]))
    rivals = torch.cat([rivals**8, torch.eye(size[0], dtype=torch.float64)])  # near the edges, and on them
    rivals *= radius / rivals.norm(dim=1, keepdim=True)
    assert float(problem.value(rivals).min()) >= float(solution.loss) - 1e-9
    assert solution.certificates == (Certificate.GLOBAL,)


def test_a_linear_loss_is_minimised_against_its_gradient() -> None:
    problem = Linear(torch.tensor([[3.0, 0.0, -4.0]]), torch.tensor([1.0]))
    solution = LinearExact().solve(problem, UnitL2(2.0), {})
    assert torch.allclose(solution.filters, torch.tensor([[-1.2, 0.0, 1.6]], dtype=torch.float64))
    assert float(solution.loss) == pytest.approx(1 - 10)


def test_where_no_filter_is_better_the_uniform_one_is_returned_and_called_not_unique() -> None:
    problem = Linear(torch.zeros(2, 4), torch.zeros(2))
    solution = LinearExact().solve(problem, UnitL2(), {})
    assert torch.allclose(solution.filters, torch.full((2, 4), 0.5, dtype=torch.float64))
    assert solution.unique is not None
    assert not bool(solution.unique.any())
