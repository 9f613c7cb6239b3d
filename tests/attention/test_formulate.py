"""Problems stated from networks, against the networks themselves."""

from collections.abc import Callable

import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf import L2CAF, ClassSpecific, Oblivious, Similar, UnitL2
from l2caf.attention.formulate import TailProblem, closed_forms, tangent
from l2caf.goals import LinearGoal
from l2caf.objectives import Objective
from l2caf.problem import Constraint, Cosine, Linear, Quadratic, Spanned, TwoSided
from l2caf.tail import Tail

NONNEGATIVE = UnitL2(nonnegative=True)


def every(kind: type) -> bool:
    """What a solver says that takes every kind."""
    del kind
    return True


def stated(tail: Tail, objective: Objective) -> TailProblem:
    targets = torch.tensor([[1, 0]]).expand(tail.n_inputs, -1) if isinstance(objective, ClassSpecific) else None
    return TailProblem.of(tail, objective.goal(tail.reference, targets))


@pytest.mark.parametrize(
    ("make", "objective", "constraint", "kinds"),
    [
        (networks.gap, ClassSpecific(), UnitL2(), [Linear, TwoSided]),
        (networks.gap, ClassSpecific(), NONNEGATIVE, [Linear, TwoSided]),
        (networks.gap, Oblivious(), UnitL2(), [Spanned, TwoSided]),
        (networks.gap, Similar(), UnitL2(), [Spanned]),
        (lambda: networks.gap(classes=40), Oblivious(), UnitL2(), [Quadratic, TwoSided]),
        (lambda: networks.gap(classes=40), Similar(), UnitL2(), [Cosine]),
        (networks.FunctionalInPlace, ClassSpecific(), UnitL2(), [TwoSided]),
        (networks.FunctionalInPlace, ClassSpecific(), NONNEGATIVE, [Linear, TwoSided]),
        (networks.FunctionalInPlace, Similar(), UnitL2(), []),
        (networks.fully_connected, ClassSpecific(), UnitL2(), []),
        (networks.fully_connected, Oblivious(), UnitL2(), []),
    ],
)
def test_a_tail_and_an_objective_have_the_closed_forms_of_their_kind(
    make: Callable[[], nn.Module], objective: Objective, constraint: Constraint, kinds: list[type]
) -> None:
    with L2CAF(networks.seeded(make())).cut(networks.pictures()) as cut:
        problems = closed_forms(stated(cut.tail, objective), constraint, every)
        assert [type(problem) for problem in problems] == kinds


@pytest.mark.parametrize(
    "objective", [Oblivious(), Oblivious(top=2), ClassSpecific(), Similar(), Similar(measure="dot")]
)
@pytest.mark.parametrize("make", [networks.gap, networks.Flattening, networks.FunctionalInPlace])
def test_closed_forms_predict_the_losses_of_the_network_at_random_filters(
    make: Callable[[], nn.Module], objective: Objective
) -> None:
    with L2CAF(networks.seeded(make())).cut(networks.pictures()) as cut:
        whole = stated(cut.tail, objective)
        filters = torch.randn(whole.n_problems, whole.n_positions, generator=torch.Generator().manual_seed(0))
        real = whole.value(filters, whole.problems)
        for problem in closed_forms(whole, UnitL2(), every):
            assert torch.allclose(problem.value(filters.double()), real, rtol=1e-3, atol=1e-4)


def test_a_closed_form_that_is_not_taken_is_not_stated() -> None:
    with L2CAF(networks.gap()).cut(networks.pictures()) as cut:
        whole, passes = stated(cut.tail, Oblivious()), cut.tail.n_passes
        assert list(closed_forms(whole, UnitL2(), lambda kind: kind is not Quadratic)) == []
        assert cut.tail.n_passes == passes
        plain = closed_forms(whole, UnitL2(), lambda kind: kind is Quadratic)
        assert [type(problem) for problem in plain] == [Quadratic]


def test_a_tail_that_is_plainly_not_affine_costs_three_passes_of_it() -> None:
    with L2CAF(networks.fully_connected()).cut(networks.pictures(5)) as cut:
        passes = cut.tail.n_passes
        assert list(closed_forms(stated(cut.tail, Oblivious()), UnitL2(), every)) == []
        assert cut.tail.n_passes - passes == 3 * 5  # the filters of -1, of 0 and of 1/2


def test_an_output_too_large_for_a_matrix_has_products_with_the_jacobian_but_no_jacobian(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("l2caf.attention.formulate.LARGEST_JACOBIAN", 100)
    with L2CAF(networks.gap()).cut(networks.pictures()) as cut:
        assert list(closed_forms(stated(cut.tail, Oblivious()), UnitL2(), every)) == []
        assert isinstance(next(closed_forms(stated(cut.tail, ClassSpecific()), UnitL2(), every)), Linear)


def test_gradients_of_a_tails_problem_are_those_of_finite_differences() -> None:
    model, x = networks.fully_connected().double(), networks.pictures(2).double()
    with L2CAF(model).cut(x) as cut:
        whole = stated(cut.tail, ClassSpecific())
        some = TailProblem(cut.tail, whole.goal, torch.tensor([3, 0]))
        assert some.inputs.tolist() == [1, 0]
        generator = torch.Generator().manual_seed(0)
        filters = torch.rand(2, 16, generator=generator, dtype=torch.float64)
        rows, step = torch.arange(2), 1e-6
        _, gradient = some.value_and_gradient(filters, rows)
        for position in (0, 7, 15):
            shift = step * torch.eye(16, dtype=torch.float64)[position]
            difference = (some.value(filters + shift, rows) - some.value(filters - shift, rows)) / (2 * step)
            assert torch.allclose(gradient[:, position], difference, rtol=1e-5, atol=1e-7)


def test_the_tangent_is_the_gradient_of_autograd_at_the_filter_of_ones() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    with L2CAF(model).cut(x) as cut:
        weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
        found = tangent(cut.tail, LinearGoal(weights).direction())
        for problem in range(6):

            def weighted(f: Tensor, problem: int = problem) -> Tensor:
                return (cut.tail(f[None], torch.tensor([problem // 2]))[0] * weights[problem]).sum()

            expected = torch.func.grad(weighted)(torch.ones(16))
            assert torch.allclose(found[problem], expected.double(), atol=1e-5)
