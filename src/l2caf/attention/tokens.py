"""Which tokens of a row may lie on a grid: those whose responses are arranged like one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from l2caf.attention.following import BARELY, Following, Ratios, following, sides
from l2caf.layouts import Frames, Layout, Row, Tokens
from l2caf.layouts.propose import MAX_SPARE, grids_in

# Tokens that were put in order by what the picture shows, as the queries of RT-DETR, resemble some grid somewhere: a
# grid that no shape suggests has to fit nearly.
FITS: Final = 0.85
NEXT: Final = 2  # places on either side of the best one for all maps together that each map tries for itself


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One way in which tokens of a row may lie on a grid.

    Attributes:
        row: the row.
        tokens: the grid, channels last, and for rows of frames that of one frame.
        tries: how many arrangements were looked at to find this one.
        least: the area under the curve that each axis must have, beside being no chance.
    """

    row: Row
    tokens: Tokens
    tries: int
    least: float = BARELY

    @property
    def layout(self) -> Layout:
        """The layout of the map."""
        tokens = replace(self.tokens, is_channels_first=self.row.channels == 1)
        return Frames(tokens, self.row.frames) if self.row.frames else tokens

    def following(self, ratios: Mapping[int, Ratios]) -> Following:
        """How well it follows the picture, by log ratios (draws, tokens) of each axis of the grid."""
        frames = self.row.frames or 1
        grid = (self.row.frames, *self.tokens.sizes) if self.row.frames else self.tokens.sizes
        places = self._places()
        chosen = {
            axis: values.reshape(len(values), frames, self.row.count)[:, :, places].reshape(len(values), -1)
            for axis, values in ratios.items()
        }
        return following(chosen, grid)

    def _places(self) -> Int[np.ndarray, " p"]:
        """The place in the row of every position of the grid, row-major."""
        sizes = self.tokens.sizes
        order = self.tokens.order or tuple(range(len(sizes)))
        in_row = np.arange(math.prod(sizes)).reshape([sizes[axis] for axis in order])
        return in_row.transpose([order.index(axis) for axis in range(len(order))]).ravel() + self.tokens.prefix


def arrangements(row: Row, ratios: Sequence[Mapping[int, Ratios]]) -> list[Arrangement]:
    """The ways in which the tokens of rows of one length may lie on a grid.

    Args:
        row: what the rows have in common.
        ratios: log ratios of some maps of that length, (draws, tokens), by axis of the grid. Maps that follow no
            picture do no harm, as each map is then judged by itself.

    Returns:
        Grids that leave 16 tokens at most, in front of them; the best of these with the spare tokens anywhere; and,
        where none of them follows the picture nearly, the best grid anywhere in the row.
    """
    grids = list(grids_in(row.count, row.space.last.sizes if row.frames else row.space.sizes))
    close = [sizes for sizes in grids if row.count - math.prod(sizes) <= MAX_SPARE]
    found = [Arrangement(row, Tokens(sizes, row.count - math.prod(sizes)), len(close)) for sizes in close]
    found += _best_placed(row, ratios, close)
    does_fit = any(one.following(each).passes(one.tries, FITS) for one in found for each in ratios)
    if not does_fit and row.channels != 1 and len(grids) > len(close):
        found += _best_placed(row, ratios, grids)
    return found


def _best_placed(
    row: Row, ratios: Sequence[Mapping[int, Ratios]], grids: Sequence[tuple[int, ...]]
) -> list[Arrangement]:
    """The grid that fits all maps together best, in its best order, at its best place and the next ones."""
    placed = list(_placed(row, ratios, grids))
    tries = sum(number for _, _, number in placed)
    if not placed:
        return []
    _, best, _ = max(placed, key=lambda one: one[0])
    spare = best.prefix + best.suffix
    near = range(max(0, best.prefix - NEXT), min(spare, best.prefix + NEXT) + 1)
    return [
        Arrangement(row, replace(best, prefix=place, suffix=spare - place), tries, FITS)
        for place in sorted(near, key=lambda place: abs(place - best.prefix))
    ]


def _placed(
    row: Row, ratios: Sequence[Mapping[int, Ratios]], grids: Sequence[tuple[int, ...]]
) -> Iterator[tuple[float, Tokens, int]]:
    """Every grid, in every order, where in the row it fits best: how well, the grid, and the number of places."""
    first = 1 if row.frames else 0  # the axis of the grid of which tokens are the first
    axes = {axis for each in ratios for axis in each if axis >= first}
    ranks = {
        axis - first: np.sum([_ranks(row, each[axis]) for each in ratios if axis in each], axis=0)
        for axis in sorted(axes)
    }
    for sizes in grids:
        spare = row.count - math.prod(sizes)
        for order in _orders(sizes):
            fit, norm = np.zeros(spare + 1), 0.0
            for axis, values in ranks.items():
                template = sides(sizes, axis).reshape(sizes).transpose(order).ravel()
                fit += _correlation(values, template)
                norm += float(np.square(template).sum())
            place = int(fit.argmax())
            said = None if order == tuple(range(len(sizes))) else order
            if norm:
                yield float(fit[place]) / math.sqrt(norm), Tokens(sizes, place, spare - place, said), spare + 1


def _orders(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Row-major and, where they differ, column-major or all instants of a place side by side."""
    plain = tuple(range(len(sizes)))
    return [plain, (*plain[1:], 0)] if sum(size > 1 for size in sizes) > 1 else [plain]


def _ranks(row: Row, values: Ratios) -> Float[np.ndarray, " n"]:
    """Ranks of the tokens' ratios from -1 to 1, averaged over draws and frames; 0 where a token does not move."""
    rows = values.reshape(-1, row.count)
    ranks = rows.argsort(1).argsort(1) / max(1, row.count - 1) * 2 - 1
    return np.where(np.isnan(rows), 0.0, ranks).mean(0)


def _correlation(values: Float[np.ndarray, " n"], template: Float[np.ndarray, " p"]) -> Float[np.ndarray, " o"]:
    """Sum of products at every offset, by Fourier transforms where that is faster."""
    places = len(values) - len(template) + 1
    if places * len(template) < 2**16:
        return np.correlate(values, template, "valid")
    size = 1 << (len(values) + len(template)).bit_length()
    product = np.fft.rfft(values, size) * np.conj(np.fft.rfft(template, size))
    return np.fft.irfft(product, size)[:places]
