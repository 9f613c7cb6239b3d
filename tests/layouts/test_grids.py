import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l2caf.errors import LayoutError
from l2caf.layouts import LAYOUTS, Axes, ChannelsFirst, ChannelsLast, Layout, Tokens

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


@given(st.permutations([1, 2, 3]), st.integers(0, 1000))
def test_axes_in_any_order_are_channels_first_after_a_permutation(axes: list[int], seed: int) -> None:
    height, width, channels = axes
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    layout, plain = Axes((height, width), channels), features.permute(0, channels, height, width)
    filters = torch.randn(2, plain[0, 0].numel())
    assert layout.grid(features) == tuple(plain.shape[2:])
    assert torch.equal(layout.vectors(features), ChannelsFirst().vectors(plain))
    filtered = layout.apply(features, filters).permute(0, channels, height, width)
    assert torch.equal(filtered, ChannelsFirst().apply(plain, filters))
    with pytest.raises(LayoutError, match="does not have channels on axis"):
        layout.grid(features[0])


@given(st.permutations([0, 1, 2]), st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_tokens_in_any_order_are_a_permuted_grid_between_others(
    order: list[int],
    prefix: int,
    suffix: int,
    first: bool,  # noqa: FBT001
) -> None:
    sizes = (2, 3, 4)
    plain = torch.randn(2, *sizes, 5)
    row = plain.permute(0, *(axis + 1 for axis in order), 4).flatten(1, 3)
    features = torch.cat([torch.ones(2, prefix, 5), row, torch.ones(2, suffix, 5)], dim=1)
    layout = Tokens(sizes, prefix, suffix, tuple(order), is_channels_first=first)
    features = features.transpose(1, 2) if first else features
    assert torch.equal(layout.vectors(features), plain.flatten(1, 3))
    filters = torch.randn(2, 24)
    filtered = layout.apply(features, filters)
    assert torch.equal(layout.vectors(filtered), plain.flatten(1, 3) * filters[..., None])
    tokens = filtered.transpose(1, 2) if first else filtered
    assert bool((tokens[:, :prefix] == 1).all())
    assert bool((tokens[:, prefix + 24 :] == 1).all())


def test_tokens_that_do_not_fit_are_a_layout_error() -> None:
    with pytest.raises(LayoutError, match="does not hold tokens 3x3"):
        Tokens((3, 3), 1).grid(torch.zeros(1, 9, 4))


def test_layouts_that_need_no_numbers_are_registered_under_their_names() -> None:
    assert dict(LAYOUTS) == {"channels-first": ChannelsFirst(), "channels-last": ChannelsLast()}
    assert all(layout.name == name for name, layout in LAYOUTS.items())
