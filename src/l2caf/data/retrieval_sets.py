"""Pictures by class for metric learning: a network is trained on some classes and searches among the others."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from l2caf.data.boxed import BoxedPicture, Split

ClassedPictures = tuple[tuple[str, ...], list[BoxedPicture]]  # names of the classes, and pictures of these classes


@runtime_checkable
class Picture(Protocol):
    """A picture of one class, in a file or drawn whenever it is read."""

    @property
    def name(self) -> str:
        """What identifies the picture in its set, such as the path of its file."""

    @property
    def file(self) -> Path | None:
        """The picture file; None for a picture that is drawn."""

    @property
    def label(self) -> int:
        """The number of the picture's class within its set, from 0."""

    @property
    def boxes(self) -> Float[np.ndarray, "n 4"]:
        """Boxes as x0, y0, x1, y1 in pixels; none where the data set has none."""

    def read(self) -> Image.Image:
        """Return the picture as RGB."""


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """The training classes or the test classes of a data set.

    Attributes:
        name: The name of the data set, such as `cars`.
        split: Which of the two groups of classes this is.
        classes: One name for each class of the split.
        pictures: The pictures that are there.
        missing: Files that the annotations name and that are not there.
    """

    name: str
    split: Split
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    missing: tuple[Path, ...] = ()

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The class of every picture."""
        return np.array([picture.label for picture in self.pictures], dtype=np.int64)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the pictures, without the pictures that are drawn."""
        return tuple(picture.file for picture in self.pictures if picture.file is not None)

    @property
    def lone(self) -> tuple[str, ...]:
        """Names of the classes of a single picture, which has no neighbour of its class to be found."""
        counts = Counter(picture.label for picture in self.pictures)
        return tuple(self.classes[label] for label, count in sorted(counts.items()) if count == 1)

    def without_copies(self) -> tuple["RetrievalSet", tuple[Path, ...]]:
        """Leave out copies, since a copy is the nearest neighbour of its original under any network.

        Returns:
            The rest of the set, and the files that equal an earlier file byte for byte. Only files of the same size
            are read.
        """
        copies = set(_copies(self.files))
        kept = tuple(picture for picture in self.pictures if picture.file not in copies)
        return replace(self, pictures=kept), tuple(file for file in self.files if file in copies)


def _copies(files: Sequence[Path]) -> Iterator[Path]:
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for file in files:
        by_size[file.stat().st_size].append(file)
    for alike in by_size.values():
        seen: set[bytes] = set()
        for file in alike if len(alike) > 1 else ():
            digest = hashlib.sha256(file.read_bytes()).digest()
            if digest in seen:
                yield file
            seen.add(digest)


def half_of_classes(names: tuple[str, ...], pictures: Sequence[BoxedPicture], split: Split) -> ClassedPictures:
    """Take half of the classes, as CUB and CARS196 are divided for metric learning.

    Args:
        names: The names of all classes.
        pictures: Pictures of all classes.
        split: `"train"` for the first half of the classes, `"test"` for the rest.

    Returns:
        The names of these classes, and their pictures with classes numbered from 0.
    """
    middle = len(names) // 2
    first, last = (0, middle) if split == "train" else (middle, len(names))
    inside = (picture for picture in pictures if first <= picture.label < last)
    return names[first:last], [BoxedPicture(p.file, p.label - first, p.boxes) for p in inside]
