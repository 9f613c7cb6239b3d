"""Whether the positions of a feature map follow the picture: rank statistics on how far features move.

Along every axis of the picture one half is drawn anew, then the other. A position lies in one of the halves, and its
features move more when that half changes than when the other does, however much the network mixes places: so the
positions of the first half have the larger log ratios of the two responses. How often that holds for a position of
the first and one of the second half is the area under the ROC curve (the Mann-Whitney statistic): 1 where every pair
is right, 1/2 by chance, that is for positions that were shuffled.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from jaxtyping import Float

CHANCE: Final = 1e-3  # how often shuffled positions may pass for the picture, over all layouts tried for one map
AXIS_CHANCE: Final = 0.05  # and along one axis alone
BARELY: Final = 0.6  # an area that shows no chance on a large grid, and no place: a row cut into the wrong grid has it
LEAST_SHARE: Final = 1e-12  # a response below this share of the largest is rounding of a zero

Ratios = Float[np.ndarray, "draws p"]  # log ratios of responses: first half drawn anew over second half drawn anew


class Verdict(Enum):
    """What was measured of a map's positions; the value is the sentence to print."""

    FOLLOWS = "its positions follow the picture"
    UNTOLD = "that its positions follow the picture cannot be told: their features move evenly, wherever it changes"
    ELSEWHERE = "its positions do not follow the picture: their features do not move where it changes"


@dataclass(frozen=True, slots=True)
class Locality:
    """How well the positions of a feature map follow the picture.

    Attributes:
        score: how often a position moves more with its own half of the picture than one of the other half does, in
            [0, 1], averaged over the axes; NaN where nothing moves.
        chance: the score that shuffled positions stay below 999 times of 1000; 1/2 is their mean. NaN like the score.
        verdict: what that says.
    """

    score: float
    chance: float
    verdict: Verdict

    @property
    def follows(self) -> bool:
        """Whether the positions were measured to follow the picture."""
        return self.verdict is Verdict.FOLLOWS

    def __str__(self) -> str:
        """Such as `follows 0.98 (chance 0.61)`."""
        return f"{self.verdict.name.lower()} {self.score:.2f} (chance {self.chance:.2f})"

    def stored(self) -> dict[str, Any]:
        """What a manifest holds: JSON has no NaN, so that is null."""
        numbers = {"score": self.score, "chance": self.chance}
        known = {name: None if math.isnan(number) else number for name, number in numbers.items()}
        return known | {"verdict": self.verdict.name.lower()}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Locality":
        """What `stored` wrote; raises `KeyError` for a verdict that does not exist."""
        score, chance = (math.nan if stored[name] is None else stored[name] for name in ("score", "chance"))
        return cls(score, chance, Verdict[stored["verdict"].upper()])


@dataclass(frozen=True, slots=True)
class Following:
    """The statistic of one layout, for each axis with more than one position.

    Attributes:
        areas: the area under the curve, in [0, 1].
        deviations: the standard deviation of that area for shuffled positions, whose mean is 1/2; infinite where no
            position moves.
    """

    areas: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    @property
    def z(self) -> tuple[float, ...]:
        """How many deviations each area is above that of shuffled positions."""
        return tuple((area - 0.5) / one for area, one in zip(self.areas, self.deviations, strict=True))

    @property
    def total(self) -> float:
        """All axes together, in deviations."""
        return sum(self.z) / math.sqrt(len(self.z)) if self.z else -math.inf

    @property
    def moves(self) -> bool:
        """Whether some position moves at all."""
        return any(math.isfinite(one) for one in self.deviations)

    def passes(self, tries: int, least: float = BARELY) -> bool:
        """Whether chance does not explain it.

        Args:
            tries: how many layouts were looked at before this one was chosen.
            least: the area that every axis must have, too.

        Returns:
            Whether shuffled positions get there less often than `CHANCE` in so many tries, and on no axis more often
            than `AXIS_CHANCE`.
        """
        normal = NormalDist()
        return (
            self.total >= -normal.inv_cdf(CHANCE / tries)
            and min(self.z) >= -normal.inv_cdf(AXIS_CHANCE)
            and min(self.areas) >= least
        )

    @property
    def locality(self) -> tuple[float, float]:
        """The mean of the areas, and what that of shuffled positions stays below 999 times of 1000; NaN without any."""
        if not self.moves:
            return math.nan, math.nan
        deviation = math.sqrt(sum(one**2 for one in self.deviations)) / len(self.deviations)
        return sum(self.areas) / len(self.areas), min(1.0, 0.5 - NormalDist().inv_cdf(CHANCE) * deviation)


def log_ratios(first: Float[np.ndarray, "draws p"], second: Float[np.ndarray, "draws p"]) -> Ratios:
    """Log ratios of the responses to two halves; NaN where a position responds to neither."""
    largest = max(float(first.max(initial=0)), float(second.max(initial=0)))
    least = LEAST_SHARE * largest if largest > 0 else 1.0
    ratios = np.log(np.maximum(first, least)) - np.log(np.maximum(second, least))
    return np.where((first <= least) & (second <= least), np.nan, ratios)


def following(ratios: Mapping[int, Ratios], grid: Sequence[int]) -> Following:
    """The statistic of a layout.

    Args:
        ratios: log ratios of every position, row-major over the grid, by axis of the grid.
        grid: sizes of the axes.

    Returns:
        The statistic over the axes with more than one position that have ratios.
    """
    found = []
    for axis, values in ratios.items():
        if grid[axis] < 2:
            continue
        side = sides(grid, axis)
        first, second = (values[:, side == sign].ravel() for sign in (1, -1))
        found.append(area_under(first[~np.isnan(first)], second[~np.isnan(second)]))
    return Following(tuple(area for area, _ in found), tuple(deviation for _, deviation in found))


def sides(grid: Sequence[int], axis: int) -> Float[np.ndarray, " p"]:
    """1 for positions in the first half along an axis, -1 for the second, 0 for those in the middle, row-major."""
    places = (np.arange(grid[axis]) + 0.5) / grid[axis]
    side = np.sign(np.round(0.5 - places, 9))
    shape = [-1 if number == axis else 1 for number in range(len(grid))]
    return np.broadcast_to(side.reshape(shape), tuple(grid)).ravel()


def area_under(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> tuple[float, float]:
    """Share of pairs in which the first value is larger, ties counted half, and its deviation for shuffled values."""
    if not len(first) or not len(second):
        return 0.5, math.inf
    ordered = np.sort(second)
    below, up_to = (np.searchsorted(ordered, first, side=side) for side in ("left", "right"))
    area = float((below + up_to).mean()) / (2 * len(second))
    return area, math.sqrt((len(first) + len(second) + 1) / (12 * len(first) * len(second)))
