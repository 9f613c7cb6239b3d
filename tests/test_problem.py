"""The value of each kind of problem, against the response that it was stated from."""

import torch
from torch import Tensor

from l2caf import Gaussian, UnitL2
from l2caf.problem import Cosine, Linear, Quadratic, Spanned, Sphere, TwoSided, sphere_of

M, N, P = 2, 3, 6


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


C, J, V, FILTERS = drawn(M, N, seed=0), drawn(M, N, P, seed=1), drawn(M, N, seed=2), drawn(M, P, seed=3)


def along(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def quadratic(columns: Tensor) -> Quadratic:
    wanted = V - C
    return Quadratic(columns.mT @ columns, along(columns.mT, wanted), wanted.square().sum(1))


def test_linear_quadratic_and_cosine_values_are_those_of_the_response() -> None:
    outputs = C + along(J, FILTERS)
    linear = Linear(along(J.mT, V), (C * V).sum(1))
    assert torch.allclose(linear.value(FILTERS), (outputs * V).sum(1))
    assert torch.allclose(quadratic(J).value(FILTERS), (V - outputs).square().sum(1))
    unit = V / V.norm(dim=1, keepdim=True)
    cosine = Cosine(J.mT @ J, along(J.mT, unit), along(J.mT, C), (unit * C).sum(1), C.square().sum(1))
    expected = 1 - torch.nn.functional.cosine_similarity(outputs, V)
    assert torch.allclose(cosine.value(FILTERS), expected)


def test_a_spanned_problem_has_the_value_of_the_whole_one_and_gives_filters_back() -> None:
    basis, coordinates = torch.linalg.qr(torch.cat([J.mT, drawn(M, P, 1, seed=4)], dim=-1))
    spanned = Spanned(quadratic(coordinates[:, :, :N].mT), basis)
    assert torch.allclose(spanned.value(FILTERS), quadratic(J).value(FILTERS))
    x = drawn(M, N + 1, seed=5)
    assert torch.allclose(spanned.value(spanned.filters(x)), spanned.inner.value(x))


def test_a_two_sided_problem_takes_the_column_of_each_weights_sign() -> None:
    below = drawn(M, N, P, seed=6)
    outputs = C + along(torch.where(FILTERS.unsqueeze(1) > 0, J, below), FILTERS)
    problem = TwoSided(quadratic(torch.cat([J, below], dim=-1)))
    assert torch.allclose(problem.value(FILTERS), (V - outputs).square().sum(1))


def test_a_constraint_that_does_not_say_is_no_sphere() -> None:
    assert sphere_of(UnitL2(0.5)) == Sphere(0.5)
    assert sphere_of(Gaussian()) is None
