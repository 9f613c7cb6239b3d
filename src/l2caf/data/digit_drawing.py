"""Scenes of handwritten digits on photographs: what is in a picture, and how it is drawn, at any time.

The digits are scikit-learn's (8 x 8 scans of real handwriting); the backgrounds are photographs and textures that come
with scikit-image.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from l2caf.extras import require

SIZE: Final = 112  # pixels on a side of a scene
INK: Final = 0.35  # share of full ink from which a pixel counts as the digit's when its box is taken
GLYPH: Final = 64  # digits are drawn from masters of this side


@dataclass(frozen=True, slots=True)
class Placement:
    """One digit of a scene.

    Attributes:
        digit: The digit, 0 to 9.
        sample: The index of the handwritten sample among scikit-learn's scans.
        centre: The centre (x, y) in pixels at time 0.
        velocity: The motion (x, y) in pixels per unit of time.
        side: The side of the digit's square in pixels.
        angle: The rotation in degrees, counter-clockwise.
        colour: The colour as RGB, each 0 to 255.
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
    """What is in a picture.

    Attributes:
        background: The file name of one of scikit-image's pictures.
        crop: The square of the background that is shown, as x, y and side in pixels.
        mirrored: Whether the background is mirrored from left to right.
        placements: The digits from back to front.
    """

    background: str
    crop: tuple[int, int, int]
    mirrored: bool
    placements: tuple[Placement, ...]


def render(scene: Scene, time: float = 0.0) -> tuple[UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "d 4"]]:
    """Draw a scene.

    Args:
        scene: What is in the picture.
        time: The time at which it is drawn; digits move from their place at time 0.

    Returns:
        The RGB picture, and the tight box of each digit's ink as half-open x0, y0, x1, y1 in pixels.
    """
    image = ground(scene.background, scene.crop, mirrored=scene.mirrored).astype(np.float32)
    boxes = []
    for placement in scene.placements:
        ink = _ink(placement, time)
        image += ink[..., None] * (np.asarray(placement.colour, dtype=np.float32) - image)
        boxes.append(_tight(ink))
    return image.round().astype(np.uint8), np.array(boxes, dtype=np.int64).reshape(-1, 4)


def _ink(placement: Placement, time: float) -> Float[np.ndarray, "h w"]:
    """Return which share of each pixel the digit covers, in [0, 1]."""
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


@lru_cache(maxsize=8)  # the ground of a scene is wanted twice: to choose the digits' colours, and to draw on
def ground(background: str, crop: tuple[int, int, int], *, mirrored: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Cut a square (x, y, side) out of a background and scale it to the size of a scene."""
    x, y, side = crop
    cut = photograph(background)[y : y + side, x : x + side]
    shrunk = np.asarray(Image.fromarray(cut).resize((SIZE, SIZE), Image.Resampling.BILINEAR, reducing_gap=2.0))
    return shrunk[:, ::-1] if mirrored else shrunk


@cache
def photograph(name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Read one of scikit-image's bundled pictures as RGB, 256 pixels or more on its shorter side."""
    with (
        files(require("skimage.data", extra="digits")).joinpath(name).open("rb") as handle,
        Image.open(handle) as image,
    ):
        rgb = image.convert("RGB")
    shorter = min(rgb.size)
    if shorter < 256:  # so that every crop has room to differ
        rgb = rgb.resize((round(rgb.width * 256 / shorter), round(rgb.height * 256 / shorter)))
    return np.asarray(rgb)


@cache
def handwriting() -> tuple[Float[np.ndarray, "s 8 8"], Int[np.ndarray, " s"]]:
    """Return scikit-learn's scans, with ink from 0 to 16, and the digit that each of them shows."""
    scans = require("sklearn.datasets", extra="digits").load_digits()
    return scans.images.astype(np.float32), scans.target


@cache
def _glyph(sample: int) -> Image.Image:
    """Return one handwritten digit as a smooth mask: bicubic upscaling, then a soft threshold that gives an edge."""
    scan = np.pad(handwriting()[0][sample] / 16, 1)
    smooth = Image.fromarray(scan).resize((GLYPH, GLYPH), Image.Resampling.BICUBIC)
    edge = np.clip((np.asarray(smooth) - 0.42) / 0.2, 0, 1)
    return Image.fromarray((edge * 255).astype(np.uint8))
