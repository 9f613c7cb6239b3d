"""Where to cut follows from the network and the shape of its inputs, not from which inputs came first."""

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf import L2CAF
from l2caf.attention.plan import CutOptions, find_plan
from l2caf.errors import LayerError
from l2caf.tail import Inputs


class Dimming(nn.Module):
    """The last layer is dead where a picture is dark: then only an earlier layer moves the output."""

    def __init__(self, threshold: float = 0.1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 2, 1)
        self.last = nn.Conv2d(6, 8, 3, 1, 1)
        self.head = nn.Linear(14, 5)
        with torch.no_grad():
            for layer in (self.first, self.last):
                layer.weight.abs_()
                layer.bias.fill_(0.0)
            self.last.bias.fill_(-threshold)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head(torch.cat([y.mean((2, 3)), self.last(y).relu().mean((2, 3))], 1))


def cut_layer(caf: L2CAF, x: Tensor) -> str:
    with caf.cut(x) as cut:
        return cut.layer


def test_a_dark_picture_does_not_change_the_layer_of_the_others_wherever_it_stands_in_the_batch() -> None:
    model = Dimming().eval()
    dark_and_light = torch.stack([torch.zeros(3, 16, 16), torch.rand(3, 16, 16)])
    assert cut_layer(L2CAF(model), dark_and_light) == "last"
    assert cut_layer(L2CAF(model), dark_and_light.flip(0)) == "last"
    caf = L2CAF(model)  # nor does a batch of dark pictures only, for the batches after it
    assert cut_layer(caf, dark_and_light[:1]) == cut_layer(caf, dark_and_light[1:]) == "last"
    assert caf.layers(dark_and_light) == caf.layers(dark_and_light.flip(0))


class Branching(nn.Module):
    """Flat features are read together with what came before the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.body = nn.Conv2d(8, 8, 3, 1, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.stem(x)
        features = self.body(skip)
        if float(features.detach()[..., 2:-2].diff(dim=-1).abs().mean()) < 0.1:
            features = features + skip
        return self.head(features.mean((2, 3)))


def test_a_batch_that_needs_more_of_the_pass_gets_it_and_leaves_the_batches_before_and_after_it_alone() -> None:
    model = networks.seeded(Branching())
    lively, flat = torch.rand(2, 3, 16, 16), torch.ones(2, 3, 16, 16)
    for order in ((lively, flat, lively), (flat, lively, flat)):
        caf = L2CAF(model, "body")
        kept = []
        for x in order:
            with caf.cut(x) as cut:
                kept.append(cut.tail.keep)
                assert torch.equal(cut.tail.reference, model(x))
        assert kept == ["shapes" if x is lively else "alive" for x in order]


def test_a_plan_takes_at_most_twelve_passes_and_a_warm_call_takes_one() -> None:
    model, x, ran = networks.fully_connected(), networks.pictures(), []
    model[0][0].register_forward_pre_hook(lambda *_: ran.append(1))  # type: ignore[index]
    caf = L2CAF(model)
    caf(x)
    assert len(ran) <= 12
    ran.clear()
    caf(x)
    assert len(ran) == 1


class WholeNumbersOnly(nn.Module):
    """A network that looks at its input's values before it takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = networks.gap()

    def forward(self, x: Tensor) -> Tensor:
        if not bool((x == x.round()).all()):
            raise KeyError("expected whole numbers")
        return self.net(x)


class SmoothOnly(nn.Module):
    """A network whose features are dead where neighbours differ much, as they do in noise."""

    def __init__(self) -> None:
        super().__init__()
        self.net = networks.gap()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * float(x.diff(dim=-1).abs().mean() < 0.1))


@pytest.mark.parametrize("make", [WholeNumbersOnly, SmoothOnly])
def test_a_network_that_refuses_noise_or_is_dead_on_it_is_planned_on_its_first_input(make: type[nn.Module]) -> None:
    model, x = make().eval(), torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 3, 16, 16)
    with torch.no_grad():
        for parameter in (model.net[0][0].bias, model.net[0][1].bias):  # type: ignore[index, union-attr]
            parameter.zero_()
    with untouched(model):
        assert cut_layer(L2CAF(model), x) == "net.0"
        assert any(info.is_default for info in L2CAF(model).layers(x))


def test_the_probe_is_as_large_as_the_pictures_are() -> None:
    model = Dimming(500.0).eval()  # dead on pictures in [0, 1], not on pictures in [0, 255]
    assert cut_layer(L2CAF(model), torch.rand(2, 3, 16, 16)) == "first"
    assert cut_layer(L2CAF(model), 255 * torch.rand(2, 3, 16, 16)) == "last"


def test_a_layer_whose_runs_differ_is_refused_by_its_number_and_one_that_nothing_reads_by_its_name() -> None:
    x = Inputs.ensure(networks.pictures())
    with torch.no_grad():
        with pytest.raises(LayerError, match="no call 1"):
            find_plan(networks.gap(), x, options("0", call=1))
        with pytest.raises(LayerError, match="no position of layer 'unused'"):
            find_plan(networks.seeded(networks.Deaf()), x, options("unused"))


def test_the_vanilla_form_keeps_nothing_of_a_pass_since_it_replays_none() -> None:
    with torch.no_grad():
        plans = [find_plan(networks.gap(), Inputs.ensure(networks.pictures()), options(fast=fast)) for fast in (0, 1)]
    assert [plan.keep for plan in plans] == [None, "shapes"]


def options(layer: str | None = None, *, call: int | None = None, fast: bool = True) -> CutOptions:
    return CutOptions(layer, "auto", call, joint=False, read=lambda output: output, fast=bool(fast))
