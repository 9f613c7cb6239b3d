"""`l2caf retrieve`: a gallery searched, and what makes its matches similar."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from l2caf.cli import app
from l2caf.data.digit_scenes import DigitScenes, write_scenes
from l2caf.errors import DataError
from l2caf.jobs.retrieve import SearchOptions, note_on, retrieve
from l2caf.models import LoadedModel, ModelCard, load


@pytest.fixture(scope="module")
def network() -> LoadedModel:
    return load("retrieval/digits", card=ModelCard(arguments={"dimensions": 16}))


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    folder = tmp_path / "gallery"
    (folder / "deep").mkdir(parents=True)
    files = write_scenes(DigitScenes("test", objects=1, length=5, seed=3), folder)
    shutil.move(files[4], folder / "deep" / files[4].name)
    return folder


def first(folder: Path) -> Path:
    return min(folder.glob("*.png"))


def test_the_command_prints_the_nearest_writes_page_and_picture_and_names_what_it_left_out(
    gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("L2CAF_CACHE", str(tmp_path / "cache"))
    query = first(gallery)
    shutil.copy(query, gallery / "twin.png")
    (gallery / "bad.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = ["retrieve", query, "--gallery", gallery, "-m", "retrieval/digits", "-k", 2, "-o", out]
    code = app([str(argument) for argument in arguments], standalone_mode=False)
    said = capsys.readouterr()
    assert code == 1
    assert "bad.jpg" in said.err
    assert "twin.png: a copy" in said.err
    scores = [float(line.split("\t")[0]) for line in said.out.splitlines()[:2]]
    assert scores == sorted(scores, reverse=True)
    assert query.name not in said.out
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count('class="entry"') == 3
    assert "what makes the query like it" in page
    assert "http" not in page.replace("http-equiv", "")
    with Image.open(out / "matches.png") as image:
        assert image.height > 2 * 224


def test_a_gallery_is_embedded_once_and_only_what_changes_again(
    gallery: Path, tmp_path: Path, network: LoadedModel
) -> None:
    options = SearchOptions(k=1, cache=tmp_path / "cache", overwrite=True)
    runs = [retrieve(first(gallery), gallery, network, tmp_path / "out", options) for _ in range(2)]
    assert [run.n_embedded for run in runs] == [5, 0]
    assert runs[0].matches == runs[1].matches
    Image.new("RGB", (40, 40), "red").save(gallery / "new.png")
    changed = [retrieve(first(gallery), gallery, network, tmp_path / "out", options).n_embedded]
    other = replace(network, card=replace(network.card, fit="pad"))
    changed.append(retrieve(first(gallery), gallery, other, tmp_path / "out", options).n_embedded)
    assert changed == [1, 6]


def test_more_copies_of_the_query_than_usual_do_not_hide_other_pictures(
    gallery: Path, tmp_path: Path, network: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l2caf.jobs.retrieve.SPARE", 0)
    for number in range(3):
        shutil.copy(first(gallery), gallery / f"twin-{number}.png")
    found = retrieve(first(gallery), gallery, network, tmp_path / "out", SearchOptions(k=2, cache=tmp_path / "cache"))
    assert len(found.matches) == 2
    assert len(found.copies) == 3


def test_what_a_search_left_in_the_gallery_is_not_searched(gallery: Path, tmp_path: Path, network: LoadedModel) -> None:
    options = SearchOptions(k=1, cache=tmp_path / "cache")
    before = retrieve(first(gallery), gallery, network, gallery / "out", options)
    assert retrieve(first(gallery), gallery, network, tmp_path / "out", options).n_pictures == before.n_pictures == 5
    with pytest.raises(DataError, match="no pictures but those of earlier searches"):
        retrieve(first(gallery), gallery / "out", network, tmp_path / "other", options)


def test_a_query_from_elsewhere_is_matched_with_every_picture(
    gallery: Path, tmp_path: Path, network: LoadedModel
) -> None:
    outside = tmp_path / "outside.png"
    Image.new("RGB", (60, 30), "blue").save(outside)
    found = retrieve(
        outside, gallery, network, tmp_path / "out", SearchOptions(k=9, cache=tmp_path, metric="euclidean")
    )
    assert len(found.matches) == 5
    assert [match.score for match in found.matches] == sorted(match.score for match in found.matches)


def test_a_classifier_is_taken_with_a_word(gallery: Path, tmp_path: Path) -> None:
    classifier = load("embedded/digits")
    found = retrieve(first(gallery), gallery, classifier, tmp_path / "out", SearchOptions(k=1, cache=tmp_path))
    assert "is no embedding network" in found.note


def test_a_linear_layer_that_nobody_trained_is_said_to_be_random(network: LoadedModel, tmp_path: Path) -> None:
    assert "linear layer of retrieval/embedded/digits is random" in note_on(network)
    file = tmp_path / "trained.safetensors"
    save_file(network.model.state_dict(), file)
    assert note_on(load("retrieval/digits", weights=file)) == ""


class Constant(nn.Module):
    """Embeds everything alike, up to a jitter, or as NaN."""

    def __init__(self, value: float, jitter: float = 0.0) -> None:
        super().__init__()
        self.value, self.jitter = nn.Parameter(torch.tensor(value)), jitter

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x), 3) + self.jitter * x.mean((2, 3))


class Colour(nn.Module):
    """Embeds a picture as its mean colour, blue as NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.AvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        colour = self.trunk(x).mean((2, 3))
        is_blue = colour[:, 2:] - colour[:, :1] > 0.9
        return colour.masked_fill(is_blue, torch.nan)


def test_pictures_whose_embedding_cannot_be_compared_are_skipped_and_named(gallery: Path, tmp_path: Path) -> None:
    for colour in ("black", "blue"):
        Image.new("RGB", (40, 40), colour).save(gallery / f"{colour}.png")
    loaded = LoadedModel(Colour(), "colour", ModelCard(size=(32, 32)))
    options = SearchOptions(k=2, cache=tmp_path, overwrite=True)
    for _ in range(2):  # embedded, then from the cache
        found = retrieve(first(gallery), gallery, loaded, tmp_path / "out", options)
        assert found.skipped == [
            (str(gallery / "black.png"), "its embedding is zero, which has no cosine"),
            (str(gallery / "blue.png"), "its embedding is NaN or infinite"),
        ]
        assert found.n_pictures == 5
    with pytest.raises(DataError, match=r"black\.png: its embedding is zero"):
        retrieve(gallery / "black.png", gallery, loaded, tmp_path / "other", options)


def test_what_cannot_be_searched_is_named(gallery: Path, tmp_path: Path, network: LoadedModel) -> None:
    options, out = SearchOptions(cache=tmp_path / "cache"), tmp_path / "out"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        retrieve(first(gallery), empty, network, out, options)
    shutil.copy(first(gallery), empty / "only.png")
    with pytest.raises(DataError, match="nothing but 1 copies of the query"):
        retrieve(first(gallery), empty, network, out, options)
    with pytest.raises(DataError, match="no picture but the query"):
        retrieve(empty / "only.png", empty, network, out, options)
    with pytest.raises(DataError, match="the network has collapsed"):
        retrieve(first(gallery), gallery, LoadedModel(Constant(1.0), "constant", network.card), out, options)
    almost = LoadedModel(Constant(1.0, jitter=1e-7), "almost", network.card)
    with pytest.raises(DataError, match="the network has collapsed"):
        retrieve(first(gallery), gallery, almost, out, options)
    with pytest.raises(DataError, match="NaN or infinite"):
        retrieve(first(gallery), gallery, LoadedModel(Constant(float("nan")), "nan", network.card), out, options)
    with pytest.raises(DataError, match="k=0"):
        retrieve(first(gallery), gallery, network, out, SearchOptions(k=0))
    assert not out.exists()
