from functools import partial

import pytest
import torch
from tests.support import networks
from torch import Tensor, nn

from l2caf.attention.discovery import FoundCall, Listing, list_calls, resolve_layer
from l2caf.errors import LayerError
from l2caf.layouts import ChannelsFirst, Frames, Proposal, Row, proposals, spaces
from l2caf.tail import Inputs

ONE = Inputs((networks.pictures(1),))


def propose(features: Tensor) -> list[Proposal | Row]:
    return list(proposals(features.shape, spaces(0, torch.Size((1, 3, 16, 16)))))


listed = partial(list_calls, inputs=ONE, propose=propose)


def names(listing: Listing) -> list[str]:
    return [call.name for call in listing.calls]


def test_every_call_that_may_return_a_map_is_listed_in_the_order_of_finishing() -> None:
    listing = listed(networks.gap())
    assert names(listing) == ["0.0", "0.1", "0.2", "0"]
    assert all(call.candidates[0].shape == (1, 8, 8, 8) for call in listing.calls)
    assert listing.is_convolution(ChannelsFirst(), (1, 8, 8, 8))
    assert listing.is_convolution(Frames(ChannelsFirst(), 3, "axis"), (1, 3, 8, 8, 8))
    assert not listing.is_convolution(ChannelsFirst(), (1, 8, 4, 4))


def test_modules_that_return_what_they_were_given_hand_on_and_those_that_change_it_do_not() -> None:
    trunk = nn.Conv2d(3, 4, 3, 2, 1)
    model = nn.Sequential(trunk, nn.Dropout(), nn.ReLU(inplace=True), nn.Identity(), nn.Flatten()).eval()
    assert [(call.name, call.candidates[0].hands_on) for call in listed(model).calls] == [
        ("0", False),
        ("1", True),
        ("2", False),
        ("3", True),
    ]


def test_of_a_large_map_only_some_features_are_kept_but_all_places() -> None:
    call: FoundCall = listed(nn.Sequential(nn.Conv2d(3, 1200, 1), nn.AdaptiveAvgPool2d(1))).calls[0]
    assert call.candidates[0].features[1].shape == (1, 134, 16, 16)


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


def test_a_named_layer_is_listed_in_each_of_its_runs_with_the_tensor_that_may_be_a_map() -> None:
    model = Twice().eval()
    listing = listed(model, of=model.layer)
    assert [(call.name, call.number, [one.part for one in call.candidates]) for call in listing.calls] == [
        ("layer", 0, [1]),
        ("layer", 1, [1]),
    ]
    assert listing.shapes == {model.layer: [(1, 2), (1, 4, 8, 8)]}
    assert [call.number for call in listed(model).calls if call.name == "layer"] == [0, 1]


def test_a_layer_is_resolved_by_name_or_module_and_a_misspelt_one_gets_the_nearest() -> None:
    model = networks.gap()
    assert resolve_layer(model, model[0][1]) == ("0.1", model[0][1])  # type: ignore[index]
    assert resolve_layer(model, "0.1")[1] is model[0][1]  # type: ignore[index]
    with pytest.raises(LayerError, match=r"no layer '0\.7'; did you mean"):
        resolve_layer(model, "0.7")
    with pytest.raises(LayerError, match="the given ReLU is not a module of this network"):
        resolve_layer(model, nn.ReLU())
