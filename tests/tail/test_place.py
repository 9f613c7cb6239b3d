import torch
from torch import nn

from l2caf.layouts import ChannelsFirst, Frames, Layout
from l2caf.tail import LayerCalls, Slots
from l2caf.tail.place import Place, filtered_elements
from l2caf.tail.script import RowAxis

ONE, FRAMES = ChannelsFirst(), Frames(ChannelsFirst(), 3, "input")


def slots(
    layout: Layout, calls: tuple[int, ...] = (0,), frames: tuple[int, ...] | None = None, **options: bool
) -> Slots:
    return Slots(LayerCalls(nn.Identity(), calls, frames=frames, **options), layout)


def test_a_slot_is_a_run_and_a_frame_and_has_the_number_of_the_one_that_varies() -> None:
    assert slots(ONE).chosen == ((0, 0),)
    assert slots(ONE).numbers is None
    assert slots(ONE, (1, 4)).chosen == ((0, 0), (1, 0))
    assert slots(ONE, (1, 4)).numbers == (1, 4)
    assert slots(FRAMES).numbers == (0, 1, 2)
    assert slots(FRAMES, frames=(0, 2)).chosen == ((0, 0), (0, 2))
    assert slots(FRAMES, frames=(2,)).numbers is None
    assert slots(FRAMES, joint=True).numbers is None
    assert [s.per_input for s in (slots(ONE), slots(ONE, (1, 4)), slots(FRAMES), slots(FRAMES, joint=True))] == [
        1,
        2,
        3,
        1,
    ]


def test_features_are_the_maps_of_the_slots_slots_minor_or_on_an_axis_where_they_share_a_filter() -> None:
    clip = torch.randn(2, 3, 4, 5, 5)  # two inputs of three frames
    folded = clip.flatten(0, 1)
    assert torch.equal(slots(FRAMES, frames=(0, 2)).features((folded,)), clip[:, [0, 2]].flatten(0, 1))
    joint = slots(FRAMES, joint=True)
    assert torch.equal(joint.features((folded,)), clip)
    assert joint.tail_layout == Frames(ONE, 3, "axis")
    assert slots(FRAMES).tail_layout == ONE
    runs = tuple(clip.unbind(1))
    assert torch.equal(slots(ONE, (0, 1, 2)).features(runs), folded)
    assert slots(ONE).features(runs[:1]) is runs[0]
    assert slots(FRAMES).n_inputs((folded,)) == 2


def test_a_clip_of_one_frame_keeps_its_axis_of_time_under_a_joint_filter() -> None:
    single = Slots(LayerCalls(nn.Identity(), joint=True), Frames(ONE, 1, "axis"))
    assert not single.is_single
    assert single.tail_layout.grid(single.features((torch.randn(2, 1, 4, 5, 5),))) == (1, 5, 5)


def test_rows_of_a_tensor_follow_their_inputs_and_entries_of_an_input_stay_together() -> None:
    maps, rows = torch.randn(2, 4, 5, 5), torch.tensor([1, 1, 0])
    place = Place(slots(ONE), (maps,), maps[rows], rows)
    windows = torch.arange(6)  # three for each input
    assert place.of(windows).tolist() == [3, 4, 5, 3, 4, 5, 0, 1, 2]
    assert place.of(torch.arange(5)).tolist() == list(range(5))  # 5 rows are no rows of 2 inputs: shared by all
    assert place.shape_of(torch.Size((6, 7)), torch.half).shape == (9, 7)
    everything = Place(slots(ONE), (maps,), maps, torch.arange(2))
    assert everything.of(windows) is windows
    assert everything.of(windows, copy=True) is not windows


def test_rows_that_lie_frame_by_frame_are_taken_frame_by_frame() -> None:
    layout = Frames(ONE, 3, "frame")
    maps = torch.randn(6, 4, 5, 5)
    rows = torch.tensor([3, 0])  # the first slot of the second input, and of the first
    place = Place(slots(layout), (maps,), torch.zeros(2, 4, 5, 5), rows)
    assert place.of(torch.arange(6), (RowAxis(0, is_minor=True),)).tolist() == [1, 0, 3, 2, 5, 4]
    assert torch.equal(place.at(0, None)[::2][1:], maps[1::2][1:])  # the frames that are left as they are


def test_rows_are_taken_on_every_axis_that_holds_inputs_and_on_no_other() -> None:
    maps, rows = torch.randn(2, 4, 5, 5), torch.tensor([1, 1, 0])
    place = Place(slots(ONE), (maps,), maps[rows], rows)
    table = torch.arange(8).view(2, 2, 2)
    assert place.of(table, ()) is table
    assert torch.equal(place.of(table, (RowAxis(1),)), table[:, rows])
    assert torch.equal(place.of(table, (RowAxis(0), RowAxis(2))), table[rows][..., rows])
    for axes in ((), (RowAxis(1),), (RowAxis(0), RowAxis(2))):
        assert place.shape_of(table.shape, torch.half, axes).shape == place.of(table, axes).shape


def test_the_layer_returns_the_filtered_map_in_its_slot_and_its_own_in_the_others() -> None:
    clip = torch.randn(2, 3, 4, 5, 5)
    filtered = torch.randn(1, 4, 5, 5)
    place = Place(slots(FRAMES), (clip.flatten(0, 1),), filtered, torch.tensor([4]))  # input 1, frame 1
    expected = clip[1].clone()
    expected[1] = filtered[0]
    assert torch.equal(place.at(0, None), expected)


def test_memory_is_counted_over_all_frames_that_one_row_sends_through_the_network() -> None:
    features = torch.zeros(6, 4, 5, 5)
    assert filtered_elements(slots(ONE), features) == 100
    assert filtered_elements(slots(FRAMES), features) == 300
    assert filtered_elements(slots(FRAMES, joint=True), torch.zeros(2, 3, 4, 5, 5)) == 300
