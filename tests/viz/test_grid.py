"""Figures made of pictures in rows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2caf.errors import StorageError
from l2caf.viz.grid import CELL_PX, GAP_PX, HEAD_PX, titled, write_grid


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (10, 10)) -> np.ndarray:
    return np.full((*size, 3), colour, dtype=np.uint8)


def test_every_picture_stands_in_its_row_and_column_and_narrow_ones_in_the_middle(tmp_path: Path) -> None:
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    write_grid(tmp_path / "a" / "grid.png", ["one", "two"], [[plain(red), plain(green)], [plain(blue, (20, 10))]])
    with Image.open(tmp_path / "a" / "grid.png") as drawn:
        assert drawn.size == (2 * CELL_PX + GAP_PX, HEAD_PX + 2 * CELL_PX + GAP_PX)
        middle, step = CELL_PX // 2, CELL_PX + GAP_PX
        assert drawn.getpixel((middle, HEAD_PX + middle)) == red
        assert drawn.getpixel((middle + step, HEAD_PX + middle)) == green
        assert drawn.getpixel((middle, HEAD_PX + middle + step)) == blue
        assert drawn.getpixel((10, HEAD_PX + middle + step)) == (255, 255, 255)  # twice as high as wide


def test_a_file_of_no_known_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"grid\.nothing cannot be written"):
        write_grid(tmp_path / "grid.nothing", ["one"], [[plain((0, 0, 0))]])


def test_a_title_changes_the_upper_left_corner_of_a_copy() -> None:
    picture = plain((9, 9, 9), (120, 200))
    changed = np.argwhere((titled(picture, "word") != picture).any(-1))
    assert len(changed)
    assert changed.max(0)[0] < 30
    assert (picture == 9).all()
