"""A folder per class."""

from pathlib import Path

import pytest
from tests.support.trees import folders, picture

from l2caf.data.sets import read_retrieval, read_training
from l2caf.errors import DataError


def test_folders_are_parted_in_the_middle_and_numbers_sorted_by_value(tmp_path: Path) -> None:
    assert read_retrieval(folders(tmp_path / "letters"), "train").classes == ("a",)
    found = read_retrieval(folders(tmp_path / "numbers", "10", "9", "2"))
    assert (found.name, found.classes, found.labels.tolist()) == ("folder", ("9", "10"), [0, 0, 1, 1])


def test_every_tenth_picture_of_a_class_validates_and_none_is_in_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(16):
            picture(tmp_path / name / f"{number:02d}.png")
    found = read_training(str(tmp_path))
    assert [(file.parent.name, file.name, label) for file, label in found.validation] == [
        ("a", "05.png", 0), ("a", "15.png", 0), ("b", "05.png", 1), ("b", "15.png", 1),
    ]  # fmt: skip
    assert len(found.train) == 28
    assert not set(found.train) & set(found.validation)


def test_one_folder_is_no_set_of_classes(tmp_path: Path) -> None:
    picture(tmp_path / "only" / "1.png")
    with pytest.raises(DataError, match="holds 1 folders; expected one per class, two at least"):
        read_retrieval(f"folder:{tmp_path}")
