"""Eq. 3: between two inner endpoints, and other places than the default ones."""

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.errors import LayerError


def deep() -> nn.Module:
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
    return networks.seeded(nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)))


def test_until_takes_an_inner_layers_output_for_the_networks() -> None:
    model, x = deep(), networks.pictures()
    with untouched(model):
        attention = L2CAF(model, "0.0", until="0.2")(x)
    with torch.no_grad():
        features = model[0][0](x)
        whole = model[0][2](features.relu())
        filtered = model[0][2]((features * attention.filter).relu())
    assert attention.output.shape == (3, whole[0].numel())
    assert torch.allclose((whole - filtered).flatten(1).square().sum(1).double(), attention.loss[:, 0], rtol=1e-4)
    assert bool((attention.loss < attention.uniform_loss).all())


def test_nothing_runs_after_until() -> None:
    model, ran = deep(), []
    model[3].register_forward_pre_hook(lambda *_: ran.append(1))
    L2CAF(model, "0.0", until=model[1])(networks.pictures())
    assert not ran


@pytest.mark.parametrize(("layer", "until"), [("0.2", "0.0"), ("0.2", "0.9"), ("0.0", nn.ReLU())])
def test_an_endpoint_that_comes_too_early_or_is_not_there_is_a_layer_error(layer: str, until: str | nn.Module) -> None:
    model = deep()
    with untouched(model), pytest.raises(LayerError):
        L2CAF(model, layer, until=until)(networks.pictures())


class Siamese(nn.Module):
    """One trunk that looks at two pictures; the output says how alike they are, by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = (self.head(self.trunk(picture).mean((2, 3))) for picture in (left, right))
        return a * b


def test_each_run_of_a_shared_trunk_has_its_own_filter_and_the_other_keeps_its_features() -> None:
    model = networks.seeded(Siamese())
    pair = (networks.pictures(2, seed=1), networks.pictures(2, seed=2))
    found = [L2CAF(model, "trunk", call=call)(pair) for call in (0, 1)]
    with torch.no_grad():
        features = [model.trunk(picture) for picture in pair]
        for call, attention in enumerate(found):
            filtered = [f * attention.filter if i == call else f for i, f in enumerate(features)]
            a, b = (model.head(f.mean((2, 3))) for f in filtered)
            expected = (model(*pair) - a * b).square().sum(1)
            assert torch.allclose(attention.loss[:, 0], expected.double(), rtol=1e-3)
            assert attention.certificate[0][0].label == "global"
    assert torch.allclose(L2CAF(model, "trunk")({"left": pair[0], "right": pair[1]}).filter, found[1].filter, atol=1e-5)
    with pytest.raises(LayerError, match="no call 2: it runs 2 times"):
        L2CAF(model, "trunk", call=2)(pair)


def test_a_loss_of_zero_is_called_global_whoever_found_it() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Softplus())
            self.head = nn.Sequential(nn.LayerNorm(8, eps=1e-30), nn.Linear(8, 5))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.trunk(x).mean((2, 3)))

    attention = L2CAF(networks.seeded(Normalised()))(networks.pictures())
    assert float(attention.loss.max()) < 1e-6  # scaling every position alike changes nothing
    assert {c.label for row in attention.certificate for c in row} == {"global"}


@pytest.mark.parametrize("layer", ["0.0", "0.1", "0.2", "0.3"])
@pytest.mark.parametrize("target", [None, "top2"])
def test_every_inner_layer_gives_a_unit_filter_that_beats_the_uniform_one(layer: str, target: str | None) -> None:
    attention = L2CAF(deep(), layer)(networks.pictures(), target)
    assert torch.allclose(attention.filter.flatten(2).norm(dim=2), torch.ones(attention.loss.shape), atol=1e-5)
    assert bool((attention.loss <= attention.uniform_loss + 1e-6).all())
