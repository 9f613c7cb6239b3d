"""Networks of Hugging Face transformers, from folders that `save_pretrained` wrote."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.untouched import untouched
from typer.testing import CliRunner

from l2caf import L2CAF
from l2caf.cli import app
from l2caf.data.pictures import prepare
from l2caf.errors import ModelError, WeightsError
from l2caf.models import ModelCard, load
from l2caf.models.processor import card_of
from l2caf.models.sources.hf import import_transformers

hf = import_transformers()
TINY = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 64, "patch_size": 16,
}  # fmt: skip
NETWORKS = {
    "ViT": {**TINY, "id2label": {0: "cat", 1: "dog", 2: "owl"}, "label2id": {"cat": 0, "dog": 1, "owl": 2}},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 3},
    "ConvNext": {"num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 3},
}
X = torch.rand(2, 3, 64, 64)


def saved(folder: Path, kind: str = "ViT", suffix: str = "ForImageClassification", **more: object) -> Any:
    """A network with random weights, which `folder` holds with its image processor."""
    hf.utils.logging.disable_progress_bar()
    config = getattr(hf, f"{kind}Config")(**{**NETWORKS[kind], **more})
    model = getattr(hf, f"{kind}{suffix}")(config).eval()
    model.save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return model


def photo(width: int, height: int) -> Image.Image:
    """Smooth noise, as a picture whose pixels may lie half a pixel elsewhere."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_folder_is_a_network_whose_logits_are_explained_by_itself(kind: str, tmp_path: Path) -> None:
    model = saved(tmp_path, kind)
    loaded = load(f"hf/{tmp_path}")
    assert torch.equal(loaded.model(X), model(X).logits)
    assert (loaded.card.size, loaded.card.mean, loaded.card.fit) == ((64, 64), (0.5, 0.5, 0.5), "squash")
    assert loaded.card.labels == (("cat", "dog", "owl") if kind == "ViT" else None)
    with untouched(loaded.model):
        attention = L2CAF(loaded.model)(X, "top1")
    torch.testing.assert_close(attention.output, model(X).logits)


def test_a_folder_and_a_file_give_the_same_network_through_weights(tmp_path: Path) -> None:
    model = saved(tmp_path)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    seven = saved(tmp_path / "seven", id2label={n: f"LABEL_{n}" for n in range(7)})
    for weights in (tmp_path, tmp_path / "w.pth"):
        assert torch.equal(load(f"hf/{tmp_path}", weights=weights).model(X), model(X).logits)
    other = load(f"hf/{tmp_path}", weights=tmp_path / "seven")
    assert torch.equal(other.model(X), seven(X).logits)
    assert other.card.labels is None


def test_a_network_without_a_head_is_explained_by_what_it_pools(tmp_path: Path) -> None:
    model = saved(tmp_path, suffix="Model")
    assert torch.equal(load(f"hf/{tmp_path}").model(X), model(X).pooler_output)


@pytest.mark.parametrize(("kind", "suffix"), [("ViT", "ForImageClassification"), ("ResNet", "Model")])
def test_an_embedding_network_is_built_on_it(kind: str, suffix: str, tmp_path: Path) -> None:
    saved(tmp_path, kind, suffix)
    embedder = load(f"retrieval/hf/{tmp_path}", card=ModelCard(arguments={"dimensions": 4})).model
    assert embedder(X).shape == (2, 4)
    assert L2CAF(embedder)(X).filter.shape[0] == 2


def test_layers_that_would_be_random_are_refused_and_can_be_left_out(tmp_path: Path) -> None:
    model = hf.ViTModel(hf.ViTConfig(**TINY), add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    hf.ViTImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"2 tensors missing.*add_pooling_layer=false"):
        load(f"hf/{tmp_path}")
    loaded = load(f"hf/{tmp_path}", card=ModelCard(arguments={"add_pooling_layer": False}))
    assert torch.equal(loaded.model(X), model(X).last_hidden_state)


def test_half_precision_is_loaded_in_single_precision(tmp_path: Path) -> None:
    saved(tmp_path).half().save_pretrained(tmp_path)
    assert {one.dtype for one in load(f"hf/{tmp_path}").model.parameters()} == {torch.float32}


def test_pictures_are_explained_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(Path("mine"))
    photo(60, 40).save("a.png")
    done = CliRunner().invoke(app, ["explain", "a.png", "-m", "hf/./mine", "-o", "out"])
    assert done.exit_code == 0, done.output
    assert re.search(r"(cat|dog|owl) \(\d\)", Path("out/index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("hf//no/such/folder", ModelError, "folder /no/such/folder does not exist"),
        ("hf/nobody/nothing-of-this-name", WeightsError, "not here and cannot be downloaded"),
        ("hf/", ModelError, "unknown network"),
    ],
)
def test_what_cannot_be_had_is_said(name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load(name)


def test_an_empty_folder_and_keywords_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none of transformers: Unrecognized model"):
        load(f"hf/{tmp_path}")
    saved(tmp_path)
    with pytest.raises(ModelError, match="does not take these arguments"):
        load(f"hf/{tmp_path}", card=ModelCard(arguments={"no_such_option": 1}))
    with pytest.raises(WeightsError, match="2 of another shape"):
        load(f"hf/{tmp_path}", card=ModelCard(arguments={"num_labels": 7}))
    assert load(f"hf/{tmp_path}", card=ModelCard(arguments={"num_labels": 7}), pretrained=False).model(X).shape[1] == 7


def test_a_folder_without_a_processor_says_how_pictures_are_prepared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with caplog.at_level(logging.WARNING, "l2caf"):
        assert load(f"hf/{tmp_path}").card.size == (64, 64)
    assert "has no image processor" in caplog.text


@pytest.mark.parametrize(
    "processor",
    [
        hf.ViTImageProcessor(size={"height": 96, "width": 128}, do_normalize=False),
        hf.BitImageProcessor(size={"shortest_edge": 256}),
        hf.ConvNextImageProcessor(size={"shortest_edge": 224}),
        hf.DeiTImageProcessor(),
        hf.LevitImageProcessor(),
        hf.EfficientNetImageProcessor(rescale_offset=True, rescale_factor=1 / 127.5),
        hf.MobileViTImageProcessor(size={"shortest_edge": 288}),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("size", [(300, 200), (200, 280)])
def test_the_card_prepares_a_picture_as_the_processor_does(processor: Any, size: tuple[int, int]) -> None:
    card, picture = card_of(processor, "hf/x"), photo(*size)
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"][0]
    ours, _ = prepare(picture, **card.feeding)
    shades = (ours - theirs).abs() * torch.tensor(card.std).view(-1, 1, 1)
    assert shades.mean() < 0.004  # half a pixel, by which a crop may be rounded


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        (hf.EomtImageProcessor(), "inputs of several sizes"),
        (hf.DonutImageProcessor(size={"height": 96, "width": 96}), "something else than one rectangle"),
        (hf.MobileViTImageProcessor(), "beside its middle"),
        (hf.VideoMAEImageProcessor(), r"\(1, 1, 3, 224, 224\)"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_a_card_cannot_say_is_said(processor: Any, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "l2caf"):
        assert card_of(processor, "hf/x").size is None
    assert re.search(f"{type(processor).__name__} of hf/x .*{said}", caplog.text)


def test_what_a_processor_returns_is_explained_and_what_is_no_picture_in_it_goes_by(tmp_path: Path) -> None:
    model = saved(tmp_path)
    batch = hf.ViTImageProcessor(size={"height": 64, "width": 64})(images=[photo(60, 40)] * 2, return_tensors="pt")
    assert isinstance(batch, Mapping)
    batch["interpolate_pos_encoding"] = False
    with untouched(model):
        attention = L2CAF(model, output="logits")(batch, [0, 2])
    ours = L2CAF(load(f"hf/{tmp_path}").model)(batch["pixel_values"], [0, 2])
    torch.testing.assert_close(attention.filter, ours.filter)


def test_what_is_no_float_among_what_a_processor_returns_reaches_the_network() -> None:
    model = hf.ViTForMaskedImageModeling(hf.ViTConfig(**TINY)).eval()
    hidden = torch.arange(16).remainder(2).expand(2, -1)
    batch = hf.BatchFeature({"pixel_values": X, "bool_masked_pos": hidden})

    def colours(output: Any) -> torch.Tensor:
        return output.reconstruction.mean((2, 3))

    attention = L2CAF(model, output=colours)(batch, 0)
    torch.testing.assert_close(attention.output, colours(model(**batch)))
    bare = hf.BatchFeature({"pixel_values": X})
    assert not torch.allclose(attention.output, L2CAF(model, output=colours)(bare, 0).output)
