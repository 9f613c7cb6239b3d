"""CARS196 (Krause et al., 3dRR 2013) in the three layouts that circulate.

    old      cars_annos.mat, car_ims/000001.jpg                                    what metric learning used first
    devkit   cars_train_annos.mat, cars_test_annos_withlabels.mat, cars_meta.mat (in devkit/ or not), cars_train/,
             cars_test/; Kaggle's copies hold cars_test/cars_test/
    csv      anno_train.csv, anno_test.csv, names.csv, car_data/car_data/{train,test}/CLASS/

Pictures have other numbers in the old layout than in the devkit, so annotations of one layout are wrong for pictures of
another; a mix is refused. There is one box for each picture. Retrieval trains on classes 1 to 98 and searches among
classes 99 to 196, whatever the published split. The .mat files need scipy, which the extra `digits` installs.
"""

import csv
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from l2caf.data.annotations import number, opened
from l2caf.data.boxed import BoxedPicture, Split
from l2caf.data.retrieval_sets import ClassedPictures, half_of_classes
from l2caf.data.sets import DATA_SETS, DataSet
from l2caf.errors import DataError
from l2caf.extras import require

CORNERS: Final = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
DEVKIT: Final = (".", "devkit", "car_devkit/devkit", "cars_devkit")
ANNOTATIONS: Final = {
    "old": ("cars_annos.mat",),
    "devkit": tuple(f"{folder}/cars_train_annos.mat" for folder in DEVKIT),
    "csv": ("anno_train.csv",),
}
PICTURES: Final = {"old": ("car_ims",), "devkit": ("cars_train", "cars_test"), "csv": ("car_data", "train")}


def read_classes(root: Path, split: Split) -> ClassedPictures:
    """Read the first 98 classes or the last 98."""
    return half_of_classes(*annotated(root), split)


def annotated(root: Path) -> ClassedPictures:
    """Read everything that CARS196 annotates, whatever the split.

    Args:
        root: The folder of one of the layouts.

    Returns:
        The names of the classes, and pictures with one box each. Corners are those that the set gives: counted from 1,
        and both inside the box. Whether the pictures are there is not checked.

    Raises:
        DataError: if the root holds none of the layouts or more than one, or a file cannot be read.
    """
    found = [name for name, marks in ANNOTATIONS.items() if any((root / mark).is_file() for mark in marks)]
    if len(found) != 1:
        what = "annotations of several layouts" if found else "no annotations"
        raise DataError(
            f"{root} holds {what} of CARS196{': ' + ', '.join(found) if found else ''}; expected those of one: "
            + "; ".join(f"{name}: {marks[0]}" for name, marks in ANNOTATIONS.items())
        )
    layout = found[0]
    others = [name for name in PICTURES if name != layout and any((root / mark).is_dir() for mark in PICTURES[name])]
    if others and not any((root / mark).is_dir() for mark in PICTURES[layout]):
        raise DataError(
            f"{root} mixes annotations of the {layout} layout with pictures of the {others[0]} one, which are numbered "
            f"differently; expected pictures in {PICTURES[layout][0]}"
        )
    return LAYOUTS[layout](root)


def _read_old(root: Path) -> ClassedPictures:
    file = root / "cars_annos.mat"
    content = _mat(file, "annotations", "class_names")
    names = _names(content["class_names"])
    rows = _rows(content["annotations"], "relative_im_path", file)
    return names, [_picture(root / path, label, box, names, file) for path, label, box in rows]


def _read_devkit(root: Path) -> ClassedPictures:
    names = _names(_mat(_devkit(root, "cars_meta.mat"), "class_names")["class_names"])
    pictures = []
    for annotations, folder in (
        ("cars_train_annos.mat", "cars_train"),
        ("cars_test_annos_withlabels.mat", "cars_test"),
    ):
        file = _devkit(root, annotations)
        place = root / folder / folder if (root / folder / folder).is_dir() else root / folder
        rows = _rows(_mat(file, "annotations")["annotations"], "fname", file)
        pictures += [_picture(place / name, label, box, names, file) for name, label, box in rows]
    return names, pictures


def _devkit(root: Path, name: str) -> Path:
    for folder in DEVKIT:
        if (root / folder / name).is_file():
            return root / folder / name
    hint = "; the pictures of cars_test_annos.mat have no labels" if "test" in name else ""
    raise DataError(f"{root} has no {name} (looked in {', '.join(DEVKIT)}){hint}")


def _read_csv(root: Path) -> ClassedPictures:
    with opened(root / "names.csv") as stream:
        names = tuple(line.strip() for line in stream if line.strip())
    folder = next(
        (root / place for place in ("car_data/car_data", "car_data") if (root / place / "train").is_dir()), root
    )
    return names, [
        picture for part in ("train", "test") for picture in _csv_rows(root / f"anno_{part}.csv", folder / part, names)
    ]


def _csv_rows(file: Path, folder: Path, names: tuple[str, ...]) -> Iterator[BoxedPicture]:
    with opened(file) as stream:
        reader = csv.reader(stream)
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if len(row) != 6:
                raise DataError(f"{where}: {len(row)} columns, expected file, x1, y1, x2, y2, class")
            label = _label(number(row[5], where), names, where)
            corners = [number(value, where) for value in row[1:5]]
            yield BoxedPicture(folder / names[label].replace("/", "-") / row[0], label, np.array([corners]))


def _mat(file: Path, *variables: str) -> dict[str, np.ndarray]:
    scipy_io = require("scipy.io", extra="digits")
    try:
        content = scipy_io.loadmat(file, variable_names=variables, squeeze_me=True)
    except NotImplementedError as error:
        raise DataError(f"{file} is of MATLAB's version 7.3; expected the published file, of version 5") from error
    except (OSError, ValueError, TypeError, IndexError, KeyError, scipy_io.matlab.MatReadError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {str(error).splitlines()[0] if str(error) else 'damaged'}") from error
    for name in variables:
        if name not in content:
            raise DataError(f"{file} holds no {name!r}; is it the file of another layout?")
    return {name: np.atleast_1d(content[name]) for name in variables}


def _names(cells: np.ndarray) -> tuple[str, ...]:
    return tuple(str(name) for name in cells)


def _rows(annotations: np.ndarray, path: str, file: Path) -> Iterator[tuple[str, float, list[float]]]:
    """Yield path, class number and corners of every entry of a struct array."""
    fields = annotations.dtype.names or ()
    missing = [name for name in (path, *CORNERS, "class") if name not in fields]
    if missing:
        raise DataError(f"{file} has no field {', '.join(missing)}; it has {', '.join(fields)}")
    for place, row in enumerate(annotations, start=1):
        try:
            yield str(row[path]), float(row["class"]), [float(row[corner]) for corner in CORNERS]
        except (TypeError, ValueError) as error:
            raise DataError(f"{file}, entry {place}: {error}") from error


def _picture(path: Path, label: float, box: list[float], names: tuple[str, ...], file: Path) -> BoxedPicture:
    return BoxedPicture(path, _label(label, names, file), np.array([box]))


def _label(class_number: float, names: tuple[str, ...], where: Path | str) -> int:
    if not 1 <= class_number <= len(names):
        raise DataError(f"{where}: class {class_number:g} of {len(names)}")
    return int(class_number) - 1


LAYOUTS: Final[dict[str, Callable[[Path], ClassedPictures]]] = {
    "old": _read_old, "devkit": _read_devkit, "csv": _read_csv
}  # fmt: skip
CARS: Final = DATA_SETS.register("cars")(
    DataSet(
        source="https://www.kaggle.com/datasets/jutrera/stanford-car-dataset-by-classes-folder",
        marks=tuple(mark for marks in ANNOTATIONS.values() for mark in marks),
        retrieval=read_classes,
    )
)
