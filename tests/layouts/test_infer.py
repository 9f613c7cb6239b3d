"""Layouts found from shapes, or from what a user says."""

import pytest
import torch
from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts import ChannelsFirst, ChannelsLast, Frames, Layout, LayoutFinder, Tokens, given_layout, infer_layout


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


def test_a_finder_goes_by_shapes_unless_the_user_said_where_space_is() -> None:
    features = torch.zeros(1, 8, 8, 5)
    assert LayoutFinder((64, 64))(features) == ChannelsLast()
    assert LayoutFinder((64, 64), given=given_layout("channels-first"))(features) == ChannelsFirst()
    assert LayoutFinder((64, 64), given=given_layout(lambda _: None))(features) is None


def test_a_finder_for_clips_takes_what_the_user_said_for_the_layout_of_one_frame() -> None:
    clip = (3, 3, 64, 64)
    folded, on_an_axis, one = torch.zeros(3, 5, 8, 8), torch.zeros(1, 3, 5, 8, 8), torch.zeros(1, 5, 8, 8)
    for given, frame in ((None, ChannelsFirst()), (given_layout("channels-last"), ChannelsLast())):
        finder = LayoutFinder(clip[1:], clip, given)
        assert finder(folded) == Frames(frame, 3, "input")
        assert finder(on_an_axis) == Frames(frame, 3, "axis")
        assert finder(one) == frame  # a frame fed alone
    whole = Frames(ChannelsFirst(), 3, "frame")
    assert LayoutFinder(clip[1:], clip, given_layout(whole))(folded) is whole


@pytest.mark.parametrize("choice", [Tokens((2, 2)), ChannelsLast()])
def test_a_layout_may_be_given_itself_by_name_or_by_a_function(choice: Layout) -> None:
    def says(_: Tensor) -> Layout:
        return choice

    for given in (given_layout(choice), given_layout(says)):
        assert given is not None
        assert given(torch.zeros(1, 4, 3)) == choice
    assert given_layout("auto") is None


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("hwc", "unknown layout 'hwc'.*channels-first, channels-last.*Tokens"),
        ("channel-first", "did you mean 'channels-first'"),
        (ChannelsFirst, "expected 'auto', a name, a layout such as Tokens"),
    ],
)
def test_a_choice_that_is_no_layout_is_refused_with_what_there_is(choice: object, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        given_layout(choice)  # type: ignore[arg-type]
