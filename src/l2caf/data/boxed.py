"""Pictures with boxes, in the layouts in which the public data sets are published.

    cub:ROOT      CUB-200-2011: images.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt, images/
    ilsvrc:ROOT   ImageNet CLS-LOC validation: Kaggle's tree, or torchvision's with the annotation XMLs beside it
    wsol:ROOT     wsolevaluation: image_ids.txt, class_labels.txt, localization.txt, and the pictures below ROOT
    csv:ROOT      boxes.csv with columns path, class, x0, y0, x1, y1, one box a line

Without a prefix the layout is found by looking. Corners are those that the set gives.
"""

import csv
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float
from PIL import Image

from l2caf.data.annotations import columns, lookup, named_root, number, opened
from l2caf.data.pictures import read_picture
from l2caf.errors import DataError

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class BoxedPicture:
    """A picture of one class and where it shows it.

    Attributes:
        file: the picture.
        label: its class, from 0.
        boxes: (n, 4) x0, y0, x1, y1 in pixels, n > 0 but in sets that have no boxes.
    """

    file: Path
    label: int
    boxes: Float[np.ndarray, "n 4"]

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.file)

    def read(self) -> Image.Image:
        """The picture, RGB; DataError where it cannot be read."""
        return read_picture(self.file)


@dataclass(frozen=True, slots=True)
class BoxedSet:
    """A data set of boxed pictures.

    Attributes:
        name: of the layout.
        classes: a name for each class.
        pictures: those that have boxes.
        missing: pictures that the annotations name and that are not there.
        n_unboxed: pictures left out since nothing says where their object is.
    """

    name: str
    classes: tuple[str, ...]
    pictures: tuple[BoxedPicture, ...]
    missing: tuple[Path, ...] = ()
    n_unboxed: int = 0


@dataclass(slots=True)
class _Gathering:
    """Boxes by picture and class, in the order met: a picture of two classes is two entries."""

    boxes: dict[tuple[Path, int], list[tuple[float, ...]]] = field(default_factory=dict)

    def add(self, file: Path, label: int, *boxes: tuple[float, ...]) -> None:
        self.boxes.setdefault((file, label), []).extend(boxes)

    def as_set(self, name: str, classes: tuple[str, ...]) -> BoxedSet:
        boxed = {key: boxes for key, boxes in self.boxes.items() if boxes}
        present = {file: file.is_file() for file, _ in boxed}
        pictures = tuple(
            BoxedPicture(file, label, np.asarray(boxes, dtype=float).reshape(-1, 4))
            for (file, label), boxes in boxed.items()
            if present[file]
        )
        missing = tuple(file for file, is_there in present.items() if not is_there)
        if not pictures:
            where = f"; the first that is missing: {missing[0]}" if missing else ""
            raise DataError(f"no boxed picture of this {name} set is there{where}")
        return BoxedSet(name, classes, pictures, missing, len(self.boxes) - len(boxed))


def read_boxed(spec: str | Path, split: Split = "test") -> BoxedSet:
    """A data set by its folder.

    Args:
        spec: `"cub:ROOT"`, `"ilsvrc:ROOT"`, `"wsol:ROOT"`, `"csv:ROOT"`, or a folder whose layout is found by looking.
        split: of CUB; the others have one.

    Returns:
        The set.

    Raises:
        DataError: if the folder, a file of the layout or every picture is missing, or a line cannot be read; the
            message names the file and the line.
    """
    name, root = named_root(spec, READERS)
    return READERS[name or _layout_of(root)](root, split)


def _layout_of(root: Path) -> str:
    for name, mark in MARKS.items():
        if any(any(root.glob(pattern)) for pattern in mark):
            return name
    marks = "; ".join(f"{name}: {' or '.join(mark)}" for name, mark in MARKS.items())
    raise DataError(f"{root} has none of the known layouts ({marks}); say which with a prefix such as cub:{root}")


def _read_cub(root: Path, split: Split) -> BoxedSet:
    names, pictures = cub_pictures(root)
    is_training = dict(columns(cub_root(root) / "train_test_split.txt", 2))
    gathering = _Gathering()
    for key, picture in pictures.items():
        if (is_training.get(key) == "1") == (split == "train"):
            gathering.add(picture.file, picture.label, *(tuple(box) for box in picture.boxes.tolist()))
    return gathering.as_set("cub", names)


def cub_root(root: Path) -> Path:
    """The folder that holds CUB's lists: the root, or `CUB_200_2011` in it."""
    return root if (root / "images.txt").is_file() else root / "CUB_200_2011"


def cub_pictures(root: Path) -> tuple[tuple[str, ...], dict[str, BoxedPicture]]:
    """Everything that CUB-200-2011 annotates, whatever the split.

    Args:
        root: as `read_boxed` takes it.

    Returns:
        Names of the classes, and pictures by the set's own number, one box each; whether they are there is not asked.

    Raises:
        DataError: if a list is missing or cannot be read.
    """
    root = cub_root(root)
    files = dict(columns(root / "images.txt", 2))
    labels = dict(columns(root / "image_class_labels.txt", 2))
    boxes = {key: corners for key, *corners in columns(root / "bounding_boxes.txt", 5)}
    names = tuple(name for _, name in columns(root / "classes.txt", 2))
    pictures = {}
    for key, file in files.items():
        x, y, width, height = (number(value, root / "bounding_boxes.txt") for value in lookup(boxes, key, root))
        label = int(number(lookup(labels, key, root), root / "image_class_labels.txt")) - 1
        if not 0 <= label < len(names):
            raise DataError(f"{root / 'image_class_labels.txt'}: picture {key} is of class {label + 1} of {len(names)}")
        pictures[key] = BoxedPicture(root / "images" / file, label, np.array([[x, y, x + width, y + height]]))
    return names, pictures


def _read_ilsvrc(root: Path, split: Split) -> BoxedSet:
    del split  # boxes are those of the validation pictures
    annotations = _first(root, ILSVRC_ANNOTATIONS, "annotations")
    pictures = _first(root, ILSVRC_PICTURES, "validation pictures")
    by_stem = {file.stem: file for file in sorted(pictures.rglob("*.JPEG"))}
    found = {file.stem: list(_xml_boxes(file)) for file in sorted(annotations.rglob("*.xml"))}
    if not found:
        raise DataError(f"{annotations} holds no .xml files; expected one per validation picture")
    wnids, names = _ilsvrc_classes(root, {wnid for boxes in found.values() for wnid, _ in boxes})
    gathering = _Gathering()
    for stem, boxes in found.items():
        file = by_stem.get(stem, pictures / f"{stem}.JPEG")
        label = lookup(wnids, boxes[0][0], annotations / f"{stem}.xml") if boxes else 0
        gathering.add(file, label, *(corners for wnid, corners in boxes if wnid == boxes[0][0]))
    return gathering.as_set("ilsvrc", names)


def _ilsvrc_classes(root: Path, met: set[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class numbers of WordNet ids in sorted order, as torchvision and timm count them, and names."""
    for mapping in (root / "LOC_synset_mapping.txt", root / "ILSVRC" / "LOC_synset_mapping.txt"):
        if mapping.is_file():
            lines = sorted(line.split(" ", 1) for line in mapping.read_text("utf-8").splitlines() if line.strip())
            return {wnid: place for place, (wnid, _) in enumerate(lines)}, tuple(name for _, name in lines)
    folders = sorted({folder.name for folder in root.glob("**/val/n*") if folder.is_dir()} | met)
    if len(folders) != ILSVRC_CLASSES:
        raise DataError(
            f"{root} has no LOC_synset_mapping.txt, and its pictures and annotations name {len(folders)} classes, not "
            f"{ILSVRC_CLASSES}; put that file (wnid and name, one class a line) into the root"
        )
    return {wnid: place for place, wnid in enumerate(folders)}, tuple(folders)


def _xml_boxes(file: Path) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Class and corners of every object of a VOC-style annotation."""
    text = file.read_text("utf-8", errors="replace")
    if "<!ENTITY" in text:
        raise DataError(f"{file} defines entities, which no annotation needs; it is refused")
    try:
        for thing in ET.fromstring(text).iter("object"):  # noqa: S314  (entities are refused above)
            box = thing.find("bndbox")
            corners = [None if box is None else box.findtext(side) for side in ("xmin", "ymin", "xmax", "ymax")]
            yield (thing.findtext("name") or ""), tuple(number(corner or "", file) for corner in corners)
    except ET.ParseError as error:
        raise DataError(f"{file} is no readable XML: {error}") from error


def _read_wsol(root: Path, split: Split) -> BoxedSet:
    folder = root if (root / "localization.txt").is_file() else root / split
    labels = {
        path: int(number(label, folder / "class_labels.txt")) for path, label in _lines(folder, "class_labels", 2)
    }
    gathering = _Gathering()
    for path in (line for (line,) in _lines(folder, "image_ids", 1)):
        gathering.add(root / path, lookup(labels, path, folder / "class_labels.txt"))
    for path, *corners in _lines(folder, "localization", 5):
        label = lookup(labels, path, folder / "class_labels.txt")
        gathering.add(root / path, label, tuple(number(value, folder / "localization.txt") for value in corners))
    return gathering.as_set("wsol", tuple(str(place) for place in range(max(labels.values()) + 1)))


def _lines(folder: Path, name: str, count: int) -> list[list[str]]:
    return list(columns(folder / f"{name}.txt", count, separator=","))


def _read_csv(root: Path, split: Split) -> BoxedSet:
    del split
    file = root / "boxes.csv"
    gathering = _Gathering()
    with opened(file) as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in CSV_COLUMNS if name not in (reader.fieldnames or ())]
        if absent:
            raise DataError(f"{file} has no column {', '.join(absent)}; expected {', '.join(CSV_COLUMNS)}")
        for row in reader:
            values = [number(row[name], f"{file}, line {reader.line_num}") for name in CSV_COLUMNS[1:]]
            gathering.add(root / row["path"], int(values[0]), tuple(values[1:]))
    names = tuple(str(place) for place in range(max((label for _, label in gathering.boxes), default=-1) + 1))
    return gathering.as_set("csv", names)


def _first(root: Path, places: tuple[str, ...], what: str) -> Path:
    for place in places:
        if (root / place).is_dir():
            return root / place
    raise DataError(f"{root} holds no {what}; looked for {', '.join(places)}")


CSV_COLUMNS: Final = ("path", "class", "x0", "y0", "x1", "y1")
ILSVRC_CLASSES: Final = 1000
ILSVRC_ANNOTATIONS: Final = ("ILSVRC/Annotations/CLS-LOC/val", "Annotations/CLS-LOC/val", "bbox/val", "val_annotations")
ILSVRC_PICTURES: Final = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val")
READERS: Final[dict[str, Callable[[Path, Split], BoxedSet]]] = {
    "cub": _read_cub, "ilsvrc": _read_ilsvrc, "wsol": _read_wsol, "csv": _read_csv
}  # fmt: skip
SOURCES: Final = {
    "cub": "https://data.caltech.edu/records/65de6-vp158",
    "ilsvrc": "https://www.kaggle.com/c/imagenet-object-localization-challenge",
    "wsol": "https://github.com/clovaai/wsolevaluation",
    "csv": "wherever its boxes.csv came from",
}
MARKS: Final = {
    "cub": ("bounding_boxes.txt", "CUB_200_2011/bounding_boxes.txt"),
    "ilsvrc": ILSVRC_ANNOTATIONS,
    "wsol": ("localization.txt", "*/localization.txt"),
    "csv": ("boxes.csv",),
}
