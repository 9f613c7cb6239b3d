"""Boxes listed in one table."""

from pathlib import Path

import pytest
from tests.support.trees import boxes_csv

from l2caf.data.sets import read_boxed
from l2caf.errors import DataError


def test_a_csv_of_boxes(tmp_path: Path) -> None:
    (only,) = read_boxed(boxes_csv(tmp_path)).pictures
    assert (only.label, only.boxes.tolist()) == (3, [[1.5, 2, 3, 4], [5, 6, 7, 8]])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("boxes.csv", "path,class,x0\n", "has no column y0, x1, y1"),
        ("boxes.csv", "path,class,x0,y0,x1,y1\np/a.png,3,,2,3,4\n", "line 2"),
        ("boxes.csv", "path,class,x0,y0,x1,y1\np/gone.png,3,1,2,3,4\n", "no boxed picture"),
    ],
)
def test_a_damaged_file_names_itself(tmp_path: Path, file: str, content: str, message: str) -> None:
    (boxes_csv(tmp_path) / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_boxed(tmp_path)
