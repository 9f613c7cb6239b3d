"""DigitScenes: handwritten digits on photographs, with classes and boxes, made on the spot.

A scene is described first (`Scene`: a background crop and placed digits, each with its motion) and drawn second
(`render`, at any time), so that a clip is the same scene drawn at several times. The digits are scikit-learn's
(8 x 8 scans of real handwriting), split by sample; the backgrounds are scikit-image's bundled photographs and
textures, others for training than for testing. Scene i of a split depends on the seed and i alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from l2caf.errors import DataError

Split = Literal["train", "validation", "test"]

SIZE: Final = 112
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
INK: Final = 0.35  # share of full ink from which a pixel counts as the digit's when its box is taken
GLYPH: Final = 64  # digits are drawn from masters of this side
MAX_OVERLAP: Final = 0.02  # of two digits' boxes, in intersection over union
CONTRAST: Final = 130.0  # least distance of a digit's colour from the background's mean, in RGB


@dataclass(frozen=True, slots=True)
class Placement:
    """One digit of a scene.

    Attributes:
        digit: 0 to 9.
        sample: which handwritten sample.
        centre: (x, y) in pixels at time 0.
        velocity: (x, y) in pixels per unit of time.
        side: of its square in pixels.
        angle: degrees, counter-clockwise.
        colour: RGB.
    """

    digit: int
    sample: int
    centre: tuple[float, float]
    velocity: tuple[float, float]
    side: float
    angle: float
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is in a picture: a crop (x, y, side) of a background, mirrored or not, and digits from back to front."""

    background: str
    crop: tuple[int, int, int]
    mirrored: bool
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A rendered scene.

    Attributes:
        image: RGB.
        classes: one per digit, as indices into the data set's classes.
        boxes: (x0, y0, x1, y1) per digit in pixels, half-open: the digit's ink lies in [x0, x1) x [y0, y1).
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
        split: Split,
        *,
        length: int = 10_000,
        objects: int | tuple[int, int] = (1, 3),
        classes: Sequence[int] = tuple(range(10)),
        seed: int = 0,
    ) -> None:
        """Describe the data set; nothing is drawn yet.

        Args:
            split: whose digits and backgrounds to use.
            length: number of scenes.
            objects: digits per scene, or the least and most.
            classes: which digits occur; sample classes are indices into this.
            seed: of the whole set.

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
        """The description of one scene.

        Args:
            index: in [0, length).

        Returns:
            The scene; the same whatever other scenes were asked for.
        """
        random = np.random.default_rng([self.seed, list(BACKGROUNDS).index(self.split), index])
        name = str(random.choice(BACKGROUNDS[self.split]))
        height, width = _background(name).shape[:2]
        side = int(random.integers(SIZE, min(height, width) + 1))
        crop = (int(random.integers(0, width - side + 1)), int(random.integers(0, height - side + 1)), side)
        mirrored = bool(random.random() < 0.5)
        count = int(random.integers(self.range[0], self.range[1] + 1))
        digits = random.choice(self.classes, count, replace=len(self.classes) < count)
        return Scene(name, crop, mirrored, self._placements(random, digits, _ground(name, crop, mirrored=mirrored)))

    def _placements(
        self, random: np.random.Generator, digits: Int[np.ndarray, " d"], ground: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[Placement, ...]:
        for shrink in np.linspace(1, 0.6, 60):  # ever smaller digits, until they fit side by side
            sides = random.uniform(38, 64, len(digits)) * shrink
            centres = [random.uniform(side / 2, SIZE - side / 2, 2) for side in sides]
            squares = [np.concatenate([c - s / 2, c + s / 2]) for c, s in zip(centres, sides, strict=True)]
            overlaps = [_iou(a, b) for i, a in enumerate(squares) for b in squares[:i]]
            if max(overlaps, default=0.0) <= MAX_OVERLAP:
                break
        return tuple(
            self._placement(random, int(digit), float(side), centre, ground)
            for digit, side, centre in zip(digits, sides, centres, strict=True)
        )

    def _placement(
        self,
        random: np.random.Generator,
        digit: int,
        side: float,
        centre: Float[np.ndarray, "2"],
        ground: UInt8[np.ndarray, "h w 3"],
    ) -> Placement:
        x, y = (int(value) for value in centre)
        half = int(side / 2)
        behind = ground[max(0, y - half) : y + half, max(0, x - half) : x + half].reshape(-1, 3).mean(0)
        colours = random.integers(0, 256, (32, 3))
        far = np.linalg.norm(colours - behind, axis=1)
        colour = colours[np.argmax(far > CONTRAST)] if (far > CONTRAST).any() else colours[far.argmax()]
        return Placement(
            digit=digit,
            sample=int(random.choice(_samples(self.split)[digit])),
            centre=(float(centre[0]), float(centre[1])),
            velocity=(0.0, 0.0),
            side=side,
            angle=float(random.uniform(-15, 15)),
            colour=(int(colour[0]), int(colour[1]), int(colour[2])),
        )


def write_scenes(scenes: DigitScenes, folder: Path) -> list[Path]:
    """Write every scene as a PNG file named after its digits, such as `03-digits-4-7.png`.

    Args:
        scenes: the data set.
        folder: an existing folder.

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


def render(scene: Scene, time: float = 0.0) -> tuple[UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "d 4"]]:
    """Draw a scene.

    Args:
        scene: what is in it.
        time: where moving digits are by then.

    Returns:
        RGB and the tight box of each digit's ink, half-open, in pixels.
    """
    image = _ground(scene.background, scene.crop, mirrored=scene.mirrored).astype(np.float32)
    boxes = []
    for placement in scene.placements:
        ink = _ink(placement, time)
        image += ink[..., None] * (np.asarray(placement.colour, dtype=np.float32) - image)
        boxes.append(_tight(ink))
    return image.round().astype(np.uint8), np.array(boxes, dtype=np.int64).reshape(-1, 4)


def _ink(placement: Placement, time: float) -> Float[np.ndarray, "h w"]:
    """How much of each pixel the digit covers, in [0, 1]."""
    glyph = _glyph(placement.sample)
    x = placement.centre[0] + time * placement.velocity[0]
    y = placement.centre[1] + time * placement.velocity[1]
    turn = np.deg2rad(placement.angle)
    scale = GLYPH / placement.side
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    # Pillow wants the map from picture to glyph: rotate about the digit's centre, then scale.
    back = (cos, -sin, GLYPH / 2 - cos * x + sin * y, sin, cos, GLYPH / 2 - sin * x - cos * y)
    drawn = glyph.transform((SIZE, SIZE), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
    return np.asarray(drawn, dtype=np.float32) / 255


def _tight(ink: Float[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(ink >= INK)
    if not len(rows):
        return (0, 0, 0, 0)
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def _iou(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> float:
    inter = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inter / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter))


@lru_cache(maxsize=8)  # a scene's ground is looked at when its digits are coloured and drawn on after
def _ground(background: str, crop: tuple[int, int, int], *, mirrored: bool) -> UInt8[np.ndarray, "h w 3"]:
    x, y, side = crop
    cut = _background(background)[y : y + side, x : x + side]
    shrunk = np.asarray(Image.fromarray(cut).resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0))
    return shrunk[:, ::-1] if mirrored else shrunk


@cache
def _background(name: str) -> UInt8[np.ndarray, "h w 3"]:
    with files("skimage.data").joinpath(name).open("rb") as handle, Image.open(handle) as image:
        rgb = image.convert("RGB")
    shorter = min(rgb.size)
    if shorter < 256:  # so that every crop has room to differ
        rgb = rgb.resize((round(rgb.width * 256 / shorter), round(rgb.height * 256 / shorter)))
    return np.asarray(rgb)


@cache
def _digits() -> tuple[Float[np.ndarray, "s 8 8"], Int[np.ndarray, " s"]]:
    from sklearn.datasets import load_digits  # noqa: PLC0415  (a second to import)

    bunch = load_digits()
    return bunch.images.astype(np.float32), bunch.target


@cache
def _samples(split: Split) -> dict[int, Int[np.ndarray, " s"]]:
    """Samples of each digit in a split: 70 % train, 10 % validation, 20 % test, drawn once and for all."""
    _, labels = _digits()
    random = np.random.default_rng(20200720)
    shares = {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}
    low, high = shares[split]
    chosen = {}
    for digit in range(10):
        members = random.permutation(np.flatnonzero(labels == digit))
        chosen[digit] = members[int(low * len(members)) : int(high * len(members))]
    return chosen


@cache
def _glyph(sample: int) -> Image.Image:
    """One handwritten digit as a smooth mask: bicubic upscaling, then a soft threshold that gives strokes an edge."""
    scan = np.pad(_digits()[0][sample] / 16, 1)
    smooth = Image.fromarray(scan).resize((GLYPH, GLYPH), Image.Resampling.BICUBIC)
    edge = np.clip((np.asarray(smooth) - 0.42) / 0.2, 0, 1)
    return Image.fromarray((edge * 255).astype(np.uint8))
