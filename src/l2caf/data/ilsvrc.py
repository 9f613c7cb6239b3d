"""ImageNet CLS-LOC (ILSVRC 2012, Russakovsky et al., IJCV 2015): 1000 classes, boxes for the validation pictures.

    ILSVRC/{Data,Annotations}/CLS-LOC/...    the tree that Kaggle publishes, with or without its first folder
    val/, train/, bbox/val/                  torchvision's tree, with the annotation XMLs beside it

LOC_synset_mapping.txt in ROOT names the classes. They are numbered by sorted WordNet id, as torchvision and timm number
them. Training uses the folders train/WNID and is validated on the validation pictures.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from l2caf.data.annotations import lookup, number
from l2caf.data.boxed import BoxedSet, Corners, Split, boxed_set
from l2caf.data.folder import class_folders
from l2caf.data.sets import DATA_SETS, DataSet, TrainingSet
from l2caf.errors import DataError

N_CLASSES: Final = 1000
ANNOTATIONS: Final = ("ILSVRC/Annotations/CLS-LOC/val", "Annotations/CLS-LOC/val", "bbox/val", "val_annotations")
PICTURES: Final = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "val")


def read_boxes(root: Path, split: Split) -> BoxedSet:
    """Read the validation pictures with the boxes of the class that their annotation names first."""
    del split  # only the validation pictures have boxes here
    annotations = _first(root, ANNOTATIONS, "annotations")
    pictures = _first(root, PICTURES, "validation pictures")
    by_stem = {file.stem: file for file in sorted(pictures.rglob("*.JPEG"))}
    found = {file.stem: list(_objects(file)) for file in sorted(annotations.rglob("*.xml"))}
    if not found:
        raise DataError(f"{annotations} holds no .xml files; expected one per validation picture")
    wnids, names = _classes(root, {wnid for objects in found.values() for wnid, _ in objects})
    return boxed_set(
        "ilsvrc",
        names,
        (
            (
                by_stem.get(stem, pictures / f"{stem}.JPEG"),
                lookup(wnids, objects[0][0], annotations / f"{stem}.xml") if objects else 0,
                [corners for wnid, corners in objects if wnid == objects[0][0]],
            )
            for stem, objects in found.items()
        ),
    )


def read_training_set(root: Path) -> TrainingSet:
    """Read the training folders to learn from and the validation pictures to validate on."""
    places = [root / place.removesuffix("val") / "train" for place in PICTURES]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise DataError(f"{root} holds no training pictures; looked for {', '.join(map(str, places))}")
    train, wnids = class_folders(folder)
    validation = read_boxes(root, "test")
    if len(wnids) != len(validation.classes):
        raise DataError(
            f"{folder} has {len(wnids)} class folders, the validation set {len(validation.classes)} classes; class "
            "numbers would not be the same"
        )
    return TrainingSet(train, [(picture.file, picture.label) for picture in validation.pictures], validation.classes)


def _classes(root: Path, met: set[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class number of every WordNet id, and the names of the classes."""
    for mapping in (root / "LOC_synset_mapping.txt", root / "ILSVRC" / "LOC_synset_mapping.txt"):
        if mapping.is_file():
            lines = sorted(line.split(" ", 1) for line in mapping.read_text("utf-8").splitlines() if line.strip())
            return {wnid: place for place, (wnid, _) in enumerate(lines)}, tuple(name for _, name in lines)
    folders = sorted({folder.name for folder in root.glob("**/val/n*") if folder.is_dir()} | met)
    if len(folders) != N_CLASSES:
        raise DataError(
            f"{root} has no LOC_synset_mapping.txt, and its pictures and annotations name {len(folders)} classes, not "
            f"{N_CLASSES}; put that file (wnid and name, one class a line) into the root"
        )
    return {wnid: place for place, wnid in enumerate(folders)}, tuple(folders)


def _objects(file: Path) -> Iterator[tuple[str, Corners]]:
    """Yield WordNet id and corners of every object of an annotation in Pascal VOC's format."""
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


def _first(root: Path, places: tuple[str, ...], what: str) -> Path:
    for place in places:
        if (root / place).is_dir():
            return root / place
    raise DataError(f"{root} holds no {what}; looked for {', '.join(places)}")


ILSVRC: Final = DATA_SETS.register("ilsvrc")(
    DataSet(
        source="https://www.kaggle.com/c/imagenet-object-localization-challenge",
        marks=ANNOTATIONS,
        boxed=read_boxes,
        training=read_training_set,
    )
)
