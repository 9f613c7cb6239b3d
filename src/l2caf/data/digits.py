"""DigitScenes as a data set: what every table can be made from without a download.

boxed_digits(folder, ...)    test scenes written to a folder with their boxes, in the layout of `csv_boxes`
digits[:N]                   for retrieval: N scenes of one digit each, 0 to 4 to train on, 5 to 9 to search among
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image

from l2caf.data import csv_boxes
from l2caf.data.boxed import BoxedSet, Split
from l2caf.data.digit_drawing import Scene, render
from l2caf.data.digit_scenes import DigitScenes, write_scenes
from l2caf.data.retrieval_sets import RetrievalSet
from l2caf.data.sets import DATA_SETS, DataSet
from l2caf.errors import DataError

DIGITS_OF: Final[dict[Split, tuple[int, ...]]] = {"train": (0, 1, 2, 3, 4), "test": (5, 6, 7, 8, 9)}
N_SCENES: Final = 2000


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A scene of one digit, drawn whenever it is read.

    Attributes:
        name: A name such as `digits-test-17`.
        label: The digit's place among the classes of the set.
        scene: What is in the picture.
        file: Always None, since the picture is in no file.
    """

    name: str
    label: int
    scene: Scene
    file: None = None

    @property
    def boxes(self) -> Float[np.ndarray, "n 4"]:
        """The box of the digit."""
        return render(self.scene)[1].astype(float)

    def read(self) -> Image.Image:
        """Return the picture, 112 x 112 pixels."""
        return Image.fromarray(render(self.scene)[0])


def boxed_digits(
    folder: Path, *, length: int, seed: int, objects: int = 1, digits: Sequence[int] = range(10)
) -> BoxedSet:
    """Write test scenes to a folder with their boxes.

    Args:
        folder: The folder, which is made if it does not exist; scenes that are there already are written anew.
        length: The number of scenes.
        seed: The seed of the scenes.
        objects: The number of digits in a scene; the box and the class are those of the last digit, which nothing
            covers.
        digits: The digits that occur; a class is the place of its digit among these.

    Returns:
        The set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes = DigitScenes("test", objects=objects, length=length, classes=tuple(digits), seed=seed)
    files = write_scenes(scenes, folder)
    with (folder / "boxes.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(csv_boxes.COLUMNS)
        for index, file in enumerate(files):
            sample = scenes[index]
            writer.writerow([file.name, int(sample.classes[-1]), *map(int, sample.boxes[-1])])
    return csv_boxes.read_boxes(folder)


def draw_classes(length: str, split: Split, seed: int) -> RetrievalSet:
    """Draw scenes of the digits of a split; `length` is their number in words, empty for 2000."""
    if length and not length.isdecimal():
        raise DataError(f"digits:{length} is not understood; expected the number of scenes, such as digits:500")
    digits = DIGITS_OF[split]
    scenes = DigitScenes(split, length=int(length or N_SCENES), objects=1, classes=digits, seed=seed)
    return RetrievalSet("digits", split, tuple(map(str, scenes.classes)), drawn_pictures(scenes))


def drawn_pictures(scenes: DigitScenes) -> tuple[DrawnPicture, ...]:
    """Return scenes as pictures of the class of their first digit."""
    described = (scenes.scene(place) for place in range(len(scenes)))
    return tuple(
        DrawnPicture(f"digits-{scenes.split}-{place}", scenes.classes.index(scene.placements[0].digit), scene)
        for place, scene in enumerate(described)
    )


DIGITS: Final = DATA_SETS.register("digits")(DataSet(source="l2caf draws it", drawn=draw_classes))
