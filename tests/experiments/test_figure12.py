"""The timing of maps, on a network that takes no time."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from l2caf.experiments.figure12 import TimedSolve, Timing, costs, draw, time_layer


@pytest.fixture(scope="module")
def timing() -> Timing:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
    model = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    return time_layer("toy", model, torch.randn(1, 3, 8, 8), "0", vanilla=False)


def test_the_exact_map_is_no_worse_than_the_papers_descent(timing: Timing) -> None:
    assert (timing.layer, timing.grid, timing.objective, timing.certificate) == ("0", "4x4", "oblivious", "global")
    assert len(timing.descent) == 3
    assert timing.ours.loss <= min(one.loss for one in timing.descent) + 1e-6 <= timing.uniform_loss
    assert timing.loss_gap <= 1e-6
    assert timing.speed_up > 0


def test_what_was_not_timed_has_no_cost(timing: Timing) -> None:
    assert timing.vanilla_cost is None
    found = costs(timing)
    assert math.isnan(found["descent, vanilla"])
    assert found["l2caf"] == timing.ours.cost
    three = tuple(TimedSolve(cost, 0.0, 1) for cost in (1.0, 9.0, 2.0))
    assert costs(replace(timing, descent=three, vanilla_cost=7.0)) == {
        "descent, vanilla": 7.0, "descent, fast": 2.0, "l2caf": timing.ours.cost
    }  # fmt: skip


def test_bars_lie_where_there_are_many(timing: Timing, tmp_path: Path) -> None:
    sizes = []
    for n in (2, 8):
        draw([timing] * n, tmp_path / f"{n}.png")
        with Image.open(tmp_path / f"{n}.png") as drawn:
            sizes.append(drawn.size)
    (few_wide, _), (many_wide, many_high) = sizes
    assert few_wide < many_wide
    assert many_high > 600
