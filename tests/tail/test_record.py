import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import Tensor, nn

from l2caf.errors import LayerError, TailError
from l2caf.tail import Inputs, LayerCalls, dependents, record
from l2caf.tail.script import Step


def steps(model: nn.Module, layer: LayerCalls) -> list[tuple[Step, nn.Module]]:
    with torch.no_grad(), untouched(model):
        recording = record(model, Inputs((networks.pictures(),)), layer)
    return [(event.step, event.module) for event in recording.script]


def test_a_script_holds_the_ancestors_of_the_layer_and_what_they_called_before_it() -> None:
    model = networks.gap()
    trunk = model[0]  # type: ignore[index]
    assert steps(model, LayerCalls(trunk[1])) == [  # type: ignore[index]
        (Step.ENTER, model),
        (Step.ENTER, trunk),
        (Step.RETURN, trunk[0]),  # type: ignore[index]
        (Step.LAYER, trunk[1]),  # type: ignore[index]
    ]
    assert steps(model, LayerCalls(trunk)) == [(Step.ENTER, model), (Step.LAYER, trunk)]


def test_the_map_is_what_the_layer_returned_before_anything_wrote_into_it() -> None:
    model, x = networks.seeded(networks.FunctionalInPlace()), networks.pictures()
    with torch.no_grad():
        recording = record(model, Inputs((x,)), LayerCalls(model.features))
        assert torch.equal(recording.maps[0], model.features(x))
        assert torch.equal(recording.output, model(x))
    assert float(recording.maps[0].min()) < 0  # the ReLU behind the layer works in place


class Chain(nn.Module):
    """One layer in two runs; the second reads the first or not, and a pooling lies between."""

    def __init__(self, *, feeds_back: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.layer = nn.Conv2d(4, 4, 1)
        self.between = nn.Tanh()
        self.feeds_back = feeds_back

    def forward(self, x: Tensor) -> Tensor:
        first = self.layer(self.stem(x))
        between = self.between(first)
        second = self.layer(self.stem(-x) + (between if self.feeds_back else 0))
        return (first + between + second).mean((2, 3))


@pytest.mark.parametrize("feeds_back", [True, False])
def test_only_the_steps_that_depend_on_an_earlier_run_of_the_layer_run_again(*, feeds_back: bool) -> None:
    model, inputs = networks.seeded(Chain(feeds_back=feeds_back)), Inputs((networks.pictures(1),))
    layer = LayerCalls(model.layer, (0, 1))
    with torch.no_grad(), untouched(model):
        rerun = dependents(model, inputs, layer, lambda features: 2 * features)
        script = record(model, inputs, LayerCalls(model.layer, (0, 1), rerun=rerun)).script
    modules = [event.module for event in script if event.depends]
    assert modules == ([model.between, model.layer] if feeds_back else [model.between])


class Moody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.up, self.down = nn.Conv2d(3, 3, 1), nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y = self.up(y) if float(y.sum()) > 0 else self.down(y)
        return self.layer(y).mean((2, 3))


def test_a_network_that_calls_other_modules_under_other_features_is_refused() -> None:
    model, inputs = networks.seeded(Moody()), Inputs((networks.pictures(1),))
    with torch.no_grad(), pytest.raises(TailError, match="calls other modules when its features change"):
        dependents(model, inputs, LayerCalls(model.layer, (0, 1)), lambda features: -features)


def test_a_layer_that_runs_too_seldom_or_returns_no_tensor_is_a_layer_error() -> None:
    model, inputs = networks.gap(), Inputs((networks.pictures(),))
    with torch.no_grad():
        with pytest.raises(LayerError, match="called 1 times in this forward pass, so there is no call 2"):
            record(model, inputs, LayerCalls(model[0], (0, 2)))  # type: ignore[index]
        with pytest.raises(LayerError, match="called 0 times"):
            record(model, inputs, LayerCalls(nn.ReLU()))
