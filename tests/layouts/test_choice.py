"""What a user says about where space is."""

import pytest
import torch
from torch import Tensor

from l2caf.errors import LayoutError
from l2caf.layouts import ChannelsFirst, ChannelsLast, Layout, Tokens, given_layout


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
