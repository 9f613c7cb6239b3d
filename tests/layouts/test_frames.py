import pytest
import torch

from l2caf.errors import LayoutError
from l2caf.layouts import ChannelsFirst, FrameOrder, Frames


@pytest.mark.parametrize("order", ["axis", "input", "frame"])
def test_split_and_join_are_inverse_and_a_filter_acts_frame_by_frame(order: FrameOrder) -> None:
    maps, filters = torch.randn(2, 3, 4, 5, 5), torch.randn(2, 3, 25)
    layout = Frames(ChannelsFirst(), 3, order)
    raw = layout.join(maps)
    assert torch.equal(layout.split(raw), maps)
    assert layout.grid(raw) == (3, 5, 5)
    expected = maps * filters.view(2, 3, 1, 5, 5)
    assert torch.allclose(layout.split(layout.apply(raw, filters.flatten(1))), expected)
    assert torch.equal(layout.vectors(raw), maps.flatten(3).transpose(2, 3).flatten(1, 2))
    singles = layout.single(raw)
    assert singles is not None
    assert singles.shape == (2 * 75, 4, 1, 1)


@pytest.mark.parametrize(
    ("order", "rows", "is_frame_major"), [("axis", 1, False), ("input", 3, False), ("frame", 3, True)]
)
def test_frames_say_how_the_batch_holds_them(order: FrameOrder, rows: int, is_frame_major: bool) -> None:  # noqa: FBT001
    layout = Frames(ChannelsFirst(), 3, order)
    assert (layout.n_frames, layout.frame, layout.has_frames) == (3, ChannelsFirst(), True)
    assert (layout.rows_per_input, layout.is_frame_major) == (rows, is_frame_major)
    assert layout.in_order("frame") == Frames(ChannelsFirst(), 3, "frame")


@pytest.mark.parametrize(
    ("order", "shape", "wanted"),
    [("axis", (2, 4, 5, 7, 7), r"\(b, 3, ...\)"), ("input", (4, 5, 7, 7), r"\(3 b, ...\)")],
)
def test_a_map_of_another_number_of_frames_is_a_layout_error(
    order: FrameOrder, shape: tuple[int, ...], wanted: str
) -> None:
    with pytest.raises(LayoutError, match=wanted):
        Frames(ChannelsFirst(), 3, order).grid(torch.zeros(shape))
