"""timm's weight files and folders give the same network as what timm makes of them itself."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from l2caf.errors import ModelError, WeightsError
from l2caf.models import ModelCard, load
from l2caf.models.sources.timm import import_timm

timm = import_timm()
X = torch.rand(1, 3, 160, 160)


def trained(name: str, **arguments: Any) -> nn.Module:
    """A network with weights of its own in every tensor."""
    model = timm.create_model(name, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.05)
    return model.eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_nfnet", "test_efficientnet_gn"])
def test_a_file_computes_what_timm_computes_from_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(trained(name).state_dict(), path)
    theirs = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}).eval()
    ours = load(f"timm/{name}", weights=path)
    assert torch.equal(ours.model(X), theirs(X))
    assert torch.equal(load(f"timm/{name}", weights=tmp_path).model(X), theirs(X))
    assert (ours.card.size, ours.card.mean) == (theirs.pretrained_cfg["input_size"][1:], theirs.pretrained_cfg["mean"])


@pytest.mark.parametrize("classes", [1000, 7])
def test_a_file_in_the_format_of_its_authors_is_converted_as_timm_does(classes: int, tmp_path: Path) -> None:
    """torchvision's DenseNet, whose names timm changes."""
    state = timm.create_model("densenet121", num_classes=classes).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d\.)", r"\1.\2", key): value for key, value in state.items()}
    torch.save({key: value for key, value in old.items() if "num_batches" not in key}, tmp_path / "w.pth")
    loaded = load("timm/densenet121", weights=tmp_path / "w.pth")
    assert all(torch.equal(value, state[key]) for key, value in loaded.model.state_dict().items())
    assert "state_dict" not in loaded.model.pretrained_cfg


def test_outputs_before_the_first_class_are_left_out_as_timm_does_unless_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = timm.create_model("test_resnet").pretrained_cfg
    monkeypatch.setattr(timm, "create_model", _with_offset(timm.create_model, genuine))
    whole = trained("test_resnet", num_classes=1001)
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    loaded = load("timm/test_resnet", weights=tmp_path / "w.pth")
    torch.testing.assert_close(loaded.model(X), whole(X)[:, 1:])
    asked = load("timm/test_resnet", weights=tmp_path / "w.pth", card=ModelCard(arguments={"num_classes": 1001}))
    assert torch.equal(asked.model(X), whole(X))


def _with_offset(create: Any, config: dict[str, Any]) -> Any:
    def created(name: str, pretrained_cfg_overlay: Any = None, **arguments: Any) -> nn.Module:
        overlay = {"label_offset": 1, **(pretrained_cfg_overlay or {})}
        return create(name, pretrained_cfg=config, pretrained_cfg_overlay=overlay, **arguments)

    return created


def test_a_folder_of_the_hub_is_a_network_with_its_labels_and_preprocessing(tmp_path: Path) -> None:
    model = trained("test_resnet", num_classes=3)
    config = {"label_names": ["n1", "n2", "n3"], "label_descriptions": {"n1": "cat"}, "mean": [0.1, 0.2, 0.3]}
    timm.models._hub.save_for_hf(model, tmp_path, model_config=config, safe_serialization=True)
    loaded = load(f"timm/local-dir:{tmp_path}")
    assert torch.equal(loaded.model(X), model(X))
    assert loaded.card.labels == ("cat", "n2", "n3")
    assert loaded.name == f"timm/local-dir:{tmp_path}"


def test_what_is_no_folder_or_no_file_of_the_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"Config file not found: .*config\.json"):
        load(f"timm/local-dir:{tmp_path}")
    with pytest.raises(WeightsError, match=r"holds no weights; expected model\.safetensors"):
        load("timm/test_resnet", weights=tmp_path)
    torch.save(trained("test_vit").state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not those of timm/test_resnet: \d+ tensors missing"):
        load("timm/test_resnet", weights=tmp_path / "w.pth")
    with pytest.raises(ModelError, match="does not take these arguments"):
        load("timm/test_resnet", card=ModelCard(arguments={"no_such_option": 1}), pretrained=False)
