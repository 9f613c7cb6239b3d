import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from l2caf.errors import ExtraMissingError, ModelError
from l2caf.models import ModelCard, load, names
from l2caf.models.resolve import resolve
from l2caf.models.source import SOURCES, Library, Wanted, enter
from l2caf.models.weight_files import read_weights

SMALL = "torchvision/mobilenet_v3_small"


def test_a_name_means_torchvision_first_then_timm_and_the_embedded_network_needs_neither() -> None:
    assert resolve("resnet50") == ("torchvision", "resnet50")
    assert resolve("timm/resnet50") == ("timm", "resnet50")
    assert resolve("mobilenetv2_100") == ("timm", "mobilenetv2_100")
    assert resolve("timm/resnet50.a1_in1k") == ("timm", "resnet50.a1_in1k")
    assert resolve("digits") == resolve("embedded/digits") == ("embedded", "digits")


@pytest.mark.parametrize(("wrong", "right"), [("resnet5O", "resnet50"), ("timm/mobilenetv2_10", "mobilenetv2_100")])
def test_a_misspelt_name_gets_the_nearest_real_ones(wrong: str, right: str) -> None:
    with pytest.raises(ModelError, match=right):
        resolve(wrong)


def test_the_number_of_classes_is_that_of_the_file(tmp_path: Path) -> None:
    torch.save(load("timm/mobilenetv3_small_050", pretrained=False).model.state_dict(), tmp_path / "full.pth")
    state = dict(read_weights(tmp_path / "full.pth").tensors)
    state |= {"classifier.weight": state["classifier.weight"][:7], "classifier.bias": state["classifier.bias"][:7]}
    torch.save(state, tmp_path / "seven.pth")
    loaded = load("timm/mobilenetv3_small_050", weights=tmp_path / "seven.pth")
    assert loaded.model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert not loaded.model.training


def test_random_weights_are_the_same_every_time_and_leave_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    first, second = (load(SMALL, pretrained=False).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_keyword_that_the_constructor_does_not_take_is_refused() -> None:
    with pytest.raises(ModelError, match="does not take these arguments"):
        load("torchvision/resnet18", card=ModelCard(arguments={"no_such_option": 1}), pretrained=False)


def test_a_new_source_of_networks_is_one_class_that_enters_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOURCES, "_things", dict(SOURCES))

    @enter
    class Toys(Library):
        prefix = "toys"

        def names(self) -> list[str]:
            return ["one-layer"]

        def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
            assert name == "one-layer"
            return nn.Conv2d(3, 2, 3, **wanted.card.arguments), ModelCard(size=(8, 8))

    loaded = load("toys/one-layer", card=ModelCard(arguments={"stride": 2}))
    assert resolve("one-layer") == ("toys", "one-layer")
    assert "toys/one-layer" in names()
    assert (loaded.name, loaded.card.size, loaded.card.mean) == ("toys/one-layer", (8, 8), (0.485, 0.456, 0.406))
    assert loaded.model.stride == (2, 2)
    assert not loaded.model.training


def test_without_timm_its_networks_are_unknown_and_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    install = r"timm is not installed; install it with `pip install 'l2caf\[timm\]'`"
    assert resolve("resnet50") == ("torchvision", "resnet50")
    with pytest.raises(ExtraMissingError, match=install):
        resolve("timm/mobilenetv2_100")
    with pytest.raises(ModelError, match=rf"unknown network 'mobilenetv2_100'.*the networks of timm .*{install}"):
        resolve("mobilenetv2_100")
    with caplog.at_level(logging.WARNING):
        assert "torchvision/resnet50" in names()
    assert [record.message for record in caplog.records if "timm is not installed" in record.message]


def test_making_a_network_of_timm_leaves_its_log_level_alone() -> None:
    before = logging.getLogger("timm").level
    load("timm/test_resnet", pretrained=False)
    assert logging.getLogger("timm").level == before != logging.ERROR
