"""Slices and projections of volumes."""

import numpy as np
import pytest

from l2caf.errors import DataError
from l2caf.viz.volume import projections, slices


def test_slices_are_ascending_no_more_than_asked_for_and_one_holds_the_maximum() -> None:
    volume, heat = np.random.default_rng(0).random((30, 8, 8)), np.zeros((30, 8, 8))
    heat[17, 4, 4] = 1
    chosen = [index for index, _ in slices(volume, heat, n=5)]
    assert chosen == sorted(chosen)
    assert len(chosen) <= 5
    assert 17 in chosen
    assert [index for index, _ in slices(volume[:3], heat[15:18])] == [0, 1, 2]


def test_projections_have_the_other_two_axes_and_the_last_two_stand_upright() -> None:
    volume, heat = np.zeros((4, 6, 8)), np.zeros((4, 6, 8))
    volume[3] = 1  # the head, the last slice
    axial, coronal, sagittal = projections(volume, heat)
    assert [picture.shape[:2] for picture in (axial, coronal, sagittal)] == [(6, 8), (4, 8), (4, 6)]
    assert (coronal[0].astype(int) > coronal[1]).all()
    assert (sagittal[0].astype(int) > sagittal[1]).all()


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"a map of \(4, 6, 7\) does not fit a volume of \(4, 6, 8\)"):
        slices(np.zeros((4, 6, 8)), np.zeros((4, 6, 7)))
