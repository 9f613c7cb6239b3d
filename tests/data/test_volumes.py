"""Volumes as networks take them, and maps in the axes of their scan."""

from pathlib import Path

import numpy as np
import pytest
import torch

from l2caf.data.volumes import Volume, as_input, read_volume, write_map
from l2caf.errors import DataError


def scan() -> Volume:
    values = np.random.default_rng(0).normal(3, 7, (4, 6, 8)).astype(np.float32)
    return Volume(values, np.diag([2.0, 3.0, 4.0, 1.0]))


def test_an_input_has_mean_0_and_deviation_1_in_every_channel_and_keeps_its_contrast() -> None:
    volume = scan()
    inputs = as_input(volume, channels=3)
    assert inputs.shape == (1, 3, 4, 6, 8)
    assert inputs.mean((0, 2, 3, 4)).abs().max() < 1e-6
    assert torch.allclose(inputs.std((0, 2, 3, 4)), torch.ones(3))
    order = np.argsort(volume.values, axis=None)
    assert bool((inputs[0, 2].flatten()[order].diff() >= 0).all())


def test_a_scan_of_one_value_gives_zeros_and_a_size_below_one_is_refused() -> None:
    flat = Volume(np.full((2, 2, 2), 5.0, dtype=np.float32), np.eye(4))
    assert not as_input(flat, (4, 4, 4)).any()
    with pytest.raises(DataError, match="cannot be resampled to"):
        as_input(flat, (0, 4, 4))


def test_a_map_is_read_back_with_the_axes_of_its_scan(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    axes = np.array([[0, 0, -1, 7], [0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    volume = Volume(scan().values, scan().affine @ axes)  # as `read_volume` leaves a scan
    heat = np.zeros((4, 6, 8))
    heat[1, 2, 3] = 1
    write_map(tmp_path / "map.nii.gz", heat, volume)
    back = read_volume(tmp_path / "map.nii.gz")
    assert np.unravel_index(back.values.argmax(), back.values.shape) == (1, 2, 3)
    assert np.allclose(back.affine, volume.affine)
    assert nibabel.load(tmp_path / "map.nii.gz").get_data_dtype() == np.float32
