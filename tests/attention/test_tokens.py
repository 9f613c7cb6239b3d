"""Grids in rows of tokens, found where they are planted and nowhere else."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from l2caf.attention.following import sides
from l2caf.attention.tokens import arrangements
from l2caf.layouts import Row, Space


def local(sizes: tuple[int, ...], generator: np.random.Generator) -> dict[int, np.ndarray]:
    """Ratios of positions that follow the picture, with noise, row-major."""
    return {
        axis: (sides(sizes, axis) + 0.3 * generator.normal(size=math.prod(sizes))).reshape(1, -1)
        for axis in range(len(sizes))
    }


@given(
    st.integers(4, 7),
    st.integers(0, 24),
    st.integers(0, 24),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_grid_in_a_row_is_found_where_it_is(side: int, prefix: int, suffix: int, is_turned: bool, seed: int) -> None:  # noqa: FBT001
    generator = np.random.default_rng(seed)
    sizes, order = (side, side), (1, 0) if is_turned else (0, 1)
    row = Row(prefix + side * side + suffix, Space(0, (2, 3), (16 * side, 16 * side)), 2)
    ratios = {}
    for axis, values in local(sizes, generator).items():
        tokens = values.reshape(sizes).transpose(order).ravel()
        others = generator.normal(size=(prefix + suffix))
        ratios[axis] = np.concatenate([others[:prefix], tokens, others[prefix:]])[None]
    passing = [one for one in arrangements(row, [ratios]) if one.following(ratios).passes(one.tries, one.least)]
    best = max(passing, key=lambda one: one.following(ratios).total)
    assert best.tokens.sizes == sizes
    assert (best.tokens.prefix, best.tokens.suffix) == (prefix, suffix)
    assert best.tokens.order == ((1, 0) if is_turned else None)


@given(st.integers(20, 120), st.integers(0, 999))
def test_a_row_without_a_grid_has_none(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    row = Row(count, Space(0, (2, 3), (224, 224)), 2)
    ratios = {0: generator.normal(size=(1, count)), 1: generator.normal(size=(1, count))}
    assert not any(one.following(ratios).passes(one.tries, one.least) for one in arrangements(row, [ratios]))
