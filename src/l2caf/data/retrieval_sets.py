"""Pictures by class for metric learning: some classes to train on, others to search among.

    cub:ROOT      CUB-200-2011, classes 1-100 and 101-200
    cars:ROOT     CARS196 in any of its layouts (`l2caf.data.cars`), classes 1-98 and 99-196
    sop:ROOT      Stanford Online Products: Ebay_train.txt, Ebay_test.txt
    folder:ROOT   a folder per class, sorted (by value where all are numbers): the first half and the rest
    digits[:N]    N scenes of DigitScenes with one digit each, 0-4 and 5-9; drawn when read

Without a prefix the layout is found by looking. Boxes are kept where the set has them.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from l2caf.data.annotations import columns, named_root, number
from l2caf.data.boxed import BoxedPicture, Split, cub_pictures
from l2caf.data.cars import ANNOTATIONS, Annotated, cars_pictures
from l2caf.data.digit_scenes import DigitScenes, Scene, render
from l2caf.data.pictures import find_pictures
from l2caf.errors import DataError

DIGITS: Final[dict[Split, tuple[int, ...]]] = {"train": (0, 1, 2, 3, 4), "test": (5, 6, 7, 8, 9)}
DIGITS_LENGTH: Final = 2000
NO_BOXES: Final = np.zeros((0, 4))
SOP_HEADER: Final = ["image_id", "class_id", "super_class_id", "path"]


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A scene of one digit, drawn whenever it is read.

    Attributes:
        name: such as `digits-test-17`.
        label: the digit's place among the set's classes.
        scene: what is in it.
    """

    name: str
    label: int
    scene: Scene

    @property
    def boxes(self) -> Float[np.ndarray, "n 4"]:
        """The digit's box."""
        return render(self.scene)[1].astype(float)

    def read(self) -> Image.Image:
        """The picture, 112 x 112."""
        return Image.fromarray(render(self.scene)[0])


Picture = BoxedPicture | DrawnPicture  # both have a name, a label, boxes, and read()


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """The training or the test classes of a data set.

    Attributes:
        name: of the layout.
        split: which classes.
        classes: a name for each class of the split.
        pictures: those that are there.
        missing: pictures that the annotations name and that are not there.
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
    def lone(self) -> tuple[str, ...]:
        """Classes of a single picture: nothing is like it, so it neither trains nor counts."""
        counts = Counter(picture.label for picture in self.pictures)
        return tuple(self.classes[label] for label, count in sorted(counts.items()) if count == 1)

    def without_copies(self) -> tuple["RetrievalSet", tuple[Path, ...]]:
        """The set without copies: a copy is its original's nearest neighbour, whatever the network.

        Returns:
            The rest, and the files that are, byte for byte, an earlier one. Only files of the same size are read.
        """
        files = [picture.file for picture in self.pictures if isinstance(picture, BoxedPicture)]
        copies = set(_copies(files))
        kept = tuple(p for p in self.pictures if isinstance(p, DrawnPicture) or p.file not in copies)
        return replace(self, pictures=kept), tuple(file for file in files if file in copies)


def read_retrieval(spec: str | Path, split: Split = "test", *, seed: int = 0) -> RetrievalSet:
    """A data set by its folder.

    Args:
        spec: `"cub:ROOT"`, `"cars:ROOT"`, `"sop:ROOT"`, `"folder:ROOT"`, `"digits"` or `"digits:500"`, or a folder
            whose layout is found by looking.
        split: `"train"` or `"test"`, which have no class in common.
        seed: of the scenes of digits; of no effect on the others.

    Returns:
        The set.

    Raises:
        DataError: if the folder, a file of the layout or every picture of the split is missing, a line cannot be
            read, or two layouts are mixed; the message names the file and the line.
    """
    name, _, length = str(spec).partition(":")
    if name == "digits":
        return _digits(length, split, seed)
    name, root = named_root(spec, [*READERS, "digits"])
    name = name or _layout_of(root)
    names, pictures = READERS[name](root, split)
    present = [picture.file.is_file() for picture in pictures]
    missing = tuple(picture.file for picture, is_there in zip(pictures, present, strict=True) if not is_there)
    if not any(present):
        where = f"; the first that is missing: {missing[0]}" if missing else ""
        raise DataError(f"no {split} picture of this {name} set is there{where}")
    kept = tuple(picture for picture, is_there in zip(pictures, present, strict=True) if is_there)
    return RetrievalSet(name, split, names, kept, missing)


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


def _layout_of(root: Path) -> str:
    for name, mark in MARKS.items():
        if any((root / file).is_file() for file in mark):
            return name
    return "folder"


def _digits(length: str, split: Split, seed: int) -> RetrievalSet:
    if length and not length.isdecimal():
        raise DataError(f"digits:{length} is not understood; expected the number of scenes, such as digits:500")
    scenes = DigitScenes(split, length=int(length or DIGITS_LENGTH), objects=1, classes=DIGITS[split], seed=seed)
    return RetrievalSet("digits", split, tuple(map(str, scenes.classes)), drawn_pictures(scenes))


def drawn_pictures(scenes: DigitScenes) -> tuple[DrawnPicture, ...]:
    """Scenes as pictures of the class of their first digit, drawn when read."""
    described = (scenes.scene(place) for place in range(len(scenes)))
    return tuple(
        DrawnPicture(f"digits-{scenes.split}-{place}", scenes.classes.index(scene.placements[0].digit), scene)
        for place, scene in enumerate(described)
    )


def _read_cub(root: Path, split: Split) -> Annotated:
    names, pictures = cub_pictures(root)
    return _half(names, list(pictures.values()), split)


def _read_cars(root: Path, split: Split) -> Annotated:
    return _half(*cars_pictures(root), split)


def _half(names: tuple[str, ...], pictures: Sequence[BoxedPicture], split: Split) -> Annotated:
    """The first half of the classes, or the rest, numbered from 0."""
    middle = len(names) // 2
    first, last = (0, middle) if split == "train" else (middle, len(names))
    inside = (picture for picture in pictures if first <= picture.label < last)
    return names[first:last], [BoxedPicture(p.file, p.label - first, p.boxes) for p in inside]


def _read_sop(root: Path, split: Split) -> Annotated:
    root = root if (root / "Ebay_train.txt").is_file() else root / "Stanford_Online_Products"
    file = root / f"Ebay_{split}.txt"
    rows = columns(file, len(SOP_HEADER))
    header = next(rows, [])
    if header != SOP_HEADER:
        raise DataError(f"{file}, line 1: expected the header {' '.join(SOP_HEADER)!r}, got {' '.join(header)[:60]!r}")
    listed = [(int(number(label, file)), root / path) for _, label, _, path in rows]
    place = {label: index for index, label in enumerate(sorted({label for label, _ in listed}))}
    return tuple(map(str, place)), [BoxedPicture(path, place[label], NO_BOXES) for label, path in listed]


def _read_folders(root: Path, split: Split) -> Annotated:
    names = [folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    if len(names) < 2:
        raise DataError(f"{root} holds {len(names)} folders; expected one per class, two at least")
    names = sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
    middle = len(names) // 2
    chosen = names[:middle] if split == "train" else names[middle:]
    pictures = [
        BoxedPicture(file, label, NO_BOXES)
        for label, name in enumerate(chosen)
        for file in find_pictures([root / name])
    ]
    return tuple(chosen), pictures


READERS: Final[dict[str, Callable[[Path, Split], Annotated]]] = {
    "cub": _read_cub, "cars": _read_cars, "sop": _read_sop, "folder": _read_folders
}  # fmt: skip
MARKS: Final = {
    "cub": ("images.txt", "CUB_200_2011/images.txt"),
    "cars": tuple(mark for marks in ANNOTATIONS.values() for mark in marks),
    "sop": ("Ebay_train.txt", "Stanford_Online_Products/Ebay_train.txt"),
}
SOURCES: Final = {  # where they come from; CUB is `boxed`'s
    "cars": "https://www.kaggle.com/datasets/jutrera/stanford-car-dataset-by-classes-folder",
    "sop": "https://cvgl.stanford.edu/projects/lifted_struct/",
    "folder": "wherever the folders came from",
}
