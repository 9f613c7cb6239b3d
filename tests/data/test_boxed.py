"""Pictures with boxes, collected from annotations."""

from pathlib import Path

from tests.support.trees import cub, lines, picture

from l2caf.data.sets import read_boxed


def test_a_picture_of_two_classes_is_two_entries(tmp_path: Path) -> None:
    lines(tmp_path / "boxes.csv", "path,class,x0,y0,x1,y1", "a.png,3,1,2,3,4", "a.png,5,5,6,7,8", "a.png,3,0,0,1,1")
    picture(tmp_path / "a.png")
    found = read_boxed(tmp_path)
    assert [(p.label, p.boxes.tolist()) for p in found.pictures] == [
        (3, [[1, 2, 3, 4], [0, 0, 1, 1]]),
        (5, [[5, 6, 7, 8]]),
    ]


def test_pictures_that_are_missing_are_listed(tmp_path: Path) -> None:
    cub(tmp_path)
    (tmp_path / "images/001.Gull/b.jpg").unlink()
    found = read_boxed(tmp_path)
    assert [file.name for file in found.missing] == ["b.jpg"]
    assert [p.file.name for p in found.pictures] == ["c.jpg"]
