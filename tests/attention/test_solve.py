"""What is solved in closed form, what is searched, and how it is measured."""

import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf import L2CAF, Certificate, ClassSpecific, Descent, Oblivious, QuasiNewton, UnitL2
from l2caf.attention.solve import solve
from l2caf.errors import SolverError


class Partly(nn.Module):
    """A tail that is affine for pictures whose first pixel is dark, and bent for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.features(x).mean((2, 3))
        return self.fc(pooled + (x[:, :1, 0, 0] > 0) * pooled.square())


BRIGHT = [True, False, False, True]


def pictures() -> Tensor:
    x = networks.pictures(4)
    x[:, 0, 0, 0] = torch.tensor([1.0 if bright else -1.0 for bright in BRIGHT])
    return x


@pytest.mark.parametrize("target", [None, "top2"])
def test_only_the_inputs_of_a_batch_whose_tail_is_not_affine_are_searched(target: str | None) -> None:
    caf = L2CAF(networks.seeded(Partly()))
    attention, alone = caf(pictures(), target), [caf(one[None], target) for one in pictures()]
    assert attention.evidence.solver == "exact, quasi-newton"
    assert [one.evidence.solver for one in alone] == ["quasi-newton" if bright else "exact" for bright in BRIGHT]
    for bright, row, starts in zip(BRIGHT, attention.certificate, attention.evidence.start, strict=True):
        assert {one is Certificate.GLOBAL for one in row} == {not bright}
        assert {one == "exact" for one in starts} == {not bright}
    assert torch.allclose(attention.loss, torch.cat([one.loss for one in alone]), rtol=1e-3, atol=1e-4)


def test_exact_names_the_inputs_that_it_cannot_solve() -> None:
    with pytest.raises(SolverError, match=r"no closed form under l2 for inputs \[0, 3\]: the tail is not affine"):
        L2CAF(networks.seeded(Partly()), solver="exact")(pictures())


@pytest.mark.parametrize("solver", ["auto", "exact", "quasi-newton", "descent", QuasiNewton(seeds=0), Descent(seed=2)])
def test_every_solver_reports_the_losses_that_the_network_has_under_its_filters(solver: object) -> None:
    model, x = networks.gap(), networks.pictures()
    with L2CAF(model).cut(x) as cut:
        tail, targets = cut.tail, torch.tensor([[0, 2]] * 3)
        for objective, chosen in ((ClassSpecific(), targets), (Oblivious(), None)):
            solved = solve(tail, objective.goal(tail.reference, chosen), solver, UnitL2().on(tail.grid))  # type: ignore[arg-type]
            filters = solved.solution.filters.float().unflatten(0, (3, -1))
            uniform = torch.full((3, 64), 1 / 8)
            for found, losses in ((filters[:, 0], solved.solution.loss), (uniform, solved.uniform_loss)):
                maps = model[0](x) * found.unflatten(1, (1, 8, 8))  # type: ignore[index]
                outputs = model[1:](maps).double()  # type: ignore[index]
                apart, spoken = (tail.reference - outputs).square().sum(1), outputs.sum(1) - 2 * outputs[:, 0]
                by_hand = apart if chosen is None else spoken
                assert torch.allclose(losses.unflatten(0, (3, -1))[:, 0], by_hand, rtol=1e-4, atol=1e-5)


def test_a_loss_of_zero_is_certified_whichever_solver_found_it() -> None:
    model = networks.gap(classes=2)  # two components, and 64 weights to meet them with
    attention = L2CAF(model, solver="quasi-newton", constraint=UnitL2(7.9))(networks.pictures())
    assert bool((attention.loss < 1e-6).all())
    assert set(attention.certificate.flat) == {Certificate.GLOBAL}


def test_an_unknown_solver_is_refused_by_name() -> None:
    with pytest.raises(SolverError, match="unknown solver 'newton'"):
        L2CAF(networks.gap(), solver="newton")(networks.pictures())
