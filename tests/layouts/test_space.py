"""Which axes of an input may be space."""

import pytest
import torch

from l2caf.layouts import Space, spaces


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 3, 64, 48), [(2, 3)]),
        ((1, 64, 48, 3), [(1, 2)]),
        ((1, 12, 64, 48), [(2, 3)]),
        ((1, 8, 3, 64, 48), [(2, 3, 4), (1, 3, 4), (3, 4)]),
        ((1, 8, 64, 48, 3), [(1, 2, 3), (2, 3)]),
        ((1, 1, 100), [(2,)]),
        ((1, 64, 48), [(2,), (1, 2), (1,)]),
        ((1, 100), [(1,)]),
        ((1,), []),
        ((1, 3, 1, 1), []),
    ],
)
def test_any_axes_but_a_few_channels_may_be_space(shape: tuple[int, ...], axes: list[tuple[int, ...]]) -> None:
    found = spaces(0, torch.Size(shape))
    assert [space.axes for space in found] == axes
    assert all(space.sizes == tuple(shape[axis] for axis in space.axes) for space in found)


def test_a_picture_is_drawn_with_its_channels_in_front() -> None:
    last = torch.rand(2, 5, 7, 3)
    assert torch.equal(Space(0, (1, 2), (5, 7)).picture(last), last.movedim(3, 1))
    clip = torch.rand(2, 4, 3, 5, 7)
    assert Space(0, (1, 3, 4), (4, 5, 7)).picture(clip) is clip
