import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf.attention.discovery import LayerInfo, list_calls, locate, resolve_layer
from l2caf.errors import LayerError
from l2caf.layouts import ChannelsFirst, Layout, LayoutFinder
from l2caf.tail import Inputs

ONE = Inputs((networks.pictures(1),))
FIND = LayoutFinder((16, 16))


def listed(model: nn.Module) -> list[LayerInfo]:
    return [call.info for call in list_calls(model, ONE, FIND) if call.info is not None]


def test_every_call_that_returns_a_grid_is_listed_in_the_order_of_finishing() -> None:
    infos = listed(networks.gap())
    assert [(info.name, info.grid) for info in infos] == [(name, (8, 8)) for name in ("0.0", "0.1", "0.2", "0")]
    assert all(info.layout == ChannelsFirst() and info.shape == (8, 8, 8) for info in infos)


def test_modules_that_return_what_they_were_given_hand_on_and_those_that_change_it_do_not() -> None:
    trunk = nn.Conv2d(3, 4, 3, 2, 1)
    model = nn.Sequential(trunk, nn.Dropout(), nn.ReLU(inplace=True), nn.Identity(), nn.Flatten()).eval()
    assert [(info.name, info.hands_on) for info in listed(model)] == [
        ("0", False),
        ("1", True),
        ("2", False),
        ("3", True),
    ]


class Twice(nn.Module):
    """One layer that runs twice, and returns its map behind something else."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Pair()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)["map"].mean((2, 3)) + self.layer(x.flip(-1))["map"].mean((2, 3))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": torch.ones(len(x), 2), "map": self.conv(x)}


def test_a_named_layer_is_located_in_each_of_its_runs_and_in_the_tensor_that_has_the_grid() -> None:
    model = Twice().eval()
    infos = locate(model, "layer", model.layer, ONE, FIND)
    assert [(info.call, info.part, info.grid) for info in infos] == [(0, 1, (8, 8)), (1, 1, (8, 8))]
    assert [info.call for info in listed(model) if info.name == "layer"] == [0, 1]


def test_a_layer_without_a_grid_or_that_does_not_run_is_refused_with_what_it_returns() -> None:
    model = networks.gap()
    with pytest.raises(LayerError, match=r"returns \[\(1, 6\)\]"):
        locate(model, "3", model[3], ONE, FIND)  # type: ignore[index]
    with pytest.raises(LayerError, match="does not run"):
        locate(model, "x", nn.ReLU(), ONE, FIND)


def test_a_layout_that_does_not_fit_some_maps_is_no_reason_to_stop() -> None:
    class OnlyFour(ChannelsFirst):
        def grid(self, features: Tensor) -> tuple[int, ...]:
            return features.shape[2], features.shape[3]

    def everywhere(_: Tensor) -> Layout:
        return OnlyFour()

    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(2), nn.AdaptiveAvgPool1d(1))
    assert [call.info.name for call in list_calls(model, ONE, everywhere) if call.info] == ["0"]


def test_a_layer_is_resolved_by_name_or_module_and_a_misspelt_one_gets_the_nearest() -> None:
    model = networks.gap()
    assert resolve_layer(model, model[0][1]) == ("0.1", model[0][1])  # type: ignore[index]
    assert resolve_layer(model, "0.1")[1] is model[0][1]  # type: ignore[index]
    with pytest.raises(LayerError, match=r"no layer '0\.7'; did you mean"):
        resolve_layer(model, "0.7")
    with pytest.raises(LayerError, match="the given ReLU is not a module of this network"):
        resolve_layer(model, nn.ReLU())
