"""Films under their attention, through the library and the command line."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support import networks
from tests.support.clips import clips, fusing
from torch import nn

from l2caf import L2CAF
from l2caf.data.clips import Film, frames_at, open_film
from l2caf.errors import DataError, ModelError
from l2caf.jobs.video import Sampling, explain_film
from l2caf.models import LoadedModel, ModelCard, load
from l2caf.video import frame_maps, frame_shares
from l2caf.viz.film import mp4

pytest.importorskip("av")


def film(path: Path, n: int, size: tuple[int, int] = (64, 48)) -> Path:
    with mp4(path, 10.0) as write:
        for number in range(n):
            picture = np.full((size[1], size[0], 3), 40, np.uint8)
            picture[10:30, (number * 3) % 40 : (number * 3) % 40 + 20] = (200, 180, 40)
            write(picture)
    return path


def loaded_clips(model: nn.Module, frames: int) -> LoadedModel:
    return LoadedModel(model, "test", ModelCard(size=(16, 16), frames=frames))


def test_a_network_of_pictures_sees_a_film_frame_by_frame(tmp_path: Path) -> None:
    loaded = load("embedded/digits")
    explain_film(film(tmp_path / "film.mp4", 20), loaded, L2CAF(loaded.model), tmp_path / "out", sampling=Sampling(10))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert [len(part["times_s"]) for part in manifest["parts"]] == [8, 2]
    assert len(open_film(tmp_path / "out" / "attention.mp4").times_s) == 10
    with np.load(tmp_path / "out" / "filters.npz") as file:
        assert file["filters"].shape == (10, 14, 14)
        assert np.allclose(np.linalg.norm(file["filters"].reshape(10, -1), axis=1), 1, atol=1e-5)
    with Image.open(tmp_path / "out" / "attention.gif") as gif, Image.open(tmp_path / "out" / "filmstrip.png") as strip:
        assert gif.n_frames <= 10
        assert strip.width > 6 * 224


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("n", [12, 2])
def test_a_network_of_clips_sees_clip_by_clip_also_where_the_film_is_shorter(
    tmp_path: Path,
    n: int,
    joint: bool,  # noqa: FBT001
) -> None:
    model = fusing("mean")
    path = film(tmp_path / "film.mp4", n)
    explain_film(path, loaded_clips(model, 3), L2CAF(model, joint=joint), tmp_path / "out", sampling=Sampling(clips=2))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert [len(part["times_s"]) for part in manifest["parts"]] == ([3, 3] if n == 12 else [2])
    assert manifest["parts"][0]["grid"] == ([3, 4, 4] if joint else [4, 4])


class SeesVolumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv3d(3, 6, 3, (1, 2, 2), 1), nn.ReLU())
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(x).mean((2, 3, 4)))


def test_a_network_with_three_dimensional_layers_gets_its_axes_in_its_order(tmp_path: Path) -> None:
    model = networks.seeded(SeesVolumes())
    loaded = loaded_clips(model, 4)
    folder = explain_film(film(tmp_path / "film.mp4", 9), loaded, L2CAF(model), tmp_path / "out")
    with np.load(folder / "filters.npz") as file:
        assert file["filters"].shape == (1, 4, 8, 8)


def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    model = networks.gap()
    loaded = LoadedModel(model, "test", ModelCard(size=(16, 16)))
    peaks = []
    for n in (50, 100):
        path = film(tmp_path / f"{n}.mp4", n, size=(160, 120))
        tracemalloc.start()
        explain_film(path, loaded, L2CAF(model), tmp_path / f"out{n}", sampling=Sampling(n))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 15 * 160 * 120 * 3  # 50 more frames would weigh three times that


def folder_of(path: Path, sizes: list[tuple[int, int]]) -> Path:
    path.mkdir()
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (9 * number, 90, 60)).save(path / f"{number}.png")
    return path


def test_frames_of_several_sizes_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    loaded = load("embedded/digits")
    frames = folder_of(tmp_path / "frames", [(40, 30), (40, 30), (30, 40)])
    with pytest.raises(DataError, match=r"frame at 0\.20 s has 30 x 40 pixels, those before it 40 x 30"):
        explain_film(frames, loaded, L2CAF(loaded.model), tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["frames"]


def test_a_network_made_for_something_else_is_named_and_not_a_traceback(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 2))
    frames = folder_of(tmp_path / "frames", [(40, 30)])
    with pytest.raises(ModelError, match=r"does not take an input of shape \(1, 3, 16, 16\): mat1 .*`frames` in its"):
        explain_film(frames, LoadedModel(model, "m", ModelCard(size=(16, 16))), L2CAF(model), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_film_that_breaks_off_while_decoding_says_how_much_of_it_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(film: Film, times_s: Sequence[float]) -> Iterator[tuple[float, Image.Image]]:
        return islice(frames_at(film, times_s), 3)

    monkeypatch.setattr("l2caf.jobs.video.frames_at", broken)
    loaded = load("embedded/digits")
    path = folder_of(tmp_path / "frames", [(40, 30)] * 5)
    explain_film(path, loaded, L2CAF(loaded.model), tmp_path / "out")
    assert "damaged: of 5 frames chosen, 3 can be read" in caplog.text


def test_frames_have_maps_and_a_joint_filter_says_which_matters() -> None:
    model, clip = fusing("mean"), clips()
    own, joint = L2CAF(model)(clip, "top2"), L2CAF(model, joint=True)(clip)
    assert frame_maps(own, (16, 16)).shape == (2, 3, 16, 16)
    assert torch.allclose(frame_maps(own, (16, 16)).amax((2, 3)), torch.ones(2, 3))
    first = own.filter[:, :, 0].abs()
    assert torch.allclose(frame_maps(own, (4, 4)), first / first.amax((2, 3), keepdim=True))
    maps = frame_maps(joint, (16, 16))
    assert maps.shape == (2, 3, 16, 16)
    assert torch.allclose(maps.amax((1, 2, 3)), torch.ones(2))
    assert torch.allclose(frame_shares(joint).sum(-1), torch.ones(2, 1))
    with pytest.raises(DataError, match="joint=True"):
        frame_shares(own)
    with pytest.raises(DataError, match="has no frames"):
        frame_maps(L2CAF(networks.gap())(networks.pictures()), (16, 16))


def test_the_command_writes_a_film_and_refuses_what_is_none_in_one_line(tmp_path: Path) -> None:
    code = "from l2caf.cli import main; main()"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [sys.executable, "-c", code, "video", *map(str, arguments)], capture_output=True, text=True, check=False
        )

    path = film(tmp_path / "film.mp4", 6)
    result = run(path, "-m", "embedded/digits", "--target", "top1", "--frames", 3, "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("attention.mp4")
    (tmp_path / "no.mp4").write_bytes(path.read_bytes()[:400])
    result = run(tmp_path / "no.mp4", "-m", "embedded/digits", "-o", tmp_path / "out2")
    assert result.returncode == 2
    assert "cannot be read as a film" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out2").exists()
