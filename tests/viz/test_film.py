import numpy as np
import pytest
from scipy import ndimage

from l2caf.viz.film import LEVELS, contoured


@pytest.mark.parametrize("height", [40, 320, 460])
def test_a_contour_is_what_a_region_loses_to_erosion(height: int) -> None:
    rng = np.random.default_rng(0)
    heat = ndimage.gaussian_filter(rng.random((height, 50)), 4)
    heat = (heat - heat.min()) / np.ptp(heat)
    grey = np.full((height, 50, 3), 128, np.uint8)
    drawn = contoured(grey, heat)
    for level, colour in LEVELS[-1:]:  # the last one drawn lies over the others
        inside = heat >= level
        line = inside & ~ndimage.binary_erosion(inside, iterations=max(1, height // 150))
        assert line.any()
        assert ((drawn == colour).all(-1) == line).all()
