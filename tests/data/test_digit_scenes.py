"""Scenes: splits, classes, colours."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from l2caf.data.digit_drawing import render
from l2caf.data.digit_scenes import BACKGROUNDS, CONTRAST, DigitScenes, samples
from l2caf.errors import DataError


def test_a_scene_depends_on_seed_and_index_alone_also_in_another_process() -> None:
    image = DigitScenes("test", seed=3)[17].image
    again = DigitScenes("test", seed=3, length=18)
    assert np.array_equal(again[17].image, image)
    code = (
        "from l2caf.data.digit_scenes import DigitScenes\n"
        "print(DigitScenes('test', seed=3)[17].image.astype(int).sum())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert int(output) == int(image.astype(int).sum())
    assert not np.array_equal(DigitScenes("test", seed=4)[17].image, image)


def test_splits_share_neither_handwriting_nor_backgrounds() -> None:
    splits = list(BACKGROUNDS)
    for i, one in enumerate(splits):
        for other in splits[:i]:
            assert not set(BACKGROUNDS[one]) & set(BACKGROUNDS[other])
            for digit in range(10):
                assert not set(samples(one)[digit].tolist()) & set(samples(other)[digit].tolist())  # type: ignore[arg-type]


@pytest.mark.parametrize("objects", [1, 2, 3, (1, 3)])
def test_subsets_have_as_many_digits_as_asked_for_and_boxes_hardly_overlap(objects: int | tuple[int, int]) -> None:
    low, high = (objects, objects) if isinstance(objects, int) else objects
    for index in range(30):
        sample = DigitScenes("train", objects=objects)[index]
        assert low <= len(sample.classes) <= high
        assert len(set(sample.classes.tolist())) == len(sample.classes)
        assert sample.boxes.shape == (len(sample.classes), 4)


def test_class_splits_number_their_classes_from_zero() -> None:
    scenes = DigitScenes("train", classes=range(5, 10), objects=1)
    digits = {scenes.scene(i).placements[0].digit for i in range(40)}
    assert digits == {5, 6, 7, 8, 9}
    assert {int(scenes[i].classes[0]) for i in range(40)} == set(range(5))


def test_digits_stand_out_from_what_is_behind_them() -> None:
    scenes = DigitScenes("test", objects=1)
    distances = []
    for index in range(40):
        scene = scenes.scene(index)
        ground, _ = render(replace(scene, placements=()))
        x0, y0, x1, y1 = scenes[index].boxes[0]
        behind = ground[y0:y1, x0:x1].reshape(-1, 3).mean(0)
        distances.append(np.linalg.norm(np.array(scene.placements[0].colour) - behind))
    assert np.quantile(distances, 0.05) > 0.8 * CONTRAST


def test_options_out_of_range_are_refused() -> None:
    for options in ({"objects": 4}, {"objects": (2, 1)}, {"length": 0}, {"classes": [11]}):
        with pytest.raises(DataError, match="expected"):
            DigitScenes("train", **options)  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        DigitScenes("train", length=3)[3]
