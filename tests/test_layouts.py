import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l2caf.errors import LayoutError
from l2caf.layouts import ChannelsFirst, ChannelsLast, Layout, Tokens, infer_layout, named_layout

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
    assert len(singles) == b * p
    small: Layout = Tokens((1,) * len(grid), prefix) if kind == 2 else layout
    assert torch.equal(small.vectors(singles).reshape(b, p, c), layout.vectors(features))


@pytest.mark.parametrize(
    ("shape", "size", "name"),
    [
        ((1, 512, 7, 7), (224, 224), "channels-first"),
        ((1, 512, 5, 9), (160, 288), "channels-first"),
        ((1, 7, 7, 768), (224, 224), "channels-last"),
        ((1, 196, 768), (224, 224), "tokens 14x14, 0 prefix"),
        ((1, 197, 768), (224, 224), "tokens 14x14, 1 prefix"),
        ((1, 198, 768), (224, 224), "tokens 14x14, 2 prefix"),
        ((1, 261, 768), (224, 224), "tokens 16x16, 5 prefix"),
        ((1, 1 + 8 * 16, 768), (128, 256), "tokens 8x16, 1 prefix"),
        ((1, 64, 4, 7, 7), (16, 112, 112), "channels-first"),
        ((1, 64, 25), (100,), "channels-first"),
    ],
)
def test_layouts_of_known_networks_are_found_from_shapes(
    shape: tuple[int, ...], size: tuple[int, ...], name: str
) -> None:
    layout = infer_layout(shape, size)
    assert layout is not None
    assert layout.name == name


@pytest.mark.parametrize("shape", [(1, 1000), (1, 512, 1, 1), (1, 3, 500, 500), (1,), (1, 768, 1)])
def test_shapes_without_a_grid_have_no_layout(shape: tuple[int, ...]) -> None:
    assert infer_layout(shape, (224, 224)) is None


def test_an_unknown_name_and_tokens_that_do_not_fit_are_layout_errors() -> None:
    assert named_layout("channels-last") == ChannelsLast()
    with pytest.raises(LayoutError, match="unknown layout 'hwc'"):
        named_layout("hwc")
    with pytest.raises(LayoutError, match="does not hold tokens 3x3"):
        Tokens((3, 3), 1).grid(torch.zeros(1, 9, 4))
