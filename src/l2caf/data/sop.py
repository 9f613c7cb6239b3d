"""Stanford Online Products (Oh Song et al., CVPR 2016): pictures of 22,634 products, without boxes.

    Ebay_train.txt, Ebay_test.txt, and a folder of pictures for each of twelve kinds of product

These lie in ROOT or in ROOT/Stanford_Online_Products. The two lists have no product in common.
"""

from pathlib import Path
from typing import Final

import numpy as np

from l2caf.data.annotations import columns, number
from l2caf.data.boxed import BoxedPicture, Split
from l2caf.data.retrieval_sets import ClassedPictures
from l2caf.data.sets import DATA_SETS, DataSet
from l2caf.errors import DataError

HEADER: Final = ["image_id", "class_id", "super_class_id", "path"]


def read_classes(root: Path, split: Split) -> ClassedPictures:
    """Read the list of a split; its products are numbered in ascending order of their published number."""
    root = root if (root / "Ebay_train.txt").is_file() else root / "Stanford_Online_Products"
    file = root / f"Ebay_{split}.txt"
    rows = columns(file, len(HEADER))
    header = next(rows, [])
    if header != HEADER:
        raise DataError(f"{file}, line 1: expected the header {' '.join(HEADER)!r}, got {' '.join(header)[:60]!r}")
    listed = [(int(number(label, file)), root / path) for _, label, _, path in rows]
    place = {label: index for index, label in enumerate(sorted({label for label, _ in listed}))}
    return tuple(map(str, place)), [BoxedPicture(path, place[label], np.zeros((0, 4))) for label, path in listed]


SOP: Final = DATA_SETS.register("sop")(
    DataSet(
        source="https://cvgl.stanford.edu/projects/lifted_struct/",
        marks=("Ebay_train.txt", "Stanford_Online_Products/Ebay_train.txt"),
        retrieval=read_classes,
    )
)
