"""Sets of classes for retrieval: files that are missing, copies, and classes of one picture."""

from pathlib import Path

import pytest
from tests.support.trees import folders, four_birds, picture

from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError


def test_pictures_that_are_missing_are_listed(tmp_path: Path) -> None:
    (four_birds(tmp_path) / "images/003.Bird/3.jpg").unlink()
    found = read_retrieval(tmp_path)
    assert [file.name for file in found.missing] == ["3.jpg"]
    assert [Path(p.name).name for p in found.pictures] == ["4.jpg"]
    (tmp_path / "images/004.Bird/4.jpg").unlink()
    with pytest.raises(DataError, match=r"no test picture of this cub set is there.*3\.jpg"):
        read_retrieval(tmp_path)


def test_a_copy_is_left_out_and_its_class_may_then_be_alone(tmp_path: Path) -> None:
    root = folders(tmp_path, "a", "b", "c")
    picture(root / "b" / "2.png", size=(30, 20))
    found = read_retrieval(root)
    assert (found.classes, found.lone) == (("b", "c"), ())
    rest, copies = found.without_copies()
    assert [f"{file.parent.name}/{file.name}" for file in copies] == ["c/1.png", "c/2.png"]
    assert [picture.file.name for picture in rest.pictures if picture.file] == ["1.png", "2.png"]
    assert rest.lone == ()
    picture(root / "c" / "2.png", size=(31, 20))
    rest, copies = read_retrieval(root).without_copies()
    assert rest.lone == ("c",)
    assert [file.name for file in copies] == ["1.png"]


def test_drawn_pictures_are_never_copies_of_each_other() -> None:
    found = read_retrieval("digits:8")
    assert found.files == ()
    assert found.without_copies() == (found, ())
