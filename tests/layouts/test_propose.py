"""Layouts that shapes propose, and what a user says about space."""

import pytest
import torch

from l2caf.layouts import (
    ChannelsFirst,
    ChannelsLast,
    Frames,
    Proposal,
    Row,
    Tokens,
    given_proposals,
    likeliest_layout,
    proposals,
    spaces,
)
from l2caf.layouts.propose import grids_in

CLIP = spaces(0, torch.Size((1, 3, 3, 64, 64)), is_volume=False)


@pytest.mark.parametrize(
    ("shape", "size", "name"),
    [
        ((1, 512, 7, 7), (224, 224), "channels-first"),
        ((1, 512, 5, 9), (160, 288), "channels-first"),
        ((1, 7, 7, 768), (224, 224), "channels-last"),
        ((1, 196, 768), (224, 224), "tokens 14x14, 0 prefix"),
        ((1, 198, 768), (224, 224), "tokens 14x14, 2 prefix"),
        ((1, 261, 768), (224, 224), "tokens 16x16, 5 prefix"),
        ((1, 1 + 8 * 16, 768), (128, 256), "tokens 8x16, 1 prefix"),
        ((1, 64, 4, 7, 7), (16, 112, 112), "channels-first"),
        ((1, 64, 25), (100,), "channels-first"),
    ],
)
def test_layouts_of_known_networks_are_the_likeliest(shape: tuple[int, ...], size: tuple[int, ...], name: str) -> None:
    layout = likeliest_layout(shape, size)
    assert layout is not None
    assert layout.name == name


@pytest.mark.parametrize("shape", [(1, 1000), (1, 512, 1, 1), (1, 3, 500, 500), (1,)])
def test_shapes_without_a_grid_have_no_layout(shape: tuple[int, ...]) -> None:
    assert likeliest_layout(shape, (224, 224)) is None


def test_a_map_of_four_axes_may_have_them_in_any_order_and_a_row_any_grid() -> None:
    picture = spaces(0, torch.Size((1, 3, 64, 64)))
    names = [one.layout.name for one in proposals((1, 8, 8, 8), picture) if isinstance(one, Proposal)]
    assert names[:2] == ["channels-first", "channels-last"]
    assert "channels on axis 2, space on axes 1, 3" in names
    rows = list(proposals((1, 20, 32), picture))
    assert [(one.count, one.channels) for one in rows if isinstance(one, Row)] == [(20, 2), (32, 1)]
    assert [list(proposals(shape, picture)) for shape in ((7,), (), (4, 9))] == [[], [], []]
    assert list(grids_in(20, (64, 64))) == [(4, 4), (3, 3), (2, 2)]


def test_what_the_user_said_of_one_frame_holds_for_all_frames_of_a_clip() -> None:
    folded, on_an_axis, one = torch.zeros(3, 8, 8, 5), torch.zeros(1, 3, 8, 8, 5), torch.zeros(1, 8, 8, 5)
    for features, expected in (
        (folded, Frames(ChannelsLast(), 3, "input")),
        (on_an_axis, Frames(ChannelsLast(), 3, "axis")),
        (one, ChannelsLast()),
    ):
        found = given_proposals(ChannelsLast(), features, CLIP)
        assert {proposal.layout for proposal in found} == {expected}
        assert {len(proposal.space.axes) for proposal in found} == {len(expected.grid(features))}
    whole = Frames(ChannelsFirst(), 3, "frame")
    assert given_proposals(whole, torch.zeros(3, 5, 8, 8), CLIP)[0].layout is whole
    assert given_proposals(Tokens((2, 2)), torch.zeros(1, 5, 8, 8), CLIP) == []
