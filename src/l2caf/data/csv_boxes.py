"""Your own pictures with boxes, listed in one table.

    boxes.csv    with the columns path, class, x0, y0, x1, y1 and any others; one box a line

Paths are relative to ROOT, classes are numbers from 0, corners are pixels. There is one split.
"""

import csv
from pathlib import Path
from typing import Final

from l2caf.data.annotations import number, opened
from l2caf.data.boxed import BoxedSet, Split, boxed_set
from l2caf.data.sets import DATA_SETS, DataSet
from l2caf.errors import DataError

COLUMNS: Final = ("path", "class", "x0", "y0", "x1", "y1")


def read_boxes(root: Path, split: Split = "test") -> BoxedSet:
    """Read every picture that `boxes.csv` names."""
    del split  # the table is of one split
    file = root / "boxes.csv"
    entries = []
    with opened(file) as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if absent:
            raise DataError(f"{file} has no column {', '.join(absent)}; expected {', '.join(COLUMNS)}")
        for row in reader:
            label, *corners = (number(row[name], f"{file}, line {reader.line_num}") for name in COLUMNS[1:])
            entries.append((root / row["path"], int(label), [tuple(corners)]))
    n_classes = max((label for _, label, _ in entries), default=-1) + 1
    return boxed_set("csv", tuple(str(label) for label in range(n_classes)), entries)


CSV: Final = DATA_SETS.register("csv")(
    DataSet(
        source="wherever its boxes.csv came from",
        marks=("boxes.csv",),
        boxed=read_boxes,
        rank=1,  # beside a published layout the published one is meant
    )
)
