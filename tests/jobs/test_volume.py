"""Scans under their attention."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.attention.test_volumes import UNet3d, VolumeClassifier
from tests.support import networks
from torch import nn

from l2caf import L2CAF, Attention
from l2caf.data.volumes import Volume, as_input, read_volume
from l2caf.errors import DataError, ModelError
from l2caf.jobs.volume import explain_volume, scores_of_volume
from l2caf.models import load
from l2caf.viz.volume import projections, slices

nibabel = pytest.importorskip("nibabel")


def scan(path: Path, axes: str = "RAS", shape: tuple[int, int, int] = (20, 16, 12)) -> Path:
    """A scan whose bright block is on the patient's right, in front, near the feet, whatever the file's axes."""
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 0.05
    values[14:18, 10:14, 1:4] = 3.0  # right, anterior, inferior
    image = nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
    )
    nibabel.save(image.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR"])
def test_scans_stand_alike_whatever_the_axes_of_their_file(tmp_path: Path, axes: str) -> None:
    volume = read_volume(scan(tmp_path / "scan.nii.gz", axes))
    assert volume.values.shape == (12, 16, 20)
    assert (volume.values[1:4, 2:6, 2:6] == 3.0).all()  # low slice, front rows, right side first
    back = nibabel.affines.apply_affine(volume.affine, [1, 2, 2])
    assert np.allclose(back, [17, 13 * 2, 1 * 3])


def test_a_scan_is_explained_and_its_map_lies_on_it_in_any_viewer(tmp_path: Path) -> None:
    model = networks.seeded(VolumeClassifier())
    path = scan(tmp_path / "scan.nii.gz", "LPS")
    folder = explain_volume(path, L2CAF(model), tmp_path / "out", target="top1")
    heat = nibabel.as_closest_canonical(nibabel.load(folder / "attention.nii.gz")).get_fdata()
    assert heat.shape == (20, 16, 12)
    assert heat[14:18, 10:14, 1:4].mean() > 2 * heat[:8, :8, 6:].mean()
    assert Attention.load(folder / "attention").grid == (3, 4, 5)
    with Image.open(folder / "slices.png") as drawn, Image.open(folder / "projections.png") as flat:
        assert drawn.width > 5 * 224
        assert flat.height > 200


def test_slices_hold_the_maximum_and_projections_see_every_axis() -> None:
    values, heat = np.zeros((12, 16, 20)), np.zeros((12, 16, 20))
    heat[7, 3, 4] = 1
    assert 7 in [index for index, _ in slices(values, heat, 3)]
    assert [picture.shape for picture in projections(values, heat)] == [(16, 20, 3), (12, 20, 3), (12, 16, 3)]
    with pytest.raises(DataError, match="does not fit a volume"):
        slices(values, heat[:5])


def test_what_is_no_scan_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("no scan")
    with pytest.raises(DataError, match="cannot be read as NIfTI"):
        read_volume(tmp_path / "text.nii")
    content = scan(tmp_path / "scan.nii.gz").read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read as NIfTI"):
        read_volume(tmp_path / "half.nii.gz")
    with pytest.raises(DataError, match="does not exist"):
        read_volume(tmp_path / "missing.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), tmp_path / "four.nii")
    with pytest.raises(DataError, match="expected one volume"):
        read_volume(tmp_path / "four.nii")
    assert isinstance(read_volume(scan(tmp_path / "again.nii")), Volume)


def test_a_segmentation_is_explained_by_its_scores_over_the_scan(tmp_path: Path) -> None:
    model = networks.seeded(UNet3d())
    path = scan(tmp_path / "scan.nii.gz")
    folder = explain_volume(path, L2CAF(model, output=scores_of_volume), tmp_path / "out", target=1)
    attention = Attention.load(folder / "attention")
    assert attention.grid == (12, 16, 20)  # voxel by voxel: a matrix of 7680 outputs by 3840 weights
    with torch.no_grad():
        scores = model(as_input(read_volume(path)))[0]
    wanted = scores[1] - scores[0]
    assert torch.allclose(attention.filter[0, 0], wanted / wanted.norm(), atol=1e-4)


def test_a_scan_of_a_size_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    path = scan(tmp_path / "scan.nii.gz")
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(ModelError, match=r"input of shape \(1, 1, 12, 16, 20\): mat1 .*`--shape D,H,W`"):
        explain_volume(path, L2CAF(model), tmp_path / "out")
    with pytest.raises(DataError, match=r"resampled to \(0, 8, 8\); expected .* at least 1"):
        explain_volume(path, L2CAF(model), tmp_path / "out", size=(0, 8, 8))
    assert not (tmp_path / "out").exists()


def test_the_command_takes_a_network_of_the_users_own_code(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from l2caf.cli import main; main()"
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def small(classes=2):\n"
        "    return nn.Sequential(nn.Conv3d(1, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),"
        " nn.Linear(4, classes))\n",
        encoding="utf-8",
    )
    arguments = ["volume", scan(tmp_path / "scan.nii.gz"), "-m", "mine:small", "--model-arg", "classes=3"]
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *map(str, [tmp_path, *arguments, "--shape", "8,16,16", "-o", tmp_path / "out"])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert Attention.load(tmp_path / "out" / "attention").grid == (4, 8, 8)
    with pytest.raises(ModelError, match="cannot be imported"):
        load("no_such_package:network")
    with pytest.raises(ModelError, match="expected a torch"):
        load("builtins:dict")
