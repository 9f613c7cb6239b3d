"""CUB-200-2011: boxes by its own split of pictures, retrieval by halves of its classes."""

from pathlib import Path

import pytest
from tests.support.trees import cub, four_birds

from l2caf.data.sets import read_boxed, read_retrieval
from l2caf.errors import DataError


def test_cub_corners_come_from_widths_and_the_split_is_kept(tmp_path: Path) -> None:
    found = read_boxed(f"cub:{cub(tmp_path)}")
    assert found.classes == ("001.Gull", "002.Wren")
    assert [(p.file.name, p.label, p.boxes.tolist()) for p in found.pictures] == [
        ("b.jpg", 0, [[10, 5, 30, 35]]),
        ("c.jpg", 1, [[0, 0, 60, 40]]),
    ]
    assert [p.file.name for p in read_boxed(tmp_path, "train").pictures] == ["a.jpg"]


def test_cub_ignores_the_classification_split_and_parts_the_classes(tmp_path: Path) -> None:
    root = four_birds(tmp_path)
    assert read_retrieval(f"cub:{root}", "train").classes == ("001.Bird", "002.Bird")
    found = read_retrieval(root)
    assert (found.name, found.split, found.classes) == ("cub", "test", ("003.Bird", "004.Bird"))
    assert [(Path(p.name).name, p.label, p.boxes.tolist()) for p in found.pictures] == [
        ("3.jpg", 0, [[1, 2, 4, 6]]),
        ("4.jpg", 1, [[1, 2, 4, 6]]),
    ]
    assert found.pictures[0].read().size == (60, 40)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("bounding_boxes.txt", "1 1.0 2.0\n", "bounding_boxes.txt, line 1: 3 columns, expected 5"),
        ("bounding_boxes.txt", "1 1 1 1 1\n", "says nothing of '2'"),
        ("bounding_boxes.txt", "1 1 1 1 1\n2 a 1 1 1\n3 1 1 1 1\n", "'a' is no number"),
    ],
)
def test_a_damaged_file_names_itself(tmp_path: Path, file: str, content: str, message: str) -> None:
    (cub(tmp_path) / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_boxed(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("image_class_labels.txt", "1 1\n2 2\n3 9\n4 4\n", "image_class_labels.txt: picture 3 is of class 9 of 4"),
        ("classes.txt", "1 a\n2\n", "classes.txt, line 2: 1 columns, expected 2"),
    ],
)
def test_a_damaged_file_names_itself_when_classes_are_read(
    tmp_path: Path, file: str, content: str, message: str
) -> None:
    (four_birds(tmp_path) / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_retrieval(tmp_path)


@pytest.mark.parametrize("file", ["images.txt", "classes.txt", "train_test_split.txt"])
def test_a_missing_file_names_itself(tmp_path: Path, file: str) -> None:
    (cub(tmp_path) / file).unlink()
    with pytest.raises(DataError, match=file.replace(".", r"\.")):
        read_boxed(f"cub:{tmp_path}")


@pytest.mark.parametrize("file", ["classes.txt", "bounding_boxes.txt"])
def test_a_missing_file_names_itself_when_classes_are_read(tmp_path: Path, file: str) -> None:
    (four_birds(tmp_path) / file).unlink()
    with pytest.raises(DataError, match=file.replace(".", r"\.")):
        read_retrieval(tmp_path)
