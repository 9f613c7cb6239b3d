"""Readers of boxed data sets, on small trees of the published layouts."""

from pathlib import Path

import pytest
from tests.support.trees import lines, picture

from l2caf.data.boxed import read_boxed
from l2caf.errors import DataError


def cub(root: Path) -> Path:
    lines(root / "images.txt", "1 001.Gull/a.jpg", "2 001.Gull/b.jpg", "3 002.Wren/c.jpg")
    lines(root / "image_class_labels.txt", "1 1", "2 1", "3 2")
    lines(root / "train_test_split.txt", "1 1", "2 0", "3 0")
    lines(root / "bounding_boxes.txt", "1 1.0 2.0 3.0 4.0", "2 10.0 5.0 20.0 30.0", "3 0.0 0.0 60.0 40.0")
    lines(root / "classes.txt", "1 001.Gull", "2 002.Wren")
    for name in ("001.Gull/a", "001.Gull/b", "002.Wren/c"):
        picture(root / "images" / f"{name}.jpg")
    return root


def annotation(file: Path, *things: tuple[str, int, int, int, int]) -> None:
    sides = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, corners, strict=True))
        + "</bndbox></object>"
        for name, *corners in things
    )
    lines(file, f"<annotation><size><width>60</width></size>{objects}</annotation>")


def ilsvrc(root: Path, *, kaggle: bool = True) -> Path:
    lines(root / "LOC_synset_mapping.txt", "n02 tabby cat", "n01 tench, Tinca tinca")
    notes = root / ("ILSVRC/Annotations/CLS-LOC/val" if kaggle else "bbox/val")
    annotation(notes / "ILSVRC2012_val_00000001.xml", ("n02", 1, 2, 30, 31), ("n02", 5, 6, 7, 8))
    annotation(notes / "ILSVRC2012_val_00000002.xml", ("n01", 3, 4, 50, 39))
    annotation(notes / "ILSVRC2012_val_00000003.xml")
    for number, wnid in ((1, "n02"), (2, "n01"), (3, "n01")):
        folder = root / "ILSVRC/Data/CLS-LOC/val" if kaggle else root / "val" / wnid
        picture(folder / f"ILSVRC2012_val_0000000{number}.JPEG")
    return root


def wsol(root: Path) -> Path:
    lines(root / "test" / "image_ids.txt", "val/a.JPEG", "val/b.JPEG")
    lines(root / "test" / "class_labels.txt", "val/a.JPEG,7", "val/b.JPEG,2")
    lines(root / "test" / "localization.txt", "val/a.JPEG,1,2,3,4", "val/a.JPEG,5,6,7,8", "val/b.JPEG,0,0,9,9")
    picture(root / "val/a.JPEG")
    picture(root / "val/b.JPEG")
    return root


def boxes_csv(root: Path) -> Path:
    lines(root / "boxes.csv", "path,class,x0,y0,x1,y1,extra", "p/a.png,3,1.5,2,3,4,x", "p/a.png,3,5,6,7,8,x")
    picture(root / "p/a.png")
    return root


def test_cub_corners_come_from_widths_and_the_split_is_kept(tmp_path: Path) -> None:
    found = read_boxed(f"cub:{cub(tmp_path)}")
    assert found.classes == ("001.Gull", "002.Wren")
    assert [(p.file.name, p.label, p.boxes.tolist()) for p in found.pictures] == [
        ("b.jpg", 0, [[10, 5, 30, 35]]),
        ("c.jpg", 1, [[0, 0, 60, 40]]),
    ]
    assert [p.file.name for p in read_boxed(tmp_path, "train").pictures] == ["a.jpg"]


@pytest.mark.parametrize("kaggle", [True, False])
def test_imagenet_classes_are_numbered_by_sorted_wordnet_id(tmp_path: Path, *, kaggle: bool) -> None:
    found = read_boxed(ilsvrc(tmp_path, kaggle=kaggle))
    assert found.name == "ilsvrc"
    assert found.classes == ("tench, Tinca tinca", "tabby cat")
    assert [(p.label, p.boxes.tolist()) for p in found.pictures] == [
        (1, [[1, 2, 30, 31], [5, 6, 7, 8]]),
        (0, [[3, 4, 50, 39]]),
    ]
    assert found.n_unboxed == 1


def test_wsolevaluation_lists(tmp_path: Path) -> None:
    found = read_boxed(wsol(tmp_path))
    assert [(p.label, len(p.boxes)) for p in found.pictures] == [(7, 2), (2, 1)]


def test_a_csv_of_boxes(tmp_path: Path) -> None:
    (only,) = read_boxed(boxes_csv(tmp_path)).pictures
    assert (only.label, only.boxes.tolist()) == (3, [[1.5, 2, 3, 4], [5, 6, 7, 8]])


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


@pytest.mark.parametrize(
    ("make", "file", "content", "message"),
    [
        (cub, "bounding_boxes.txt", "1 1.0 2.0\n", "bounding_boxes.txt, line 1: 3 columns, expected 5"),
        (cub, "bounding_boxes.txt", "1 1 1 1 1\n", "says nothing of '2'"),
        (cub, "bounding_boxes.txt", "1 1 1 1 1\n2 a 1 1 1\n3 1 1 1 1\n", "'a' is no number"),
        (ilsvrc, "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", "<annotation><obj", "no readable XML"),
        (ilsvrc, "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", "<!ENTITY x>", "refused"),
        (ilsvrc, "LOC_synset_mapping.txt", "n02 cat\n", "says nothing of 'n01'"),
        (wsol, "test/class_labels.txt", "val/a.JPEG,7\n", "says nothing of 'val/b.JPEG'"),
        (boxes_csv, "boxes.csv", "path,class,x0\n", "has no column y0, x1, y1"),
        (boxes_csv, "boxes.csv", "path,class,x0,y0,x1,y1\np/a.png,3,,2,3,4\n", "line 2"),
        (boxes_csv, "boxes.csv", "path,class,x0,y0,x1,y1\np/gone.png,3,1,2,3,4\n", "no boxed picture"),
    ],
)
def test_a_damaged_file_names_itself(tmp_path: Path, make: object, file: str, content: str, message: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_boxed(tmp_path)


@pytest.mark.parametrize("file", ["images.txt", "classes.txt", "train_test_split.txt"])
def test_a_missing_file_names_itself(tmp_path: Path, file: str) -> None:
    (cub(tmp_path) / file).unlink()
    with pytest.raises(DataError, match=file.replace(".", r"\.")):
        read_boxed(f"cub:{tmp_path}")


@pytest.mark.parametrize("spec", ["cups:", "", "cub:nowhere/"])
def test_what_is_no_data_set_is_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(DataError):
        read_boxed(f"{spec}{tmp_path}")
