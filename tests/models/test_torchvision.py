"""The weight files of torchvision give the same network through `weights=` as through torchvision's own download."""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l2caf.errors import ModelError, WeightsError
from l2caf.models import LoadedModel, ModelCard, load
from l2caf.models.source import SOURCES, Wanted
from l2caf.models.weight_files import WeightFile
from l2caf.torchvision_compat import import_torchvision

MODELS = import_torchvision().models
NAMES = [name for module in (MODELS, MODELS.video) for name in MODELS.list_models(module=module)]
TO_PUBLISHED = (  # keys that torchvision's files still have, and its networks had when they were written
    (re.compile(r"(denselayer\d+\.(?:norm|conv))(\d\.)"), r"\1.\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp\.)0\."), r"\1linear_1."),
    (re.compile(r"(encoder_layer_\d+\.mlp\.)3\."), r"\1linear_2."),
)
SMALL = ("googlenet", "inception_v3", "densenet121", "mnasnet0_5", "mobilenet_v3_small", "squeezenet1_1")


def families() -> list[str]:
    """The smallest network of each family, such as resnet18."""
    by_size = sorted(NAMES, key=lambda name: MODELS.get_model_weights(name).DEFAULT.meta["num_params"], reverse=True)
    return sorted({re.match("[a-z]+", name)[0]: name for name in by_size}.values())


def published_state(name: str) -> "OrderedDict[str, Tensor]":
    """Random weights as torchvision would publish them: of the network that it trains, by the names of old."""
    weights = MODELS.get_model_weights(name).DEFAULT
    trained: dict[str, Any] = {"weights": None}
    if name in {"googlenet", "inception_v3"}:
        trained |= {"init_weights": False, "aux_logits": True}
    if name.startswith("vit_"):
        trained["image_size"] = weights.meta["min_size"][0]
    own = MODELS.get_model(name, **trained).state_dict()
    if name.startswith("densenet"):  # its files are older than the counters of batch normalisation
        own = OrderedDict((key, value) for key, value in own.items() if not key.endswith("num_batches_tracked"))
        own._metadata = {"": {"version": 1}}
    state = OrderedDict((published_key(key), value) for key, value in own.items())
    state._metadata = {"": own._metadata[""]}
    return state


def published_key(key: str) -> str:
    for pattern, old in TO_PUBLISHED:
        key = pattern.sub(old, key)
    return key


def settings(model: nn.Module) -> dict[str, Any]:
    """Everything in a network that is a plain value, such as `transform_input`."""
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, bool | int | float | str | tuple | None)
    }


@pytest.mark.parametrize("name", SMALL)
def test_a_published_file_computes_the_same_and_is_fed_the_same_through_both_doors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = MODELS.get_model_weights(name).DEFAULT.url
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / Path(url).name
    cached.parent.mkdir(parents=True)
    torch.save(published_state(name), cached)
    hub = load(f"torchvision/{name}")
    file = load(f"torchvision/{name}", weights=cached.rename(tmp_path / "mine.pth"))
    x = torch.rand(1, 3, 75, 75)
    assert torch.equal(file.model(x), hub.model(x))
    assert file.card == hub.card
    assert settings(file.model) == settings(hub.model)


@pytest.mark.parametrize("name", families())
def test_one_network_of_each_family_is_built_alike_through_both_doors(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        same_through_both_doors(name, monkeypatch)


def same_through_both_doors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, source = published_state(name), SOURCES["torchvision"]
    monkeypatch.setattr(MODELS.WeightsEnum, "get_state_dict", lambda *_, **__: OrderedDict(state))
    if name.startswith("mnasnet"):  # the one network that insists on its version
        monkeypatch.setattr(MODELS.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    hub = source.load(name, Wanted(ModelCard()))
    file = source.load(name, Wanted(ModelCard(), WeightFile(Path("mine.pth"), state)))
    assert settings(file.model) == settings(hub.model)
    assert file.card == hub.card
    shapes = [{key: value.shape for key, value in one.model.state_dict().items()} for one in (file, hub)]
    assert shapes[0] == shapes[1]


def loaded_from(state: dict[str, Tensor], name: str, **arguments: object) -> LoadedModel:
    file = WeightFile(Path("mine.pth"), state)
    return SOURCES["torchvision"].load(name, Wanted(ModelCard(arguments=arguments), file))


def with_classes(state: dict[str, Tensor], n: int) -> dict[str, Tensor]:
    return {key: value[:n] if len(value.shape) and value.shape[0] == 1000 else value for key, value in state.items()}


@pytest.mark.parametrize("has_auxiliary", [True, False])
def test_a_fine_tuned_googlenet_is_fed_as_the_published_one_with_or_without_auxiliary_classifiers(
    has_auxiliary: bool,  # noqa: FBT001
) -> None:
    state = with_classes(published_state("googlenet"), 7)
    kept = {key: value for key, value in state.items() if has_auxiliary or not key.startswith("aux")}
    loaded = loaded_from(kept, "googlenet")
    assert loaded.model.transform_input
    assert loaded.model(torch.rand(1, 3, 64, 64)).shape == (1, 7)
    assert loaded.card.labels is None
    assert not loaded_from(kept, "googlenet", transform_input=False).model.transform_input


def test_a_random_googlenet_is_fed_as_the_published_one_and_its_file_loads() -> None:
    loaded = load("torchvision/googlenet", pretrained=False)
    assert loaded.model.transform_input
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded_from(loaded.model.state_dict(), "googlenet").model(x), loaded.model(x))


def test_the_size_of_a_vision_transformer_is_that_of_its_file_or_of_the_published_weights_of_its_name() -> None:
    with torch.device("meta"):
        large = MODELS.get_model("vit_b_16", weights=None, image_size=384).state_dict()
        assert loaded_from(large, "vit_b_16").card.size == (384, 384)
        assert loaded_from(with_classes(large, 7), "vit_b_16").model.heads.head.out_features == 7
        assert loaded_from(with_classes(large, 7), "vit_b_16", image_size=384).card.size == (384, 384)
    swag = MODELS.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1
    file = WeightFile(Path(swag.url).relative_to("https:/download.pytorch.org"), large)
    with torch.device("meta"):
        assert SOURCES["torchvision"].load("vit_b_16", Wanted(ModelCard(), file)).card.size == (384, 384)


def test_other_published_weights_can_be_named_and_those_that_do_not_exist_are_refused() -> None:
    with torch.device("meta"):
        state = published_state("vit_b_16")
        loaded = loaded_from(state, "vit_b_16", weights="IMAGENET1K_V1")
    assert loaded.card.size == (224, 224)
    with pytest.raises(ModelError, match=r"did you mean 'IMAGENET1K_V1'"):
        loaded_from(state, "vit_b_16", weights="IMAGENET1K_V3")


def test_a_file_of_a_network_with_other_keywords_still_loads_and_another_networks_file_does_not() -> None:
    narrow = MODELS.get_model("squeezenet1_1", weights=None, dropout=0.1).state_dict()
    assert loaded_from(narrow, "squeezenet1_1", dropout=0.1).model.classifier[0].p == 0.1
    with pytest.raises(WeightsError, match=r"not those of torchvision/mobilenet_v2: \d+ tensors missing"):
        loaded_from(narrow, "mobilenet_v2")


def test_a_keyword_that_contradicts_the_published_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS.WeightsEnum, "get_state_dict", lambda *_, **__: pytest.fail("not to be loaded"))
    with pytest.raises(ModelError, match="num_classes"):
        load("torchvision/squeezenet1_1", card=ModelCard(arguments={"num_classes": 7}))
