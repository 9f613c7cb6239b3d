import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l2caf.errors import LayoutError
from l2caf.layouts import LAYOUTS, ChannelsFirst, ChannelsLast, Layout, Tokens

GRIDS = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@given(GRIDS, st.integers(0, 3), st.integers(0, 2))
def test_a_filter_scales_every_position_and_nothing_else_in_every_layout(
    grid: tuple[int, ...], prefix: int, kind: int
) -> None:
    b, c, p = 2, 3, math.prod(grid)
    layout: Layout = (ChannelsFirst(), ChannelsLast(), Tokens(grid, prefix))[kind]
    shape = ((b, c, *grid), (b, *grid, c), (b, prefix + p, c))[kind]
    features = torch.randn(shape)
    filters = torch.randn(b, p)
    filtered = layout.apply(features, filters)
    assert layout.grid(features) == grid
    assert filtered.shape == features.shape
    assert torch.allclose(layout.vectors(filtered), layout.vectors(features) * filters[..., None])
    if kind == 2:
        assert torch.equal(filtered[:, :prefix], features[:, :prefix])


@given(GRIDS, st.integers(0, 3), st.integers(0, 2))
def test_single_is_every_position_on_a_grid_of_its_own(grid: tuple[int, ...], prefix: int, kind: int) -> None:
    b, c, p = 2, 3, math.prod(grid)
    layout: Layout = (ChannelsFirst(), ChannelsLast(), Tokens(grid, prefix))[kind]
    features = torch.randn(((b, c, *grid), (b, *grid, c), (b, prefix + p, c))[kind])
    singles = layout.single(features)
    assert singles is not None
    assert len(singles) == b * p
    small: Layout = Tokens((1,) * len(grid), prefix) if kind == 2 else layout
    assert torch.equal(small.vectors(singles).reshape(b, p, c), layout.vectors(features))


def test_tokens_that_do_not_fit_are_a_layout_error() -> None:
    with pytest.raises(LayoutError, match="does not hold tokens 3x3"):
        Tokens((3, 3), 1).grid(torch.zeros(1, 9, 4))


def test_layouts_that_need_no_numbers_are_registered_under_their_names() -> None:
    assert dict(LAYOUTS) == {"channels-first": ChannelsFirst(), "channels-last": ChannelsLast()}
    assert all(layout.name == name for name, layout in LAYOUTS.items())
