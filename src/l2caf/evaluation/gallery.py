"""The best and the worst pictures of an evaluation, side by side with every method's map."""

import bisect
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageDraw

from l2caf.data.pictures import read_picture
from l2caf.evaluation.stored import MapsOf
from l2caf.pictures import overlay, resize

SHOWN: Final = 12  # pictures in a gallery
SIDE: Final = 160  # of a cell, in pixels

_Ranked = tuple[float, int, MapsOf]  # score, number, maps


class Extremes:
    """The pictures with the lowest and the highest scores, kept while pictures come in."""

    def __init__(self) -> None:
        """Start with no pictures."""
        self._low: list[_Ranked] = []
        self._high: list[_Ranked] = []

    def add(self, score: float, row: MapsOf) -> None:
        """Consider one picture; of equal scores the lower number ranks lower."""
        for ranked in (self._low, self._high):
            bisect.insort(ranked, (score, row.number, row), key=lambda one: one[:2])
        del self._low[SHOWN:], self._high[:-SHOWN]

    @property
    def worst(self) -> list[MapsOf]:
        """At most 12 pictures, the lowest score first."""
        return [row for _, _, row in self._low]

    @property
    def best(self) -> list[MapsOf]:
        """At most 12 pictures, the highest score first."""
        return [row for _, _, row in reversed(self._high)]


def gallery(rows: Sequence[MapsOf]) -> Image.Image:
    """A row for each picture: the picture with its boxes, then the map of every method for its true class."""
    sheet = Image.new("RGB", (SIDE * (1 + len(rows[0].maps)), SIDE * len(rows)), "white")
    for line, row in enumerate(rows):
        picture = read_picture(row.picture.file)
        shown = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=_inside(picture, row.frame.region))
        sheet.paste(_with_boxes(shown, row), (0, line * SIDE))
        for column, maps in enumerate(row.maps.values(), start=1):
            heat = resize(torch.from_numpy(maps)[None, None], (SIDE, SIDE))[0, 0].numpy().clip(0)
            heat = heat / max(float(heat.max()), 1e-12)
            sheet.paste(Image.fromarray(overlay(np.asarray(shown), heat)), (column * SIDE, line * SIDE))
    return sheet


def _with_boxes(shown: Image.Image, row: MapsOf) -> Image.Image:
    boxed = shown.copy()
    for box in row.frame.to_input(row.picture.boxes, (SIDE, SIDE)):
        corners = [float(value) for value in box]
        ImageDraw.Draw(boxed).rectangle(corners, outline="black", width=4)  # seen on light ground
        ImageDraw.Draw(boxed).rectangle(corners, outline="white", width=2)
    return boxed


def _inside(picture: Image.Image, region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return max(region[0], 0), max(region[1], 0), min(region[2], picture.width), min(region[3], picture.height)
