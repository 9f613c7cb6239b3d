import math

import torch

from l2caf import Certificate
from l2caf.solvers import Solution, merged
from l2caf.solvers.solution import certified, riemannian_residual


def solution(m: int, solver: str, *, unique: bool | None = None, start: str | None = None) -> Solution:
    ramp = torch.arange(m, dtype=torch.float64)
    return Solution(
        filters=ramp[:, None].repeat(1, 3),
        loss=ramp,
        certificates=certified(ramp > 0, Certificate.GLOBAL),
        residual=ramp / 10,
        iterations=torch.arange(m),
        solver=solver,
        unique=None if unique is None else torch.full((m,), unique),
        trace=ramp[None, :, None].repeat(2, 1, 3),
        trace_loss=ramp[None].repeat(2, 1),
        start=None if start is None else tuple(f"{start} {i}" for i in range(m)),
        spread=None if start is None else ramp,
    )


def test_the_rows_of_a_solution_carry_everything_that_belongs_to_them() -> None:
    some = solution(4, "a", unique=False, start="s").rows(torch.tensor([3, 0]))
    assert some.filters[:, 0].tolist() == some.loss.tolist() == [3.0, 0.0]
    assert some.certificates == (Certificate.GLOBAL, Certificate.STOPPED)
    assert some.start == ("s 3", "s 0")
    assert some.trace is not None
    assert some.trace[1, :, 0].tolist() == [3.0, 0.0]


def test_merging_puts_one_solvers_rows_into_anothers_and_names_both() -> None:
    both = merged(solution(4, "closed", unique=False), solution(2, "search", start="s"), torch.tensor([1, 3]))
    assert both.loss.tolist() == [0.0, 0.0, 2.0, 1.0]
    assert both.certificates == (
        Certificate.STOPPED, Certificate.STOPPED, Certificate.GLOBAL, Certificate.GLOBAL,
    )  # fmt: skip
    assert both.start == ("closed", "s 0", "closed", "s 1")
    assert both.solver == "closed, search"
    assert both.unique is not None
    assert both.unique.tolist() == [False, True, False, True]
    assert both.spread is not None
    assert both.spread.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_the_residual_is_the_sine_of_the_angle_between_the_gradient_and_the_filter() -> None:
    angles = torch.tensor([0.0, 0.3, math.pi / 2, 2.0], dtype=torch.float64)
    gradient = 7 * torch.stack([angles.cos(), angles.sin()], dim=1)
    filters = torch.tensor([[2.0, 0.0]]).expand(4, -1)
    assert torch.allclose(riemannian_residual(filters, gradient), angles.sin().abs())
    assert float(riemannian_residual(filters[:1], 0 * gradient[:1])) == 0.0
