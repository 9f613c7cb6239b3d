"""Do the positions of a map follow the picture? Judged from outside, by forward passes of the network alone.

A map claims: this vector of the layer's output belongs to that place of the picture. The claim is taken at its word and
tried. One strip of a random picture is drawn anew, as wide as a position is long (of fine grids wider), for each of
several places along each axis. If the claim is true, the vectors that are said to lie on the strip move more than those
far from it.
Strips along every axis suffice: an order of positions that keeps each row in its row and each column in its column is
the right one.

Only a ranking is asked for, of each vector against itself (some move more than others, whatever is drawn anew) and of
each strip against itself. So how far two things go together is the correlation of the logarithms of the movements,
less the means of their vector and of their strip, with the nearness of the two, and what chance gives is what it is for
the same vectors in random orders. A claim that is off by a row goes together, too; it shows in where the movement is
largest, relative to the strip.

Nothing here is taken from the library, whose layout comes as the claim: a function from the layer's output to
vectors, and the sizes of the grid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Final, Literal

import torch
from torch import Tensor

Outcome = Literal["on the picture", "wrong", "cannot be told"]
See = Callable[[Tensor], Tensor]  # pictures (b, *size) -> the vectors that the claim calls positions (b, p, c)

FINE: Final = 16  # a strip is a position wide, and this share of the axis at least, or few of many positions move
STRIPS: Final = 6  # along one axis; more of them sharpen nothing that more draws do not
DRAWS: Final = (1, 2, 6)  # random pictures: as many as it takes
AT_ONCE: Final = 7  # pictures in one pass
CHANCE: Final = 0.005  # of the orders of the same vectors may do as well
ORDERS: Final = 999  # random orders that are tried
FEW: Final = 8  # so few positions have so few orders that all of them are tried: none is as rare as `CHANCE`
AGREEMENT: Final = 0.5  # the correlation that so few positions must reach
ENOUGH: Final = 5  # positions along an axis for a shift to be seen
OFF: Final = 0.75  # strides of convolutions move a map by up to half a position; a wrong prefix moves it by one
ROUNDING: Final = 64  # so many last digits of a feature are noise
LEAST: Final = 0.2  # the least agreement of maps of many positions that follow the picture; most have 0.4 to 1.0
ALIKE: Final = 0.98  # share of their movement that all vectors have in common in a network that mixes evenly


@dataclass(frozen=True)
class Axis:
    """How the positions follow the picture along one axis.

    Attributes:
        size: positions along it.
        agreement: correlation of movement and nearness, in [-1, 1].
        chance: share of random orders of the positions that agree as well, in (0, 1].
        shift: by how many positions the map is off; 0.0 where that cannot be seen.
        alike: share of the movement that all positions have in common, in [0, 1].
        spread: standard deviation of the agreement over random orders.
    """

    size: int
    agreement: float
    chance: float
    shift: float
    alike: float
    spread: float

    @property
    def is_hopeless(self) -> bool:
        """Whether more draws will not find an order, either."""
        return self.agreement + 4 * self.spread < LEAST

    @property
    def is_open(self) -> bool:
        """Whether the positions are too few, and move too much alike, for their order to show."""
        return self.alike > ALIKE and self.agreement + 2 * self.spread > LEAST

    @property
    def is_off(self) -> bool:
        """Whether the map lies beside the picture: by more than a stride's half, and than a strip's."""
        return abs(self.shift) > max(OFF, self.size // (2 * FINE))

    @property
    def is_followed(self) -> bool:
        """Whether the order of the positions is not by chance, and is the picture's rather than like it."""
        return self.chance <= CHANCE and self.agreement > LEAST

    def __str__(self) -> str:
        return (
            f"{self.size} positions: agreement {self.agreement:.2f}, chance {self.chance:.3f}, shift {self.shift:+.1f}"
        )


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        outcome: whether it is true.
        why: what speaks for that.
        axes: the figures.
    """

    outcome: Outcome
    why: str
    axes: tuple[Axis, ...] = field(default=())


def judge(
    see: See,
    size: Sequence[int],
    picture_axes: Sequence[int],
    grid: Sequence[int],
    *,
    answer: See | None = None,
    seed: int = 0,
) -> Verdict:
    """Try a claim.

    Args:
        see: from pictures (b, *size) of float32 to what the claim calls positions, (b, p, c) with p the product of
            `grid`, row-major.
        size: of one picture, with its channels.
        picture_axes: which axes of `size` are of time and space, time first.
        grid: sizes of the map; its last axis belongs to the last of `picture_axes`, and so on.
        answer: from pictures to what the network says of them (b, n); None where that does not matter.
        seed: of the random pictures.

    Returns:
        The verdict.
    """
    axes = [(along, n) for along, n in enumerate(grid) if n > 1]
    if len(grid) > len(picture_axes) or not axes:
        return Verdict("wrong", f"a grid of {tuple(grid)} cannot lie on a picture of {tuple(size)}")
    of_picture = tuple(picture_axes)[len(picture_axes) - len(grid) :]
    movements = [_Movement(see, tuple(size), of_picture[along], n, tuple(grid), along) for along, n in axes]
    generator = torch.Generator().manual_seed(seed)
    found: tuple[Axis, ...] = ()
    for draws in DRAWS:
        for movement in movements:
            while movement.draws < draws:
                movement.draw(generator)
        if not all(movement.is_finite for movement in movements):
            return Verdict("cannot be told", "the features of random pictures are not finite")
        if not any(movement.is_seen for movement in movements):
            return _unmoved(answer, tuple(size), generator)
        found = tuple(movement.judged(generator) for movement in movements)
        is_clear = all(axis.is_followed and not axis.is_off for axis in found)  # how far off is known by more draws
        if is_clear or any(axis.is_hopeless for axis in found):
            break
    return _verdict(found)


def _unmoved(answer: See | None, size: tuple[int, ...], generator: torch.Generator) -> Verdict:
    if answer is not None:
        said = answer(torch.randn(2, *size, generator=generator))
        noise = ROUNDING * torch.finfo(said.dtype).eps * float(said.abs().max())
        if float((said[0] - said[1]).abs().max()) <= noise:
            return Verdict("cannot be told", "the network answers every picture alike")
    return Verdict("wrong", "what is called positions does not move when the picture does")


def _verdict(axes: tuple[Axis, ...]) -> Verdict:
    figures = "; ".join(map(str, axes))
    shifted = [axis for axis in axes if axis.is_off and axis.is_followed]
    if shifted:
        return Verdict("wrong", f"the positions are off by {shifted[0].shift:+.1f} ({figures})", axes)
    if all(axis.is_followed for axis in axes):
        return Verdict("on the picture", figures, axes)
    if all(axis.is_open for axis in axes if not axis.is_followed):
        share = min(axis.alike for axis in axes)
        why = f"all positions move alike, whatever is drawn anew: {share:.2%} of their movement is common ({figures})"
        return Verdict("cannot be told", why, axes)
    return Verdict("wrong", f"the positions do not follow the picture ({figures})", axes)


@dataclass
class _Movement:
    """How far each position moves when a strip across one axis is drawn anew."""

    see: See
    size: tuple[int, ...]
    of_picture: int
    n: int
    grid: tuple[int, ...]
    along: int
    draws: int = 0
    is_finite: bool = True
    energy: Tensor = field(init=False)
    apart: Tensor = field(init=False)
    floor: float = 0.0

    def __post_init__(self) -> None:
        count = min(self.n, STRIPS, self.size[self.of_picture])
        self.beside = self.n // (2 * FINE)
        self.strips = [round((self.n - 1) * i / max(1, count - 1)) for i in range(count)]
        self.energy = torch.zeros(math.prod(self.grid), count, dtype=torch.float64)
        self.apart = torch.zeros_like(self.energy)
        index = torch.arange(self.n).view([-1 if axis == self.along else 1 for axis in range(len(self.grid))])
        self.places = index.expand(self.grid).flatten()

    def draw(self, generator: torch.Generator) -> None:
        """Draw a picture, and each of the strips anew."""
        base, other = (torch.randn(self.size, generator=generator) for _ in range(2))
        pictures = torch.stack([base, *(self._with_strip(base, other, strip) for strip in self.strips)])
        seen = torch.cat([self.see(part) for part in pictures.split(AT_ONCE)])
        first, seen = seen[0], seen.double()
        self.draws += 1
        self.is_finite = self.is_finite and bool(torch.isfinite(seen).all())
        moved = seen[1:] - seen[:1]
        apart = moved - moved.mean(1, keepdim=True)
        self.energy += moved.square().mean(2).T
        self.apart += apart.square().mean(2).T
        self.floor += float(first.double().square().mean()) * (ROUNDING * torch.finfo(first.dtype).eps) ** 2

    def _with_strip(self, base: Tensor, other: Tensor, strip: int) -> Tensor:
        length = self.size[self.of_picture]
        first = min(length - 1, max(0, strip - self.beside) * length // self.n)
        last = max(first + 1, min(self.n, strip + self.beside + 1) * length // self.n)
        picture = base.clone()
        picture.narrow(self.of_picture, first, last - first).copy_(other.narrow(self.of_picture, first, last - first))
        return picture

    @property
    def is_seen(self) -> bool:
        return float(self.energy.max()) > self.floor

    def judged(self, generator: torch.Generator) -> Axis:
        """The figures, for whole movements or for what of them the positions do not share, whichever says more."""
        alike = 1 - float(self.apart.sum() / self.energy.sum().clamp_min(1e-300))
        return max(
            (self._axis(energy, alike, generator) for energy in (self.energy, self.apart)),
            key=lambda axis: (axis.is_followed, axis.agreement),
        )

    def _axis(self, energy: Tensor, alike: float, generator: torch.Generator) -> Axis:
        own = _centred((energy + max(self.floor, 1e-8 * float(energy.max()))).log())
        apart = (self.places[:, None] - torch.tensor(self.strips)[None]).abs()
        distance = (apart - self.beside).clamp_min(0).double() / self.n
        near = _centred(-distance)
        scale = float(own.norm() * near.norm())
        if scale == 0:
            return Axis(self.n, 0.0, 1.0, 0.0, alike, 1.0)
        agreement = float((own * near).sum()) / scale
        others = _of_other_orders(own, near, self.places, generator) / scale
        if len(own) <= FEW:  # so few orders that many are as good by chance: it must be the best, and clearly good
            is_followed = agreement > AGREEMENT and agreement >= float(others.max()) * (1 - 1e-9)
            chance = 0.0 if is_followed else 1.0
        else:
            chance = (float((others >= agreement).sum()) + 1) / (len(others) + 1)
        return Axis(self.n, agreement, chance, self._shift(own), alike, float(others.std()))

    def _shift(self, own: Tensor) -> float:
        """Where, beside the strip, the movement is largest."""
        by_place = own.new_zeros(self.n, own.shape[1]).index_add_(0, self.places, own) / (len(own) / self.n)
        if self.n < ENOUGH:  # a row off is then so much that the order is lost
            return 0.0
        profile = {}
        for shift in range(-3, 4):
            there = [(j, strip + shift) for j, strip in enumerate(self.strips) if 0 <= strip + shift < self.n]
            if len(there) > len(self.strips) / 2:
                profile[shift] = sum(float(by_place[place, j]) for j, place in there) / len(there)
        best = max(profile, key=lambda shift: (profile[shift], -abs(shift)))
        if best - 1 not in profile or best + 1 not in profile:
            return float(best)
        before, at, after = (profile[best + step] for step in (-1, 0, 1))
        bend = 2 * at - before - after
        return best + (0.5 * (after - before) / bend if bend > 0 else 0.0)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(0) - values.mean(1, keepdim=True) + values.mean()


def _of_other_orders(own: Tensor, near: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    """The products of movement and nearness for the same vectors in other orders."""
    # A vector's part in the product depends on the place that it is put to alone: a table of vectors x places.
    table = own @ near[_first_of_each(places)].T
    numbers = torch.arange(len(own))
    if len(own) <= FEW:
        orders = torch.tensor(list(permutations(range(len(own)))))
    else:
        orders = torch.stack([torch.randperm(len(own), generator=generator) for _ in range(ORDERS)])
    return torch.stack([table[numbers, places[order]].sum() for order in orders])


def _first_of_each(places: Tensor) -> Tensor:
    return torch.stack([(places == place).nonzero()[0, 0] for place in range(int(places.max()) + 1)])
