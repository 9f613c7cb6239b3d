"""DigitScenes as a boxed data set: what every table can be made from without a download."""

import csv
from collections.abc import Sequence
from pathlib import Path

from l2caf.data.boxed import BoxedSet, read_boxed
from l2caf.data.digit_scenes import DigitScenes, write_scenes


def boxed_digits(
    folder: Path, *, length: int, seed: int, objects: int = 1, digits: Sequence[int] = range(10)
) -> BoxedSet:
    """Test scenes written to a folder, with their boxes.

    Args:
        folder: where; scenes that are there already are written anew.
        length: how many.
        seed: of the scenes.
        digits: which occur; classes are their places among these.
        objects: digits per scene; the box and the class are those of the last, which nothing covers.

    Returns:
        The set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes = DigitScenes("test", objects=objects, length=length, classes=tuple(digits), seed=seed)
    files = write_scenes(scenes, folder)
    with (folder / "boxes.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "class", "x0", "y0", "x1", "y1"])
        for index, file in enumerate(files):
            sample = scenes[index]
            writer.writerow([file.name, int(sample.classes[-1]), *map(int, sample.boxes[-1])])
    return read_boxed(f"csv:{folder}")
