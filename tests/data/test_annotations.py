"""Lists of published data sets."""

from pathlib import Path

import pytest
from tests.support.trees import lines

from l2caf.data.annotations import columns, lookup, number, opened
from l2caf.errors import DataError


def test_the_last_column_keeps_further_separators_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    lines(file, "1  a name  of words", "", "2\tother ")
    assert list(columns(file, 2)) == [["1", "a name  of words"], ["2", "other"]]
    lines(file, "a b.png, 3", "c,d,5")
    assert list(columns(file, 2, separator=",")) == [["a b.png", "3"], ["c", "d,5"]]


def test_a_line_that_is_too_short_is_numbered_as_an_editor_does(tmp_path: Path) -> None:
    lines(tmp_path / "list.txt", "1 a", "", "2")
    with pytest.raises(DataError, match=r"list\.txt, line 3: 1 columns, expected 2: 2"):
        list(columns(tmp_path / "list.txt", 2))


def test_what_is_missing_or_no_number_names_its_place(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    assert number(" 2.5 ", file) == 2.5
    with pytest.raises(DataError, match=r"list\.txt: None is no number"):
        number(None, file)
    with pytest.raises(DataError, match=r"list\.txt says nothing of 'b'"):
        lookup({"a": 1}, "b", file)
    with pytest.raises(DataError, match=r"list\.txt cannot be read: No such file"):
        opened(file)
