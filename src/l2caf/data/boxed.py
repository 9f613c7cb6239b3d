"""Pictures with boxes: one of them, and a set of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from PIL import Image

from l2caf.data.pictures import read_picture
from l2caf.errors import DataError

Split = Literal["train", "test"]
Corners = tuple[float | int, ...]  # x0, y0, x1, y1 in pixels


@dataclass(frozen=True, slots=True)
class BoxedPicture:
    """A picture of one class, and where it shows that class.

    Attributes:
        file: The picture file.
        label: The number of the picture's class, from 0.
        boxes: Boxes (n, 4) as x0, y0, x1, y1 in pixels; n is 0 only in data sets that have no boxes.
    """

    file: Path
    label: int
    boxes: Float[np.ndarray, "n 4"]

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self.file)

    def read(self) -> Image.Image:
        """Return the picture as RGB; DataError is raised if the file cannot be read."""
        return read_picture(self.file)


@dataclass(frozen=True, slots=True)
class BoxedSet:
    """A data set of pictures with boxes.

    Attributes:
        name: The name of the data set, such as `cub`.
        classes: One name for each class.
        pictures: The pictures that have boxes and whose file is there.
        missing: Files that the annotations name and that are not there.
        n_unboxed: How many pictures are left out because the annotations give no box for them.
    """

    name: str
    classes: tuple[str, ...]
    pictures: tuple[BoxedPicture, ...]
    missing: tuple[Path, ...] = ()
    n_unboxed: int = 0


def boxed_set(name: str, classes: tuple[str, ...], entries: Iterable[tuple[Path, int, Iterable[Corners]]]) -> BoxedSet:
    """Collect annotations into a data set.

    Args:
        name: The name of the data set, for results and messages.
        classes: One name for each class.
        entries: File, class from 0, and boxes. A file may come several times: its boxes are collected for each class,
            and a picture of two classes becomes two pictures of the set.

    Returns:
        The set, in the order in which the entries first came.

    Raises:
        DataError: if no picture that has a box is there.
    """
    collected: dict[tuple[Path, int], list[Corners]] = {}
    for file, label, boxes in entries:
        collected.setdefault((file, label), []).extend(boxes)
    boxed = {key: boxes for key, boxes in collected.items() if boxes}
    is_there = {file: file.is_file() for file, _ in boxed}
    pictures = tuple(
        BoxedPicture(file, label, np.asarray(boxes, dtype=float).reshape(-1, 4))
        for (file, label), boxes in boxed.items()
        if is_there[file]
    )
    missing = tuple(file for file, there in is_there.items() if not there)
    if not pictures:
        where = f"; the first that is missing: {missing[0]}" if missing else ""
        raise DataError(f"no boxed picture of this {name} set is there{where}")
    return BoxedSet(name, classes, pictures, missing, len(collected) - len(boxed))
