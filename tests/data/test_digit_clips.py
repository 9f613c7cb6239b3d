import numpy as np
import pytest

from l2caf.data.digit_clips import ACTORS, CLASSES, EVENTS, DigitClips
from l2caf.errors import DataError


def actor_path(clips: DigitClips, index: int) -> np.ndarray:
    scenes, _ = clips.scenes(index)
    return np.array([scene.placements[-1].centre for scene in scenes])


@pytest.mark.parametrize("index", range(16))
def test_the_actor_does_what_its_class_says(index: int) -> None:
    clips = DigitClips("test", length=16, frames=5)
    scenes, n_actors = clips.scenes(index)
    event, path = EVENTS[index % 8 // 2], actor_path(clips, index)
    steps = np.diff(path, axis=0)
    assert CLASSES[clips[index].label] == f"{scenes[0].placements[-1].digit} {event}"
    assert scenes[0].placements[-1].digit == ACTORS[index % 2]
    if event == "turns left":  # y points down, so a turn to the left has a negative cross product
        assert steps[0][0] * steps[-1][1] - steps[0][1] * steps[-1][0] < -1
    elif event == "stops":
        assert np.linalg.norm(steps[0]) > 10
        assert np.allclose(steps[-1], 0)
    elif event == "changes":
        assert np.allclose(steps, 0)
        assert scenes[0].placements[-1].colour != scenes[-1].placements[-1].colour
    else:
        other = np.array([scene.placements[-2].centre for scene in scenes])
        assert n_actors == 2
        assert abs(float(steps[0] @ (other[1] - other[0]))) < 1e-6  # at right angles


def test_boxes_part_the_evidence_from_the_distractors_in_every_frame() -> None:
    clip = DigitClips("train", length=8)[4]
    assert clip.frames.shape == (4, 112, 112, 3)
    assert [boxes.shape for boxes in clip.boxes] == [(2, 4)] * 4
    assert [boxes.shape for boxes in clip.distractors] == [(1, 4)] * 4
    for index in range(8):
        for boxes in DigitClips("train", length=8)[index].boxes:
            assert ((boxes[:, 2:] - boxes[:, :2]) > 8).all()


def test_a_clip_depends_on_seed_and_index_alone() -> None:
    one, other = DigitClips("test", length=8)[5], DigitClips("test", length=8)[5]
    assert np.array_equal(one.frames, other.frames)
    assert not np.array_equal(one.frames, DigitClips("test", length=8, seed=1)[5].frames)
    with pytest.raises(IndexError):
        DigitClips("test", length=8)[8]
    with pytest.raises(DataError, match="two frames or more"):
        DigitClips("test", frames=1)
