"""CUB-200-2011 (Wah et al., 2011): 200 kinds of birds, one box for each picture.

    images.txt, classes.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt, images/

These lie in ROOT or in ROOT/CUB_200_2011. Boxes and training follow the published split of the pictures; training is
validated on the test split, as the authors of the localisation methods did. Retrieval divides the classes instead:
1 to 100 to train on, 101 to 200 to search among.
"""

from pathlib import Path
from typing import Final

import numpy as np

from l2caf.data.annotations import columns, lookup, number
from l2caf.data.boxed import BoxedPicture, BoxedSet, Split, boxed_set
from l2caf.data.retrieval_sets import ClassedPictures, half_of_classes
from l2caf.data.sets import DATA_SETS, DataSet, LabelledFile, TrainingSet
from l2caf.errors import DataError


def read_boxes(root: Path, split: Split) -> BoxedSet:
    """Read the pictures of the training split or of the test split with their boxes."""
    names, pictures = annotated(root)
    is_training = dict(columns(_lists(root) / "train_test_split.txt", 2))
    return boxed_set(
        "cub",
        names,
        (
            (picture.file, picture.label, map(tuple, picture.boxes.tolist()))
            for key, picture in pictures.items()
            if (is_training.get(key) == "1") == (split == "train")
        ),
    )


def read_classes(root: Path, split: Split) -> ClassedPictures:
    """Read the first or the second hundred classes, whatever the published split of their pictures."""
    names, pictures = annotated(root)
    return half_of_classes(names, list(pictures.values()), split)


def read_training_set(root: Path) -> TrainingSet:
    """Read the training split to learn from and the test split to validate on."""
    train, test = read_boxes(root, "train"), read_boxes(root, "test")
    return TrainingSet(_labelled(train), _labelled(test), train.classes)


def _labelled(boxed: BoxedSet) -> list[LabelledFile]:
    return [(picture.file, picture.label) for picture in boxed.pictures]


def annotated(root: Path) -> tuple[tuple[str, ...], dict[str, BoxedPicture]]:
    """Read everything that CUB-200-2011 annotates, whatever the split.

    Args:
        root: The folder of the lists, or the folder that holds `CUB_200_2011`.

    Returns:
        The names of the classes, and one picture with one box for each number that the set gives its pictures. Whether
        the files are there is not checked.

    Raises:
        DataError: if a list is missing or cannot be read.
    """
    root = _lists(root)
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


def _lists(root: Path) -> Path:
    return root if (root / "images.txt").is_file() else root / "CUB_200_2011"


CUB: Final = DATA_SETS.register("cub")(
    DataSet(
        source="https://data.caltech.edu/records/65de6-vp158",
        marks=("bounding_boxes.txt", "CUB_200_2011/bounding_boxes.txt", "images.txt", "CUB_200_2011/images.txt"),
        boxed=read_boxes,
        retrieval=read_classes,
        training=read_training_set,
    )
)
