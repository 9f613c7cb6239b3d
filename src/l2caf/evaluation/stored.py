"""What stage one of an evaluation stored: the maps of each picture, and what an embedding network said."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from l2caf import storage
from l2caf.data.boxed import BoxedPicture, BoxedSet
from l2caf.evaluation.frame import InputFrame


@dataclass(frozen=True, slots=True)
class MapsOf:
    """What stage one found of one picture.

    Attributes:
        number: the picture's place in the data set.
        picture: its file, class and boxes.
        frame: which part of the picture the network was shown.
        targets: the network's outputs that have maps: the true class, then the guesses, the most likely first.
        maps: the map (h, w) of every method for the true class, divided by its maximum. This map decides every figure:
            a guess of another class is wrong whatever its box is, and the right guess has this map.
        guessed: the maps (k, h, w) of every method for the first k guesses; k = 0 where none were asked for.
        is_classified: whether the network's outputs are classes; False for an embedding network.
    """

    number: int
    picture: BoxedPicture
    frame: InputFrame
    targets: Int[np.ndarray, " n"]
    maps: dict[str, Float[np.ndarray, "h w"]]
    guessed: dict[str, Float[np.ndarray, "k h w"]]
    is_classified: bool = True


def read_maps(folder: Path, boxed: BoxedSet, skipped: list[tuple[str, str]]) -> Iterator[MapsOf]:
    """The maps of a run, picture by picture; one file of maps is in memory at a time.

    Args:
        folder: what `write_maps` wrote.
        boxed: the same data set.
        skipped: a list to which files that could not be read are added, with the reason.

    Yields:
        One picture's maps.
    """
    for file in sorted((folder / "maps").glob("*.npz")):
        arrays = storage.read_arrays(file)
        skipped += [
            (str(boxed.pictures[number].file), str(reason))
            for number, reason in zip(arrays["skipped"], arrays["reasons"], strict=True)
        ]
        names = [name.removeprefix("map ") for name in arrays if name.startswith("map ")]
        for place, number in enumerate(arrays["numbers"]):
            width, height = (int(side) for side in arrays["sizes"][place])
            x0, y0, x1, y1 = (float(value) for value in arrays["regions"][place])
            maps = {name: arrays[f"map {name}"][place].astype(np.float64) for name in names}
            yield MapsOf(
                int(number), boxed.pictures[number], InputFrame((width, height), (x0, y0, x1, y1)),
                arrays["targets"][place],
                maps={name: heats[0] for name, heats in maps.items()},
                guessed={name: heats[1:] for name, heats in maps.items()},
                is_classified="outputs" not in arrays,
            )  # fmt: skip


def embeddings_of(folder: Path) -> dict[int, Float[np.ndarray, " n"]]:
    """What an embedding network said of each picture of a run, by the picture's number; nothing for classifiers."""
    found: dict[int, Float[np.ndarray, " n"]] = {}
    for file in sorted((folder / "maps").glob("*.npz")):
        arrays = storage.read_arrays(file, ("numbers", "outputs"))
        if "outputs" in arrays:
            found |= zip(arrays["numbers"].tolist(), arrays["outputs"], strict=True)
    return found
