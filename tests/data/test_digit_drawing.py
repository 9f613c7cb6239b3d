"""How scenes are drawn, and where their ink is."""

from dataclasses import replace

import numpy as np

from l2caf.data.digit_drawing import INK, ground, photograph, render
from l2caf.data.digit_scenes import DigitScenes


def test_boxes_hold_the_ink_and_nothing_but_its_fringe_lies_outside() -> None:
    scenes = DigitScenes("test", objects=1)
    for index in range(40):
        scene = scenes.scene(index)
        black = replace(scene, placements=(replace(scene.placements[0], colour=(0, 0, 0)),))
        white = replace(scene, placements=(replace(scene.placements[0], colour=(255, 255, 255)),))
        (low, boxes), (high, _) = render(black), render(white)
        ink = (high.astype(int) - low.astype(int)).mean(-1) / 255  # the background cancels
        x0, y0, x1, y1 = boxes[0]
        inside = ink[y0:y1, x0:x1]
        assert inside.max() > 0.9
        assert ink.sum() - inside.sum() < 0.03 * ink.sum()
        touched = inside >= INK - 0.01
        assert touched.any(axis=0)[[0, -1]].all()
        assert touched.any(axis=1)[[0, -1]].all()


def test_a_moving_digit_is_elsewhere_later() -> None:
    scene = DigitScenes("train", objects=1).scene(0)
    moving = replace(scene, placements=(replace(scene.placements[0], centre=(40.0, 50.0), velocity=(4.0, -2.0)),))
    (_, before), (_, after) = render(moving, 0.0), render(moving, 5.0)
    assert np.abs((after - before)[0] - np.array([20, -10, 20, -10])).max() <= 1


def test_a_mirrored_ground_is_the_other_way_round_and_every_photograph_has_room_for_crops() -> None:
    crop = (10, 20, 150)
    assert np.array_equal(
        ground("coffee.png", crop, mirrored=True), ground("coffee.png", crop, mirrored=False)[:, ::-1]
    )
    assert min(photograph("cell.png").shape[:2]) >= 256
