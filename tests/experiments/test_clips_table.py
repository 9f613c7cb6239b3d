"""The table of video attention and Figure 9, of a network that has hardly learnt."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l2caf.experiments.clips_table import clips_markdown, judged, table
from l2caf.experiments.figure9 import figure9
from l2caf.recipes.clips import WEIGHTS, ClipRecipe, default_options
from l2caf.recipes.recipe import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "seed0"
    options = replace(default_options(0), steps=2, save_every=1)
    train(ClipRecipe({"train": 64, "validation": 16, "test": 16}), options, folder)
    return folder


@pytest.mark.slow
def test_the_table_has_a_row_per_method_and_the_figure_a_row_per_event(run: Path, tmp_path: Path) -> None:
    found = json.loads(json.dumps(table([run], 16)))
    assert 0 < found["chance"] < 0.3
    text = clips_markdown(found)
    assert len(found["runs"][0]) == 10  # its name, two figures of retrieval, seven methods
    for name in ("Grad-CAM-abs", "L2-CAF, joint", "L2-CAF, what it lets through", "magnitude of the features alone"):
        assert f"| {name} |" in text
        assert all(0 <= value <= 1 for value in found["runs"][0][name])
    lines = figure9(tmp_path / "figure9.png", weights=run / WEIGHTS)
    assert len(lines) == 8
    assert all(loss <= uniform for _, loss, uniform in lines)
    with Image.open(tmp_path / "figure9.png") as drawn:
        assert drawn.size == (4 * 224 + 3 * 8, 24 + 8 * 224 + 7 * 8)


def test_a_frame_is_judged_by_where_its_map_is_highest_and_by_the_box_around_it() -> None:
    heat = np.zeros((20, 20))
    heat[4:8, 4:8] = 1
    truth, others = np.array([[4, 4, 8, 8]]), np.array([[12, 12, 16, 16]])
    hit, stray, *fits = judged(heat, truth, others)
    assert (hit, stray, set(fits)) == (1, 0, {1.0})
    assert judged(heat, others, truth)[:2] == [0, 1]
    assert judged(np.zeros((20, 20)), truth, others) == [0] * len([hit, stray, *fits])
