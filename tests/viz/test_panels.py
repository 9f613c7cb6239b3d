"""Maps on the part of the picture that the network was shown."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from l2caf import L2CAF
from l2caf.viz.panels import LONGEST_PX, Framing, panel, shown


def test_a_large_picture_shrinks_with_its_region_and_a_small_one_is_left() -> None:
    large = Image.new("RGB", (4 * LONGEST_PX, 2 * LONGEST_PX))
    small, region = shown(large, (0.0, 40.0, 400.0, 80.0))
    assert (small.size, large.width) == ((LONGEST_PX, LONGEST_PX // 2), 4 * LONGEST_PX)
    assert region == (0, 10, 100, 20)
    assert shown(Image.new("RGB", (30, 20)), (1.0, 2.0, 3.0, 4.0))[1] == (1, 2, 3, 4)


def test_a_panel_has_the_figures_of_its_map_and_no_heat_outside_of_the_region() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    ).eval()
    attention = L2CAF(network, layer="1")(torch.rand(2, 3, 17, 17), target=torch.tensor([[0, 3], [1, 2]]))
    made = panel(attention, (1, 1), "a class", Framing((60, 40), (20.0, 0.0, 60.0, 40.0), 0.5))
    assert made.loss == float(attention.loss[1, 1])
    assert made.certificate == attention.certificate[1][1].label
    assert not made.relative
    width = made.heatmap.shape[1]
    assert not made.heatmap[:, : int(width * 0.3)].any()
    assert np.nanmax(made.heatmap) == 1
