"""The recipe of the Figure 8 network, very small."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from l2caf import L2CAF, QuasiNewton
from l2caf.data.digit_clips import DigitClips
from l2caf.recipes.clips import WEIGHTS, ClipRecipe, as_inputs, default_options, features_of, trained
from l2caf.recipes.recipe import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "seed0"
    options = replace(default_options(0), steps=2, save_every=1)
    train(ClipRecipe({"train": 64, "validation": 16, "test": 16}), options, folder)
    return folder


def test_a_run_leaves_its_best_weights_in_half_precision(run: Path) -> None:
    best, published = load_file(run / "best.safetensors"), load_file(run / WEIGHTS)
    assert published.keys() == best.keys()
    assert all(torch.equal(published[name], tensor.half()) for name, tensor in best.items())
    assert "trunk" not in {name.split(".")[0] for name in published}


def test_frames_are_scaled_as_the_digit_classifier_was_trained() -> None:
    frames = np.zeros((2, 4, 5, 3), np.uint8)
    frames[1, 0, 0, 2] = 255
    inputs = as_inputs(frames)
    assert inputs.shape == (2, 3, 4, 5)
    assert inputs[0].unique().tolist() == [-2]
    assert inputs[1, 2, 0, 0] == 2


def test_features_and_frames_go_through_the_same_network(run: Path) -> None:
    clip, features = DigitClips("test", length=16)[0], features_of("test", 16)
    on_frames, on_features = trained(run / WEIGHTS), trained(run / WEIGHTS, frames=False)
    with torch.no_grad():
        embedding = on_frames(as_inputs(clip.frames)[None])
        assert torch.allclose(embedding, on_features(features.maps[:1].float()), atol=1e-2)
    quick = QuasiNewton(max_iterations=3, seeds=0)
    attention = L2CAF(on_frames, "shallow", solver=quick)(as_inputs(clip.frames)[None])
    assert attention.question.runs == (0, 1, 2, 3)
    assert attention.grid == (14, 14)
