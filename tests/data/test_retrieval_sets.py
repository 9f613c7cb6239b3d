"""Readers of retrieval sets, on small trees of the published layouts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from tests.support.trees import lines, picture

from l2caf.data.retrieval_sets import RetrievalSet, read_retrieval
from l2caf.errors import DataError

CLASSES = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012"]


def structs(**columns: list[object]) -> np.ndarray:
    """A 1 x n struct array, every field an object, as the published files hold."""
    rows = np.zeros((1, len(next(iter(columns.values())))), dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        rows[name][0, :] = values
    return rows


def corners(n: int) -> dict[str, list[object]]:
    sides = {"bbox_x1": 1, "bbox_y1": 2, "bbox_x2": 30, "bbox_y2": 40}
    return {side: [np.array([[value + i]], dtype=np.uint16) for i in range(n)] for side, value in sides.items()}


def numbers(*values: int) -> list[object]:
    return [np.array([[value]], dtype=np.uint8) for value in values]


def names() -> np.ndarray:
    return np.array([CLASSES], dtype=object)


def cub(root: Path) -> Path:
    lines(root / "images.txt", *(f"{i} 00{i}.Bird/{i}.jpg" for i in range(1, 5)))
    lines(root / "image_class_labels.txt", *(f"{i} {i}" for i in range(1, 5)))
    lines(root / "bounding_boxes.txt", *(f"{i} 1.0 2.0 3.0 4.0" for i in range(1, 5)))
    lines(root / "classes.txt", *(f"{i} 00{i}.Bird" for i in range(1, 5)))
    for i in range(1, 5):
        picture(root / f"images/00{i}.Bird/{i}.jpg")
    return root


def cars_old(root: Path) -> Path:
    paths = [f"car_ims/00000{i}.jpg" for i in range(1, 6)]
    annotations = structs(
        relative_im_path=list(paths), **corners(5), **{"class": numbers(1, 2, 3, 4, 3), "test": numbers(0, 0, 0, 1, 1)}
    )
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": names()})
    for path in paths:
        picture(root / path)
    return root


def cars_devkit(root: Path, *, nested: bool = False, folder: str = "devkit") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    savemat(root / folder / "cars_meta.mat", {"class_names": names()})
    for part, name, classes in (("train", "", (1, 3)), ("test", "_withlabels", (2, 4, 4))):
        files: list[object] = [f"0000{i}.jpg" for i in range(1, len(classes) + 1)]
        annotations = structs(**corners(len(classes)), **{"class": numbers(*classes), "fname": files})
        savemat(root / folder / f"cars_{part}_annos{name}.mat", {"annotations": annotations})
        for file in files:
            picture(root / f"cars_{part}" / (f"cars_{part}/{file}" if nested else str(file)))
    return root


def cars_csv(root: Path) -> Path:
    lines(root / "names.csv", *CLASSES)
    lines(root / "anno_train.csv", "00001.jpg,1,2,30,40,3", "00002.jpg,2,3,31,41,1")
    lines(root / "anno_test.csv", "00001.jpg,1,2,30,40,4")
    picture(root / "car_data/car_data/train/Ram C-V Cargo Van Minivan 2012/00001.jpg")
    picture(root / "car_data/car_data/train/AM General Hummer SUV 2000/00002.jpg")
    picture(root / "car_data/car_data/test/smart fortwo 2012/00001.jpg")
    return root


def sop(root: Path) -> Path:
    header = "image_id class_id super_class_id path"
    lines(root / "Ebay_train.txt", header, "1 1 1 bicycle_final/1_0.JPG", "2 1 1 bicycle_final/1_1.JPG")
    lines(root / "Ebay_test.txt", header, "3 11320 1 chair_final/2_0.JPG", "4 11319 2 chair_final/3_0.JPG")
    for name in ("bicycle_final/1_0", "bicycle_final/1_1", "chair_final/2_0", "chair_final/3_0"):
        picture(root / f"{name}.JPG")
    return root


def folders(root: Path, *classes: str) -> Path:
    for name in classes or ("b", "a", "c"):
        picture(root / name / "1.png")
        picture(root / name / "2.png")
    lines(root / ".hidden/notes.txt", "no class")
    return root


def summary(found: RetrievalSet) -> list[tuple[str, int, list[list[float]]]]:
    return [(Path(p.name).name, p.label, p.boxes.tolist()) for p in found.pictures]


def test_cub_ignores_the_classification_split_and_parts_the_classes(tmp_path: Path) -> None:
    root = cub(tmp_path)
    assert read_retrieval(f"cub:{root}", "train").classes == ("001.Bird", "002.Bird")
    found = read_retrieval(root)
    assert (found.name, found.split, found.classes) == ("cub", "test", ("003.Bird", "004.Bird"))
    assert summary(found) == [("3.jpg", 0, [[1, 2, 4, 6]]), ("4.jpg", 1, [[1, 2, 4, 6]])]
    assert found.pictures[0].read().size == (60, 40)


def test_old_cars(tmp_path: Path) -> None:
    found = read_retrieval(f"cars:{cars_old(tmp_path)}")
    assert found.classes == tuple(CLASSES[2:])
    assert summary(found) == [
        ("000003.jpg", 0, [[3, 4, 32, 42]]), ("000004.jpg", 1, [[4, 5, 33, 43]]), ("000005.jpg", 0, [[5, 6, 34, 44]]),
    ]  # fmt: skip
    assert found.labels.tolist() == [0, 1, 0]
    assert found.lone == ("smart fortwo 2012",)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("folder", ["devkit", ".", "car_devkit/devkit"])
def test_cars_of_the_devkit(tmp_path: Path, folder: str, *, nested: bool) -> None:
    root = cars_devkit(tmp_path, nested=nested, folder=folder)
    train, test = read_retrieval(root, "train"), read_retrieval(root, "test")
    places = ("cars_train/cars_train", "cars_test/cars_test") if nested else ("cars_train", "cars_test")
    assert [p.name for p in train.pictures] == [str(root / place / "00001.jpg") for place in places]
    assert summary(train) == [("00001.jpg", 0, [[1, 2, 30, 40]]), ("00001.jpg", 1, [[1, 2, 30, 40]])]
    assert [(name, label) for name, label, _ in summary(test)] == [("00002.jpg", 0), ("00002.jpg", 1), ("00003.jpg", 1)]
    assert not test.missing


def test_cars_by_class_folders(tmp_path: Path) -> None:
    found = read_retrieval(cars_csv(tmp_path))
    assert summary(found) == [("00001.jpg", 0, [[1, 2, 30, 40]]), ("00001.jpg", 1, [[1, 2, 30, 40]])]
    assert "Ram C-V" in found.pictures[0].name


def test_a_single_entry_is_read_like_many(tmp_path: Path) -> None:
    annotations = structs(relative_im_path=["car_ims/1.jpg"], **corners(1), **{"class": numbers(4)})
    savemat(tmp_path / "cars_annos.mat", {"annotations": annotations, "class_names": names()})
    picture(tmp_path / "car_ims/1.jpg")
    assert len(read_retrieval(tmp_path).pictures) == 1


def test_annotations_of_two_cars_layouts_are_refused(tmp_path: Path) -> None:
    cars_csv(cars_old(tmp_path))
    with pytest.raises(DataError, match="annotations of several layouts of CARS196: old, csv"):
        read_retrieval(tmp_path)


def test_old_annotations_beside_the_devkits_pictures_are_refused(tmp_path: Path) -> None:
    cars_old(tmp_path)
    shutil.rmtree(tmp_path / "car_ims")
    picture(tmp_path / "cars_train/cars_train/00001.jpg")
    with pytest.raises(DataError, match="mixes annotations of the old layout with pictures of the devkit one"):
        read_retrieval(tmp_path)


def test_stanford_online_products_have_lists_of_their_own(tmp_path: Path) -> None:
    found = read_retrieval(sop(tmp_path))
    assert (found.name, found.classes) == ("sop", ("11319", "11320"))
    assert summary(found) == [("2_0.JPG", 1, []), ("3_0.JPG", 0, [])]
    assert read_retrieval(f"sop:{tmp_path}", "train").labels.tolist() == [0, 0]


def test_folders_are_parted_in_the_middle_and_numbers_sorted_by_value(tmp_path: Path) -> None:
    assert read_retrieval(folders(tmp_path / "letters"), "train").classes == ("a",)
    found = read_retrieval(folders(tmp_path / "numbers", "10", "9", "2"))
    assert (found.name, found.classes, found.labels.tolist()) == ("folder", ("9", "10"), [0, 0, 1, 1])


def test_digits_are_drawn_with_their_boxes_and_share_no_class() -> None:
    train, test = read_retrieval("digits:20", "train"), read_retrieval("digits:20")
    assert (train.classes, test.classes) == (tuple("01234"), tuple("56789"))
    one = test.pictures[3]
    assert (one.name, one.read().size, one.boxes.shape) == ("digits-test-3", (112, 112), (1, 4))
    assert test.classes[one.label] in "56789"
    assert np.array_equal(np.asarray(one.read()), np.asarray(read_retrieval("digits:20").pictures[3].read()))
    again = read_retrieval("digits:20", seed=1).pictures[3]
    assert not np.array_equal(np.asarray(one.read()), np.asarray(again.read()))


def test_pictures_that_are_missing_are_listed(tmp_path: Path) -> None:
    (cub(tmp_path) / "images/003.Bird/3.jpg").unlink()
    found = read_retrieval(tmp_path)
    assert [file.name for file in found.missing] == ["3.jpg"]
    assert [Path(p.name).name for p in found.pictures] == ["4.jpg"]
    (tmp_path / "images/004.Bird/4.jpg").unlink()
    with pytest.raises(DataError, match=r"no test picture of this cub set is there.*3\.jpg"):
        read_retrieval(tmp_path)


@pytest.mark.parametrize(
    ("make", "file", "content", "message"),
    [
        (cub, "image_class_labels.txt", "1 1\n2 2\n3 9\n4 4\n", "image_class_labels.txt: picture 3 is of class 9 of 4"),
        (cub, "classes.txt", "1 a\n2\n", "classes.txt, line 2: 1 columns, expected 2"),
        (sop, "Ebay_test.txt", "1 1 1 a.JPG\n", "Ebay_test.txt, line 1: expected the header"),
        (sop, "Ebay_test.txt", "image_id class_id super_class_id path\n1 x 1 a.JPG\n", "'x' is no number"),
        (cars_csv, "anno_test.csv", "1.jpg,1,2,3,4\n", "anno_test.csv, line 1: 5 columns"),
        (cars_csv, "anno_test.csv", "1.jpg,1,2,3,4,9\n", "anno_test.csv, line 1: class 9 of 4"),
        (cars_old, "cars_annos.mat", "", "cars_annos.mat cannot be read"),
        (cars_old, "cars_annos.mat", "not a mat file", "cars_annos.mat cannot be read"),
        (cars_devkit, "devkit/cars_meta.mat", "MATLAB 5.0" * 40, "cars_meta.mat cannot be read"),
    ],
)
def test_a_damaged_file_names_itself(
    tmp_path: Path, make: Callable[[Path], Path], file: str, content: str, message: str
) -> None:
    (make(tmp_path) / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_retrieval(tmp_path)


def test_a_truncated_or_foreign_mat_file_names_itself(tmp_path: Path) -> None:
    file = cars_old(tmp_path) / "cars_annos.mat"
    whole = file.read_bytes()
    for kept in range(0, len(whole) - 1, 97):
        file.write_bytes(whole[:kept])
        with pytest.raises(DataError, match=r"cars_annos\.mat"):
            read_retrieval(tmp_path)
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(DataError, match=r"version 7\.3"):
        read_retrieval(tmp_path)
    savemat(file, {"annotations": structs(fname=["1.jpg"]), "class_names": names()})
    with pytest.raises(DataError, match="has no field relative_im_path, bbox_x1"):
        read_retrieval(tmp_path)
    savemat(file, {"something": 1})
    with pytest.raises(DataError, match="holds no 'annotations'"):
        read_retrieval(tmp_path)


@pytest.mark.parametrize(
    ("make", "file"),
    [(cars_devkit, "cars_meta.mat"), (cars_devkit, "cars_test_annos_withlabels.mat"), (cars_csv, "names.csv"),
     (sop, "Ebay_test.txt"), (cub, "classes.txt")],
)  # fmt: skip
def test_a_missing_file_names_itself(tmp_path: Path, make: Callable[[Path], Path], file: str) -> None:
    next(make(tmp_path).rglob(file)).unlink()
    with pytest.raises(DataError, match=file.replace(".", r"\.")):
        read_retrieval(tmp_path)


@pytest.mark.parametrize("spec", ["cups:", "", "sop:nowhere/", "cars:", "digits:", "sop:"])
def test_what_is_no_data_set_is_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(DataError):
        read_retrieval(f"{spec}{tmp_path}")
