"""DigitScenes: handwritten digits on photographs, with classes and boxes, drawn when they are asked for.

A scene is described first (`scene`) and drawn second (`digit_drawing.render`), so that a clip is the same scene drawn
at several times. The splits share neither handwriting nor backgrounds. Scene i of a split depends on the seed and on i
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from l2caf.data.digit_drawing import SIZE, Placement, Scene, ground, handwriting, photograph, render
from l2caf.errors import DataError

SceneSplit = Literal["train", "validation", "test"]

BACKGROUNDS: Final[dict[str, tuple[str, ...]]] = {
    "train": (
        "astronaut.png",
        "brick.png",
        "cell.png",
        "chelsea.png",
        "coins.png",
        "grass.png",
        "moon.png",
        "motorcycle_left.png",
        "rocket.jpg",
    ),
    "validation": ("ihc.png", "microaneurysms.png"),
    "test": ("camera.png", "coffee.png", "gravel.png", "hubble_deep_field.jpg", "retina.jpg"),
}
MAX_OVERLAP: Final = 0.02  # of two digits' boxes, in intersection over union
CONTRAST: Final = 130.0  # least distance of a digit's colour from the background's mean, in RGB


@dataclass(frozen=True, slots=True)
class Sample:
    """A rendered scene.

    Attributes:
        image: The RGB picture.
        classes: The class of each digit, as an index into the data set's classes.
        boxes: The box (x0, y0, x1, y1) of each digit in pixels, half-open: its ink lies in [x0, x1) x [y0, y1).
    """

    image: UInt8[np.ndarray, "h w 3"]
    classes: Int[np.ndarray, " d"]
    boxes: Int[np.ndarray, "d 4"]


class DigitScenes:
    """A data set of scenes.

    Example:
        >>> scenes = DigitScenes("test", objects=2, length=10)
        >>> scenes[3].image.shape, len(scenes[3].classes)
        ((112, 112, 3), 2)
    """

    def __init__(
        self,
        split: SceneSplit,
        *,
        length: int = 10_000,
        objects: int | tuple[int, int] = (1, 3),
        classes: Sequence[int] = tuple(range(10)),
        seed: int = 0,
    ) -> None:
        """Describe the data set; nothing is drawn yet.

        Args:
            split: The split whose handwriting and backgrounds are used.
            length: The number of scenes.
            objects: The number of digits in a scene, or the least and the largest number, from 1 to 3.
            classes: The digits that occur; the class of a digit is its index here.
            seed: The seed of the whole set.

        Raises:
            DataError: if an option is out of range.
        """
        self.range = (objects, objects) if isinstance(objects, int) else objects
        if split not in BACKGROUNDS:
            raise DataError(f"split {split!r} is unknown; expected one of {', '.join(BACKGROUNDS)}")
        if not 1 <= self.range[0] <= self.range[1] <= 3:
            raise DataError(f"objects={objects} is out of range; expected 1 to 3 digits per scene")
        if length < 1 or not classes or not set(classes) <= set(range(10)):
            raise DataError(f"length={length}, classes={tuple(classes)}: expected length > 0 and classes among 0 to 9")
        self.split = split
        self.length = length
        self.classes = tuple(classes)
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        scene = self.scene(index)
        image, boxes = render(scene)
        classes = np.array([self.classes.index(placement.digit) for placement in scene.placements])
        return Sample(image, classes, boxes)

    def scene(self, index: int) -> Scene:
        """Describe one scene without drawing it.

        Args:
            index: The number of the scene, in [0, length).

        Returns:
            The scene; it does not depend on which other scenes were asked for.
        """
        random = np.random.default_rng([self.seed, list(BACKGROUNDS).index(self.split), index])
        name = str(random.choice(BACKGROUNDS[self.split]))
        height, width = photograph(name).shape[:2]
        side = int(random.integers(SIZE, min(height, width) + 1))
        crop = (int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1)), side)
        mirrored = bool(random.random() < 0.5)
        count = int(random.integers(self.range[0], self.range[1] + 1))
        digits = random.choice(self.classes, count, replace=len(self.classes) < count)
        return Scene(name, crop, mirrored, self._placements(random, digits, ground(name, crop, mirrored=mirrored)))

    def _placements(
        self, random: np.random.Generator, digits: Int[np.ndarray, " d"], backdrop: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[Placement, ...]:
        for shrink in np.linspace(1, 0.6, 60):  # ever smaller digits, until they fit side by side
            sides = random.uniform(38, 64, len(digits)) * shrink
            centres = [random.uniform(side / 2, SIZE - side / 2, 2) for side in sides]
            squares = [np.concatenate([c - s / 2, c + s / 2]) for c, s in zip(centres, sides, strict=True)]
            overlaps = [_iou(a, b) for i, a in enumerate(squares) for b in squares[:i]]
            if max(overlaps, default=0.0) <= MAX_OVERLAP:
                break
        return tuple(
            self._placement(random, int(digit), float(side), centre, backdrop)
            for digit, side, centre in zip(digits, sides, centres, strict=True)
        )

    def _placement(
        self,
        random: np.random.Generator,
        digit: int,
        side: float,
        centre: Float[np.ndarray, "2"],
        backdrop: UInt8[np.ndarray, "h w 3"],
    ) -> Placement:
        x, y = (int(value) for value in centre)
        half = int(side / 2)
        behind = backdrop[max(0, y - half) : y + half, max(0, x - half) : x + half].reshape(-1, 3).mean(0)
        colours = random.integers(0, 256, (32, 3))
        far = np.linalg.norm(colours - behind, axis=1)
        colour = colours[np.argmax(far > CONTRAST)] if (far > CONTRAST).any() else colours[far.argmax()]
        return Placement(
            digit=digit,
            sample=int(random.choice(samples(self.split)[digit])),
            centre=(float(centre[0]), float(centre[1])),
            velocity=(0.0, 0.0),
            side=side,
            angle=float(random.uniform(-15, 15)),
            colour=(int(colour[0]), int(colour[1]), int(colour[2])),
        )


def write_scenes(scenes: DigitScenes, folder: Path) -> list[Path]:
    """Write every scene as a PNG file named after its digits, such as `03-digits-4-7.png`.

    Args:
        scenes: The data set.
        folder: A folder that exists.

    Returns:
        The files, in order.
    """
    paths = []
    for index in range(len(scenes)):
        sample = scenes[index]
        names = "-".join(str(scenes.classes[c]) for c in sample.classes)
        paths.append(folder / f"{index:02d}-digits-{names}.png")
        Image.fromarray(sample.image).save(paths[-1])
    return paths


def _iou(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> float:
    inter = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inter / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter))


@cache
def samples(split: SceneSplit) -> dict[int, Int[np.ndarray, " s"]]:
    """Return the samples of each digit in a split: 70 % train, 10 % validation, 20 % test, by a fixed permutation."""
    _, labels = handwriting()
    random = np.random.default_rng(20200720)
    shares = {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}
    low, high = shares[split]
    chosen = {}
    for digit in range(10):
        members = random.permutation(np.flatnonzero(labels == digit))
        chosen[digit] = members[int(low * len(members)) : int(high * len(members))]
    return chosen
