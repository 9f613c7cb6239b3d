"""Your own pictures, one folder for each class.

    CLASS/...                      retrieval: the first half of the classes to train on, the rest to search among
    train/CLASS/..., val/CLASS/... training; without these two folders every tenth picture of a class validates

For retrieval, classes are sorted by name, or by value where all names are numbers. For training they are numbered as
torchvision's `ImageFolder` numbers them.
"""

from pathlib import Path
from typing import Final

import numpy as np

from l2caf.data.boxed import BoxedPicture, Split
from l2caf.data.pictures import find_pictures
from l2caf.data.retrieval_sets import ClassedPictures
from l2caf.data.sets import DATA_SETS, DataSet, LabelledFile, TrainingSet
from l2caf.errors import DataError
from l2caf.torchvision_compat import import_torchvision

TENTH: Final = 10


def read_classes(root: Path, split: Split) -> ClassedPictures:
    """Read the first half of the classes or the rest."""
    names = [folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    if len(names) < 2:
        raise DataError(f"{root} holds {len(names)} folders; expected one per class, two at least")
    names = sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
    middle = len(names) // 2
    chosen = names[:middle] if split == "train" else names[middle:]
    pictures = [
        BoxedPicture(file, label, np.zeros((0, 4)))
        for label, name in enumerate(chosen)
        for file in find_pictures([root / name])
    ]
    return tuple(chosen), pictures


def read_training_set(root: Path) -> TrainingSet:
    """Read `train/` and `val/` where both are there; otherwise hold out every tenth picture of each class."""
    if (root / "train").is_dir() and (root / "val").is_dir():
        train, classes = class_folders(root / "train")
        validation, others = class_folders(root / "val")
        if classes != others:
            raise DataError(f"{root}/train and {root}/val have different class folders")
        return TrainingSet(train, validation, classes)
    files, classes = class_folders(root)
    by_class = ([file for file in files if file[1] == label] for label in range(len(classes)))
    held_out = {file for members in by_class for file in members[TENTH // 2 :: TENTH]}
    return TrainingSet([file for file in files if file not in held_out], sorted(held_out), classes)


def class_folders(root: Path) -> tuple[list[LabelledFile], tuple[str, ...]]:
    """List the pictures of a tree that has one folder for each class.

    Args:
        root: The folder that holds the folders of the classes.

    Returns:
        Files with the number of their class, and the names of the classes, as torchvision numbers them.

    Raises:
        DataError: if there is no class folder, or one of them holds no picture.
    """
    try:
        tree = import_torchvision().datasets.ImageFolder(str(root))
    except FileNotFoundError as error:
        raise DataError(f"{root} is no tree of a folder per class: {str(error).splitlines()[0]}") from error
    return [(Path(file), int(label)) for file, label in tree.samples], tuple(tree.classes)


FOLDERS: Final = DATA_SETS.register("folder")(
    DataSet(source="wherever the folders came from", retrieval=read_classes, training=read_training_set)
)
