"""`explain`: pictures in, maps and a page out, with the maps of other methods beside ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from l2caf import L2CAF
from l2caf.cli import app
from l2caf.data.digit_scenes import DigitScenes, write_scenes
from l2caf.data.pictures import prepare, read_picture
from l2caf.errors import DataError, TailError, TargetError
from l2caf.jobs.explain import PictureRequest, explain
from l2caf.methods import GradCAM
from l2caf.methods.registry import methods
from l2caf.models import LoadedModel, ModelCard, load


@pytest.fixture(scope="module")
def digits() -> LoadedModel:
    return load("embedded/digits")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "in"
    folder.mkdir()
    return write_scenes(DigitScenes("test", objects=2, length=2, seed=3), folder)


def test_methods_stand_beside_ours_on_the_page_as_pictures_and_as_arrays(
    digits: LoadedModel, files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    chosen = ["gradcam", "centre", "l2caf-mean"]
    requests = [PictureRequest(file, "top2") for file in files]
    caf = L2CAF(digits.model)
    explain(requests, digits, caf, out, methods=methods(chosen, digits.model))
    explain(requests, digits, caf, tmp_path / "plain")
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count(">map only</a>") == 2 * (2 + 1 + 2)
    assert page.count("<dt>loss</dt>") == 2 * 3  # ours alone have one
    place = out / f"00001-{files[1].stem}"
    assert len(list(place.glob("map-*.png"))) == 3 + 5
    for number in range(3):  # ours are what they are without the others
        ours = (tmp_path / "plain" / place.name / f"map-{number}.png").read_bytes()
        assert (place / f"map-{number}.png").read_bytes() == ours
    inputs = prepare(read_picture(files[1]), **digits.card.feeding)[0][None]
    expected = GradCAM(digits.model)(inputs, "top2")
    with np.load(place / "gradcam.npz") as saved:
        assert expected.target is not None
        assert saved["target"].tolist() == expected.target[0].tolist()
        assert np.allclose(saved["map"], expected.map[0].numpy(), atol=1e-5)
    with np.load(place / "centre.npz") as saved:
        assert saved.files == ["map"]  # of no class
        assert saved["map"].shape == (1, 14, 14)


def test_a_method_that_does_not_take_the_network_is_named_and_nothing_is_written(
    digits: LoadedModel, files: list[Path], tmp_path: Path
) -> None:
    model = nn.Sequential(digits.model, nn.ReLU(), nn.Linear(10, 3)).eval()
    loaded = LoadedModel(model, "deep", digits.card)
    requests = [PictureRequest(file, "top1") for file in files]
    with pytest.raises(TailError, match="method 'cam': CAM needs global average pooling"):
        explain(requests, loaded, L2CAF(model), tmp_path / "out", methods=methods(["gradcam", "cam"], model))
    assert not (tmp_path / "out").exists()


def test_a_method_that_explains_a_class_is_refused_where_none_is_asked_for(
    digits: LoadedModel, files: list[Path], tmp_path: Path
) -> None:
    requests = [PictureRequest(file) for file in files]
    caf = L2CAF(digits.model)
    with pytest.raises(TargetError, match=r"explain a class: gradcam; but no class is asked for.*--target top1"):
        explain(requests, digits, caf, tmp_path / "out", methods=methods(["centre", "gradcam"], digits.model))
    assert not (tmp_path / "out").exists()
    explain(requests, digits, caf, tmp_path / "out", methods=methods(["centre"], digits.model))
    assert len(list((tmp_path / "out" / f"00000-{files[0].stem}").glob("map-*.png"))) == 2


def test_the_command_takes_methods_by_name(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", *files, "-m", "embedded/digits", "--target", "top1", "-o", tmp_path / "out"]
    code = app([*map(str, arguments), "--method", "cam,gradcam"], standalone_mode=False)
    assert code == 0
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert "<bdi>cam: " in page
    assert "<dd>cam, gradcam</dd>" in page
    with pytest.raises(DataError, match="did you mean 'gradcam"):
        app([*map(str, arguments[:-1]), str(tmp_path / "other"), "--method", "gradkam"], standalone_mode=False)
    assert not (tmp_path / "other").exists()


def test_the_pictures_that_can_be_read_are_explained_in_their_order_and_the_others_named(
    digits: LoadedModel, files: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    done: list[tuple[int, int]] = []
    requests = [PictureRequest(file) for file in (files[1], broken, files[0])]
    result = explain(
        requests, digits, L2CAF(digits.model), tmp_path / "out", report=lambda n, total: done.append((n, total))
    )
    assert result.done == [files[1].name, files[0].name]
    assert [name for name, _ in result.skipped] == [str(broken)]
    assert done == [(0, 3), (1, 3), (2, 3), (3, 3)]
    with pytest.raises(DataError, match=r"none of 1 pictures could be read; the first: .*broken\.png cannot be read"):
        explain([PictureRequest(broken)], digits, L2CAF(digits.model), tmp_path / "none")


def test_the_networks_own_view_is_what_is_shown(tmp_path: Path) -> None:
    """With `fit="crop"` the map covers the centre alone, whichever method it is of."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    loaded = LoadedModel(model, "small", ModelCard(size=(16, 16), fit="crop"))
    Image.new("RGB", (48, 16), (90, 120, 30)).save(tmp_path / "wide.png")
    chosen = methods(["whole"], model, "1")
    explain([PictureRequest(tmp_path / "wide.png")], loaded, L2CAF(model, "1"), tmp_path / "out", methods=chosen)
    with Image.open(tmp_path / "out" / "00000-wide" / "map-1.png") as drawn:
        pixels = np.asarray(drawn).astype(int)
    assert (pixels[:, :15] == (90, 120, 30)).all()
    assert (pixels[:, 17:31] != (90, 120, 30)).any(axis=2).all()
