"""Inputs and networks with nothing to look at: a clear error, and the network as it was."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.errors import FeatureError, L2CAFError, LayerError, LayoutError, OutputError, TailError


def silent() -> nn.Module:
    """Features are zero throughout: the ReLU lets nothing pass."""
    model = networks.gap()
    with torch.no_grad():
        model[0][1].weight.zero_()
        model[0][1].bias.fill_(-1)
    return model


def linear() -> nn.Module:
    return networks.seeded(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)))


def one_by_one() -> nn.Module:
    return networks.seeded(nn.Sequential(nn.Conv2d(3, 8, 16), nn.Flatten(), nn.Linear(8, 5)))


class Constant(nn.Module):
    """The output does not depend on the features' values."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3)) * 0 + 1


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).sum((2, 3))


CASES = [
    (silent, FeatureError, r"is zero throughout for inputs \[0, 1, 2\]"),
    (one_by_one, LayerError, "no layer of this network has a spatial grid"),
    (linear, LayerError, "no layer of this network has a spatial grid"),
    (lambda: networks.seeded(Constant()), LayerError, "reaches the output"),
    (Whole, OutputError, "expected floats"),
]


@pytest.mark.parametrize(("make", "error", "message"), CASES)
@pytest.mark.parametrize("train", [False, True])
def test_networks_with_nothing_to_look_at_are_refused_with_the_reason(
    make: object,
    error: type[L2CAFError],
    message: str,
    train: bool,  # noqa: FBT001
) -> None:
    model = make()  # type: ignore[operator]
    model.train(train)
    with untouched(model), pytest.raises(error, match=message):
        L2CAF(model)(networks.pictures())


@pytest.mark.parametrize(
    ("inputs", "error"), [(torch.zeros(0, 3, 16, 16), LayoutError), (torch.zeros(3), LayoutError), ((), LayoutError)]
)
def test_inputs_without_a_batch_or_space_are_refused(inputs: object, error: type[L2CAFError]) -> None:
    model = networks.gap()
    with untouched(model), pytest.raises(error):
        L2CAF(model)(inputs)


def test_a_layout_that_does_not_exist_is_refused() -> None:
    with pytest.raises(LayoutError, match="unknown layout"):
        L2CAF(networks.gap(), layout="hwc")(networks.pictures())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_solved_on_their_own_terms(dtype: torch.dtype) -> None:
    model, x = networks.gap().to(dtype), networks.pictures().to(dtype)
    with untouched(model):
        attention = L2CAF(model)(x, "top2")
    expected = L2CAF(networks.gap())(networks.pictures(), attention.target).filter
    cosine = (attention.filter.float() * expected).flatten(2).sum(-1)
    assert float(cosine.min()) > (0.999 if dtype == torch.float64 else 0.98)
    assert attention.filter.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def overflowing() -> nn.Module:
    """A head whose half precision overflows where the weights of a filter add up, and not before."""
    model = networks.gap()
    with torch.no_grad():
        model[-1].weight.mul_(6e4 / model[-1].weight.abs().max())
        model[-1].bias.zero_()
    return model.half()


@pytest.mark.parametrize("target", [None, "top2"])
def test_half_precision_that_overflows_is_solved_in_single_precision_and_says_so(target: str | None) -> None:
    model, x = overflowing(), networks.pictures()
    with untouched(model):
        attention = L2CAF(model)(100 * x.half(), target)
    expected = L2CAF(overflowing().float())(100 * x.half().float(), target if target is None else attention.target)
    assert attention.evidence.solver == "exact in float32"
    assert bool(torch.isfinite(attention.loss).all())
    cosine = (attention.filter * expected.filter).flatten(2).sum(-1)
    assert float(cosine.min()) > 0.999


class Halving(nn.Module):
    """A cast to half precision, whatever comes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.half()


def test_half_precision_that_the_network_insists_on_is_named() -> None:
    model = overflowing()
    insisting = nn.Sequential(*model[:-1], Halving(), model[-1]).eval()
    with untouched(insisting), pytest.raises(TailError, match=r"half precision overflows .* casts"):
        L2CAF(insisting)(100 * networks.pictures().half())


class TrainedForever(nn.Module):
    """A batch normalisation, or a dropout, that no `eval()` reaches."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer = layer
        self.head = nn.Linear(8, 5)

    def train(self, mode: bool = True) -> "TrainedForever":  # noqa: FBT001, FBT002
        super().train(mode)
        self.layer.train()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.trunk(x)).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("layer", "reason"), [(nn.BatchNorm2d(8), "keeps a batch normalisation in train mode"), (nn.Dropout(), "is random")]
)
def test_layers_that_stay_in_train_mode_on_purpose_are_refused_with_the_reason(layer: nn.Module, reason: str) -> None:
    model = networks.seeded(TrainedForever(layer))
    with untouched(model), pytest.raises(TailError, match=reason):
        L2CAF(model, "trunk")(networks.pictures())


@pytest.mark.parametrize("target", [None, "top3"])
@pytest.mark.parametrize("layer", [None, "0.0"])
def test_a_memory_budget_that_is_too_small_only_costs_time(target: str | None, layer: str | None) -> None:
    x = networks.pictures()
    plenty, none = (L2CAF(networks.gap(), layer, memory=memory)(x, target) for memory in (None, 1))
    assert torch.allclose(plenty.loss, none.loss, rtol=1e-3)


@given(st.integers(0, 10_000), st.integers(4, 30), st.integers(4, 30), st.sampled_from([None, "top1", [0, 3]]))
def test_any_picture_size_gives_a_unit_filter_no_worse_than_uniform(
    seed: int, height: int, width: int, target: list[int] | str | None
) -> None:
    model = networks.gap()
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    with untouched(model):
        attention = L2CAF(model)(x, target)
    assert torch.allclose(attention.filter.flatten(2).norm(dim=2), torch.ones(attention.loss.shape), atol=1e-5)
    assert bool((attention.loss <= attention.uniform_loss + 1e-5 * attention.uniform_loss.abs() + 1e-6).all())
    assert attention.heatmap().shape == (*attention.loss.shape, height, width)
