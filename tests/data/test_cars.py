"""CARS196 in the layouts that circulate."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.io import savemat
from tests.support import trees
from tests.support.trees import cars_csv, cars_devkit, cars_old, picture

from l2caf.data.retrieval_sets import RetrievalSet
from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError


def summary(found: RetrievalSet) -> list[tuple[str, int, list[list[float]]]]:
    return [(Path(p.name).name, p.label, p.boxes.tolist()) for p in found.pictures]


def test_old_cars(tmp_path: Path) -> None:
    found = read_retrieval(f"cars:{cars_old(tmp_path)}")
    assert found.classes == tuple(trees.CARS[2:])
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
    annotations = trees.structs(relative_im_path=["car_ims/1.jpg"], **trees.corners(1), **{"class": trees.numbers(4)})
    savemat(tmp_path / "cars_annos.mat", {"annotations": annotations, "class_names": trees.names()})
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


@pytest.mark.parametrize(
    ("make", "file", "content", "message"),
    [
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
    savemat(file, {"annotations": trees.structs(fname=["1.jpg"]), "class_names": trees.names()})
    with pytest.raises(DataError, match="has no field relative_im_path, bbox_x1"):
        read_retrieval(tmp_path)
    savemat(file, {"something": 1})
    with pytest.raises(DataError, match="holds no 'annotations'"):
        read_retrieval(tmp_path)


@pytest.mark.parametrize(
    ("make", "file"),
    [(cars_devkit, "cars_meta.mat"), (cars_devkit, "cars_test_annos_withlabels.mat"), (cars_csv, "names.csv")],
)
def test_a_missing_file_names_itself(tmp_path: Path, make: Callable[[Path], Path], file: str) -> None:
    next(make(tmp_path).rglob(file)).unlink()
    with pytest.raises(DataError, match=file.replace(".", r"\.")):
        read_retrieval(tmp_path)
