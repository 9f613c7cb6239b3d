"""Eq. 3: between two inner endpoints, and other places than the default ones."""

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF, Descent
from l2caf.errors import LayerError
from l2caf.layouts import Tokens
from l2caf.methods import GradCAM


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


def test_each_run_of_a_shared_trunk_has_its_own_filter_and_the_others_keep_their_features() -> None:
    model = networks.seeded(Siamese())
    pair = (networks.pictures(2, seed=1), networks.pictures(2, seed=2))
    with untouched(model):
        both = L2CAF(model, "trunk")(pair)
    assert both.question.runs == (0, 1)
    assert both.filter.shape == (2, 2, 1, 8, 8)
    with torch.no_grad():
        features = [model.trunk(picture) for picture in pair]
        for call in (0, 1):
            filtered = [f * both.filter[:, call] if i == call else f for i, f in enumerate(features)]
            a, b = (model.head(f.mean((2, 3))) for f in filtered)
            expected = (model(*pair) - a * b).square().sum(1)
            assert torch.allclose(both.loss[:, call, 0], expected.double(), rtol=1e-3)
            assert both.certificate[0, call, 0].label == "global"
            alone = L2CAF(model, "trunk", call=call)(pair)
            assert alone.question.runs is None
            assert torch.allclose(alone.filter, both.filter[:, call], atol=1e-5)
    by_keyword = L2CAF(model)({"left": pair[0], "right": pair[1]})
    assert torch.allclose(by_keyword.filter, both.filter, atol=1e-5)
    with pytest.raises(LayerError, match=r"no call 2: its calls with a grid are \[0, 1\]"):
        L2CAF(model, "trunk", call=(0, 2))(pair)


def test_runs_and_targets_have_an_axis_each() -> None:
    model = networks.seeded(Siamese())
    pair = (networks.pictures(2, seed=1), networks.pictures(2, seed=2))
    attention = L2CAF(model)(pair, torch.tensor([[0, 3], [1, 4]]))
    assert attention.question.runs == (0, 1)
    assert attention.target is not None
    assert attention.target.tolist() == [[0, 3], [1, 4]]
    assert attention.places(1) == [(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    assert [(attention.run_of(place), attention.target_of(place)) for place in attention.places(1)] == [
        (0, 1), (0, 4), (1, 1), (1, 4)
    ]  # fmt: skip
    second = L2CAF(model, call=1)(pair, [4])
    assert torch.allclose(second.filter[1, 0], attention.filter[1, 1, 1], atol=1e-5)
    assert GradCAM(model, "trunk")(pair, "top2").map.shape == (2, 2, 2, 8, 8)
    assert "run 1" in attention._repr_html_()


class Steps(nn.Module):
    """A clip: the same convolution for every frame, its last one fed back into the next frame's."""

    def __init__(self, *, feeds_back: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(inplace=True))
        self.layer = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.Tanh())
        self.head = nn.Linear(6, 5)
        self.feeds_back = feeds_back

    def forward(self, clip: Tensor) -> Tensor:
        state = torch.zeros(1, 6, 1, 1)
        total = torch.zeros(1, 5)
        for frame in clip.unbind(1):
            features = self.layer(self.stem(frame) + state)
            if self.feeds_back:
                state = features.mean((2, 3), keepdim=True)
            total = total + self.head(features.mean((2, 3)))
        return total


@pytest.mark.parametrize("feeds_back", [False, True])
@pytest.mark.parametrize("target", [None, 2])
def test_time_steps_have_one_filter_each_also_where_they_feed_each_other(feeds_back: bool, target: int | None) -> None:  # noqa: FBT001
    model = networks.seeded(Steps(feeds_back=feeds_back))
    clip = torch.stack([networks.pictures(2, seed=seed) for seed in range(3)], dim=1)
    with untouched(model):
        fast = L2CAF(model, "layer")(clip, target)
        slow = L2CAF(model, "layer", solver=Descent(max_iterations=1), fast=False)(clip, target)
    assert fast.question.runs == slow.question.runs == (0, 1, 2)
    assert torch.allclose(fast.uniform_loss, slow.uniform_loss, rtol=1e-4)  # replayed in part, and run whole
    assert bool((fast.loss <= fast.uniform_loss + 1e-6).all())
    alone = L2CAF(model, "layer", call=1)(clip, target)
    assert torch.allclose(alone.loss, fast.loss[:, 1], rtol=1e-3)


def test_steps_that_do_not_feed_each_other_do_not_run_again() -> None:
    model, ran = networks.seeded(Steps(feeds_back=False)), []
    clip = torch.stack([networks.pictures(1, seed=seed) for seed in range(3)], dim=1)
    caf = L2CAF(model, "layer")
    caf(clip)
    model.stem[0].register_forward_pre_hook(lambda *_: ran.append(1))
    caf(clip)
    assert len(ran) == 3  # one pass over the frames, whatever the number of replays


def test_a_feature_map_may_be_the_input() -> None:
    whole = networks.gap()
    head, x = whole[1:], networks.pictures()
    with torch.no_grad():
        features = whole[0](x)
    expected = L2CAF(whole)(x, "top2")
    with untouched(head):
        attention = L2CAF(head, "input")(features, "top2")
    assert attention.question.layer == "input"
    assert attention.question.input_size == attention.grid == tuple(features.shape[2:])
    assert torch.allclose(attention.filter, expected.filter, atol=1e-5)
    with pytest.raises(LayerError, match="layer='input'"):
        L2CAF(head)(features)
    tokens = features.flatten(2).transpose(1, 2)
    pooled = networks.seeded(MeanOfTokens())
    assert L2CAF(pooled, "input", layout=Tokens(expected.grid))(tokens).heatmap().shape == (3, 1, *expected.grid)


class MeanOfTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean(1))


def test_a_loss_of_zero_is_called_global_whoever_found_it() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Softplus())
            self.head = nn.Sequential(nn.LayerNorm(8, eps=1e-30), nn.Linear(8, 5))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.trunk(x).mean((2, 3)))

    model = networks.seeded(Normalised())
    attention = L2CAF(model)(networks.pictures())
    assert float(attention.loss.max()) < 1e-6  # scaling every position alike changes nothing
    assert bool(attention.undecided.all())
    assert not bool(L2CAF(networks.gap())(networks.pictures()).undecided.any())
    assert not bool(L2CAF(networks.gap())(networks.pictures(), "top2").undecided.any())
    assert {c.label for c in attention.certificate.flat} == {"global"}


@pytest.mark.parametrize("layer", ["0.0", "0.1", "0.2", "0.3"])
@pytest.mark.parametrize("target", [None, "top2"])
def test_every_inner_layer_gives_a_unit_filter_that_beats_the_uniform_one(layer: str, target: str | None) -> None:
    attention = L2CAF(deep(), layer)(networks.pictures(), target)
    assert torch.allclose(attention.filter.flatten(2).norm(dim=2), torch.ones(attention.loss.shape), atol=1e-5)
    assert bool((attention.loss <= attention.uniform_loss + 1e-6).all())
