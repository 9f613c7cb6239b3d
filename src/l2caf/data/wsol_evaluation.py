"""The lists of wsolevaluation (Choe et al., CVPR 2020), for any data set that they describe.

    SPLIT/image_ids.txt, SPLIT/class_labels.txt, SPLIT/localization.txt, and the pictures below ROOT

The lists lie in ROOT/train and ROOT/test, or in ROOT itself for one split. Classes have numbers and no names.
"""

from pathlib import Path
from typing import Final

from l2caf.data.annotations import columns, lookup, number
from l2caf.data.boxed import BoxedSet, Split, boxed_set
from l2caf.data.sets import DATA_SETS, DataSet


def read_boxes(root: Path, split: Split) -> BoxedSet:
    """Read the pictures that `image_ids.txt` lists, with the boxes of `localization.txt`."""
    folder = root if (root / "localization.txt").is_file() else root / split
    labels_file, boxes_file = folder / "class_labels.txt", folder / "localization.txt"
    labels = {path: int(number(label, labels_file)) for path, label in columns(labels_file, 2, separator=",")}
    listed = [
        (root / path, lookup(labels, path, labels_file), ())
        for (path,) in columns(folder / "image_ids.txt", 1, separator=",")
    ]
    boxes = [
        (root / path, lookup(labels, path, labels_file), [tuple(number(value, boxes_file) for value in corners)])
        for path, *corners in columns(boxes_file, 5, separator=",")
    ]
    return boxed_set("wsol", tuple(str(label) for label in range(max(labels.values()) + 1)), [*listed, *boxes])


WSOL: Final = DATA_SETS.register("wsol")(
    DataSet(
        source="https://github.com/clovaai/wsolevaluation",
        marks=("localization.txt", "*/localization.txt"),
        boxed=read_boxes,
    )
)
