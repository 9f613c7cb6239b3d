"""Diagrams that leave the caller's own alone."""

from pathlib import Path

import pytest
from PIL import Image

from l2caf.errors import StorageError
from l2caf.viz.plot import new_figure, save_figure


def test_a_figure_has_axes_in_rows_and_columns_and_its_suffix_decides_the_format(tmp_path: Path) -> None:
    figure, axes = new_figure(2, 3, size=(4.0, 2.0))
    assert axes.shape == (2, 3)
    save_figure(figure, tmp_path / "new" / "plot.png")
    with Image.open(tmp_path / "new" / "plot.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (600, 300))
    with pytest.raises(StorageError, match=r"plot\.word cannot be written"):
        save_figure(figure, tmp_path / "plot.word")


def test_no_figure_is_left_in_pyplot() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    new_figure(size=(1.0, 1.0))
    assert pyplot.get_fignums() == before
