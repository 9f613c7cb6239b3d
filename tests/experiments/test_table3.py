"""Table 3, made of small networks that are trained on CUB's layout and on digits."""

import json
from pathlib import Path

import pytest
import torch
from tests.support.data_sets import inside, lines, noise

from l2caf.errors import DataError, TrainingError
from l2caf.experiments import table3, tables
from l2caf.models import load
from l2caf.models.retrieval import Embedder
from l2caf.training import Options

OPTIONS = Options(steps=3, learning_rate=1e-3, optimiser="adamw", save_every=2, log_every=1)


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Four birds, of which two train, six pictures of each."""
    root = tmp_path / "cub"
    files = [(f"00{bird}.Bird{bird}/{n}.jpg", bird) for bird in (1, 2, 3, 4) for n in range(6)]
    for number, (file, _) in enumerate(files):
        noise(root / "images" / file, number)
    numbered = list(enumerate(files, start=1))
    lines(root / "images.txt", [f"{key} {file}" for key, (file, _) in numbered])
    lines(root / "image_class_labels.txt", [f"{key} {bird}" for key, (_, bird) in numbered])
    lines(root / "train_test_split.txt", [f"{key} 0" for key, _ in numbered])
    lines(root / "bounding_boxes.txt", [f"{key} 5 5 30 25" for key, _ in numbered])
    lines(root / "classes.txt", [f"{bird} 00{bird}.Bird{bird}" for bird in (1, 2, 3, 4)])
    return root


def test_a_network_trained_on_cub_is_taken_up_loaded_and_judged_by_other_birds(
    cub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights" / "digits-npair"
    arguments = [
        "train", "retrieval", "--data", f"cub:{cub}", "--arch", "digits", "--loss", "npair", "-o", out, "--steps", 3,
        "--batch-size", 8, "--size", 32, "--dimensions", 6,
    ]  # fmt: skip
    assert not inside(*arguments)
    assert "Recall@1" in capsys.readouterr().out
    with pytest.raises(TrainingError, match="holds a run; take it up with --resume"):
        inside(*arguments)
    assert not inside(*arguments, "--resume")
    loaded = load("retrieval/digits", weights=out / "weights.safetensors")
    assert isinstance(loaded.model, Embedder)
    assert loaded.card.trained_on == ("001.Bird1", "002.Bird2")
    assert loaded.model(torch.zeros(1, 3, 32, 32)).shape == (1, 6)
    plan = tables.TablePlan(out.parent, ("digits",), ("npair",))
    rows = table3.TABLE3.make(f"cub:{cub}", tmp_path / "table", plan)
    assert [(row.method, row.protocol) for row in rows[:2]] == [
        ("gradcam-sum", "cam-code"),
        ("gradcam-sum", "cam-paper"),
    ]
    assert all(row.loc.mean <= min(row.recall.mean, row.gt_known.mean) for row in rows)
    assert not (tmp_path / "table" / "training").exists()
    evaluated = [
        "evaluate", "--data", f"cub:{cub}", "-m", "retrieval/digits", "--weights", out / "weights.safetensors",
        "--predictions", "none", "--protocols", "adl", "--workers", 0, "-o", tmp_path / "judged", "--methods",
    ]  # fmt: skip
    with pytest.raises(DataError, match="methods gradcam explain a class"):
        inside(*evaluated, "gradcam")
    assert not inside(*evaluated, "gradcam-sum,l2caf")
    assert "nearest neighbour of the same class" in capsys.readouterr().out
    card = json.loads((out / "weights.json").read_text(encoding="utf-8"))
    card["trained_on"] = ["003.Bird3"]
    (out / "weights.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(DataError, match="the wrong half of the split"):
        table3.TABLE3.make(f"cub:{cub}", tmp_path / "again", plan)


def test_the_table_of_digits_is_trained_and_made_offline_and_taken_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table3, "DIGIT_OPTIONS", OPTIONS)
    monkeypatch.setattr(tables, "DIGIT_SCENES", 20)
    monkeypatch.setattr(table3, "DIGIT_DATA", "digits:40")
    arguments = ["reproduce", "table3", "--data", "digits", "--losses", "triplet", "--seeds", "0", "-o", tmp_path]
    assert not inside(*arguments)
    table = (tmp_path / "table3.md").read_text(encoding="utf-8")
    assert table in capsys.readouterr().out
    assert table.count("| l2caf |") == 2
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("maps/*/maps/*.npz")}
    assert len(before) == 2
    assert not inside(*arguments)
    assert before == {file: file.stat().st_mtime_ns for file in before}


@pytest.mark.parametrize("data", ["digits:20", "cub", "sop:somewhere"])
def test_data_that_the_table_is_not_made_of_are_refused_before_anything_is_trained(data: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected cub:ROOT, cars:ROOT, or digits"):
        table3.TABLE3.make(data, tmp_path / "table")
    assert not (tmp_path / "table").exists()


def test_the_24_figures_of_the_paper_stand_beside_ours() -> None:
    figures = [value for locs, _, _ in table3.PAPER.values() for value in locs]
    assert len(figures) == 24
    gains = [locs[2] - locs[0] for locs, _, _ in table3.PAPER.values()]
    assert (min(gains), max(gains)) == (pytest.approx(9.00), pytest.approx(36.56))


def test_a_loss_that_the_table_does_not_know_is_named() -> None:
    plan = tables.TablePlan(losses=("tripled",), seeds=(0,))
    with pytest.raises(DataError, match="unknown loss 'tripled'; did you mean 'triplet'"):
        list(table3.TABLE3.entries("digits", plan))
