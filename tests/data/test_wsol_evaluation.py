"""The lists of wsolevaluation."""

from pathlib import Path

import pytest
from tests.support.trees import wsol

from l2caf.data.sets import read_boxed
from l2caf.errors import DataError


def test_wsolevaluation_lists(tmp_path: Path) -> None:
    found = read_boxed(wsol(tmp_path))
    assert [(p.label, len(p.boxes)) for p in found.pictures] == [(7, 2), (2, 1)]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test/class_labels.txt", "val/a.JPEG,7\n", "says nothing of 'val/b.JPEG'"),
    ],
)
def test_a_damaged_file_names_itself(tmp_path: Path, file: str, content: str, message: str) -> None:
    (wsol(tmp_path) / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_boxed(tmp_path)
