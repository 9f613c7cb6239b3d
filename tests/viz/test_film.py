"""Frames with contours."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from l2caf.viz.film import LEVELS, _eroded, contoured, even


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_erosion_is_that_of_scipy_at_the_edges_too(steps: int) -> None:
    region = np.random.default_rng(steps).random((40, 30)) < 0.93
    assert np.array_equal(_eroded(region, steps), ndimage.binary_erosion(region, iterations=steps))


def test_lines_lie_just_inside_of_half_and_three_quarters_of_the_maximum() -> None:
    heat = np.clip(np.linspace(-0.2, 1.2, 60), 0, 1)[None].repeat(50, axis=0)
    drawn = contoured(np.full((50, 60, 3), 128, dtype=np.uint8), heat)
    for level, colour in LEVELS:
        first = int((heat[0] >= level).argmax())
        columns = np.flatnonzero((drawn[25] == colour).all(-1))  # the middle row: away from the upper and lower edge
        assert first in columns
        assert first - 1 not in columns


@pytest.mark.parametrize(("size", "longest", "shown"), [((101, 51), 1000, (100, 52)), ((1000, 10), 100, (100, 2))])
def test_both_sides_of_a_frame_are_even(size: tuple[int, int], longest: int, shown: tuple[int, int]) -> None:
    assert even(Image.new("RGB", size), longest).size == shown
