"""`l2caf.load`: a network by name, and maps of it for anything that is a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import l2caf
from l2caf import L2CAF
from l2caf.data.pictures import prepare, read_picture
from l2caf.errors import DataError, ModelError, WeightsError
from l2caf.jobs.network import Network
from l2caf.models import ModelCard

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> Network:
    return l2caf.load("embedded/digits")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    Image.fromarray(PIXELS).save(path)
    return path


def every_kind(file: Path, network: Network) -> dict[str, Any]:
    prepared, _ = prepare(read_picture(file), **network.card.feeding)
    return {
        "text": str(file),
        "path": file,
        "image": Image.fromarray(PIXELS),
        "array": PIXELS,
        "pixels": torch.from_numpy(PIXELS).permute(2, 0, 1),
        "prepared": prepared,
        "batch": prepared[None],
    }


def test_every_kind_of_picture_is_explained_as_its_file(network: Network, file: Path) -> None:
    kinds = every_kind(file, network)
    expected = L2CAF(network.model)(kinds["batch"], [3, 8])
    for kind, picture in kinds.items():
        attention = network.explain(picture, target=[3, 8])
        assert torch.equal(attention.filter, expected.filter), kind
    del kinds["batch"]
    together = network.explain(list(kinds.values()), target=[3, 8])
    torch.testing.assert_close(together.filter, expected.filter.expand(len(kinds), -1, -1, -1))


def test_an_attention_knows_labels_and_draws_on_what_the_network_was_shown(network: Network, file: Path) -> None:
    named = Network(network.model, "mine", ModelCard(labels=tuple("abcdefghij")).over(network.card))
    attention = named.explain(file, "top2")
    first = int(attention.target[0, 0])
    assert attention.label_of((0, 0)) == f"{'abcdefghij'[first]} ({first})"
    assert named.explain(file).label_of((0, 0)) == "all that it says"
    shown = np.asarray(Image.fromarray(PIXELS).resize((112, 112), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(attention.inputs[0].permute(1, 2, 0) * 255, shown, atol=1e-3)
    assert attention.overlay().shape == (1, 2, 112, 112, 3)


def test_channels_the_other_way_round_are_drawn_as_they_are(network: Network) -> None:
    backwards = Network(network.model, "mine", ModelCard(channels="bgr").over(network.card))
    same = backwards.explain(PIXELS).inputs - network.explain(PIXELS).inputs
    assert same.abs().max() < 1e-6


def test_options_are_those_of_the_explainer(network: Network) -> None:
    attention = network.explain([PIXELS, PIXELS], "top1", layer="features.1", constraint="softmax")
    assert (attention.question.layer, attention.question.constraint) == ("features.1", "softmax")
    assert len(attention.filter) == 2


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (PIXELS.astype(np.float32), r"array of float32 of shape \(60, 80, 3\) is no picture"),
        ([], "no pictures"),
        ("nowhere.png", "nowhere.png is missing"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)], r"have several shapes \(\(3, 8, 8\), \(3, 9, 9\)\)"),
    ],
    ids=["floats", "none", "missing", "sizes"],
)
def test_what_is_no_picture_is_said(network: Network, picture: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        network.prepare(picture if isinstance(picture, list) else [picture])


def test_clips_and_devices_that_are_not_there_are_refused(network: Network) -> None:
    clips = Network(network.model, "mine", ModelCard(frames=8).over(network.card))
    with pytest.raises(ModelError, match="sees clips of 8 frames"):
        clips.explain(PIXELS)
    with pytest.raises(ModelError, match="device 'nowhere' cannot be used"):
        l2caf.load("embedded/digits", device="nowhere")


def test_cards_and_weights_are_given_by_their_files(tmp_path: Path) -> None:
    torch.save(l2caf.load("torchvision/squeezenet1_1", pretrained=False).model.state_dict(), tmp_path / "w.pth")
    (tmp_path / "card.json").write_text('{"size": 64}', encoding="utf-8")
    loaded = l2caf.load("squeezenet1_1", weights=str(tmp_path / "w.pth"), card=tmp_path / "card.json")
    assert loaded.explain(PIXELS, "top1").inputs.shape == (1, 3, 64, 64)
    assert len(loaded.labels) == 1000
    with pytest.raises(WeightsError, match=r"none\.json cannot be read"):
        l2caf.load("squeezenet1_1", card=str(tmp_path / "none.json"))
