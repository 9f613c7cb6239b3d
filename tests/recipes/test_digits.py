"""The recipe of the embedded digit classifier, very short."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from l2caf.models.embedded import DigitNet, digits
from l2caf.recipes import digits as recipe
from l2caf.recipes.digits import DigitOptions, augmented, train


def test_a_run_depends_on_its_seed_alone_and_logs_validation_and_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "N_VALIDATION", 3)
    options = DigitOptions(steps=2, batch=4, workers=0, n_test=3)
    (first, log), (second, _) = train(options), train(options)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training
    assert [line["step"] for line in log] == [2, 2]
    assert {"loss", "seconds", "single_validation", "pair_validation", "peak_validation"} < log[0].keys()
    assert {"single_test", "pair_test", "peak_test"} < log[1].keys()


def test_the_command_writes_weights_in_half_precision_and_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "train", lambda options: (digits(), [{"step": options.steps}]))
    weights, log = tmp_path / "w.safetensors", tmp_path / "log.jsonl"
    monkeypatch.setattr(sys, "argv", ["digits", "--weights", str(weights), "--log", str(log), "--steps", "7"])
    recipe.main()
    state = load_file(weights)
    assert state.keys() == DigitNet().state_dict().keys()
    assert state["classifier.weight"].dtype == torch.float16
    head, line = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert (head["options"]["steps"], head["options"]["learning_rate"], line) == (7, 4e-3, {"step": 7})


def test_augmentation_shuffles_channels_and_without_jitter_moves_nothing() -> None:
    pictures = torch.rand(5, 3, 8, 8)
    changed = augmented(pictures, 0.0)
    assert torch.allclose(changed.sort(1).values, pictures.sort(1).values, atol=1e-5)
    assert not torch.allclose(changed, pictures, atol=1e-2)
    assert not torch.allclose(augmented(pictures, 0.3).sort(1).values, pictures.sort(1).values, atol=1e-2)
