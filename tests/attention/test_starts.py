import torch
from tests.support import networks

from l2caf import L2CAF, ClassSpecific, Gaussian, Oblivious, Similar, UnitL2
from l2caf.attention.formulate import TailProblem
from l2caf.attention.starts import TailStarts, uniform_filters


def test_a_search_starts_from_the_uniform_filter_the_energy_and_where_there_is_one_the_tangent() -> None:
    model, x = networks.fully_connected(), networks.pictures()
    with L2CAF(model).cut(x) as cut:
        tail, targets = cut.tail, torch.tensor([[0, 1]] * 3)
        whole = TailProblem.of(tail, ClassSpecific().goal(tail.reference, targets))
        some = TailProblem(tail, whole.goal, torch.tensor([5, 2]))
        starts = TailStarts(some, UnitL2())
        assert list(starts) == ["uniform", "energy", "tangent"]
        assert torch.allclose(starts["uniform"], torch.full((2, 16), 0.25))
        features = model[0](x)  # type: ignore[index]
        assert torch.allclose(starts["energy"], features.norm(dim=1).flatten(1)[[2, 1]], atol=1e-5)
        ones = torch.ones(16, requires_grad=True)
        loss = whole.goal.loss(tail(ones[None], torch.tensor([2])), torch.tensor([5])).sum()
        with torch.enable_grad():
            loss = whole.goal.loss(tail(ones[None], torch.tensor([2])), torch.tensor([5])).sum()
            (gradient,) = torch.autograd.grad(loss, ones)
        assert torch.allclose(starts["tangent"][0], -gradient, atol=1e-5)
        assert list(TailStarts(TailProblem.of(tail, Oblivious().goal(tail.reference, None)), UnitL2())) == [
            "uniform", "energy",
        ]  # fmt: skip


def test_a_start_that_costs_a_pass_costs_it_when_it_is_read() -> None:
    with L2CAF(networks.fully_connected()).cut(networks.pictures()) as cut:
        tail = cut.tail
        starts = TailStarts(TailProblem.of(tail, Similar().goal(tail.reference, None)), UnitL2())
        passes = tail.n_passes
        assert "tangent" in list(starts)
        assert starts["energy"].shape == starts["uniform"].shape
        assert tail.n_passes == passes
        assert starts["tangent"].shape == (3, 16)
        assert tail.n_passes == passes + 3


def test_the_uniform_filter_is_that_of_the_constraint() -> None:
    with L2CAF(networks.fully_connected()).cut(networks.pictures()) as cut:
        tail = cut.tail
        assert torch.allclose(uniform_filters(tail, UnitL2(2.0)), torch.full((3, 16), 0.5))
        centred = uniform_filters(tail, Gaussian().on(tail.grid)).unflatten(1, (4, 4))
        assert torch.allclose(centred, centred.flip(1, 2), atol=1e-6)
        assert float(centred.max() / centred.min()) > 2
