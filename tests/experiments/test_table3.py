"""Embedding networks trained from the public layouts, and Table 3 made of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from l2caf.cli import app
from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError, TrainingError
from l2caf.experiments import table3, tables
from l2caf.models import load
from l2caf.models.retrieval import Embedder
from l2caf.recipes.retrieval import Request, parted, train_retrieval
from l2caf.training import Options
from l2caf.training.feed import Feed

OPTIONS = Options(steps=3, learning_rate=1e-3, optimiser="adamw", save_every=2, log_every=1)


def inside(*arguments: object) -> object:
    """The command line without a new process: the exit code."""
    return app(list(map(str, arguments)), standalone_mode=False)


def picture(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(file)


def lines(file: Path, rows: list[str]) -> None:
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Four birds, of which two train, six pictures of each."""
    root = tmp_path / "cub"
    files = [(f"00{bird}.Bird{bird}/{n}.jpg", bird) for bird in (1, 2, 3, 4) for n in range(6)]
    for number, (file, _) in enumerate(files):
        picture(root / "images" / file, number)
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
    plan = tables.Plan(out.parent, ("digits",))
    rows = table3.table3(f"cub:{cub}", tmp_path / "table", plan, losses=("npair",))
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
        table3.table3(f"cub:{cub}", tmp_path / "again", plan, losses=("npair",))


def test_the_table_of_digits_is_trained_and_made_offline_and_taken_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table3, "DIGIT_OPTIONS", OPTIONS)
    monkeypatch.setattr(table3, "DIGIT_SCENES", 20)
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
        table3.table3(data, tmp_path / "table")
    assert not (tmp_path / "table").exists()


def test_the_24_figures_of_the_paper_stand_beside_ours() -> None:
    figures = [value for locs, _, _ in table3.PAPER.values() for value in locs]
    assert len(figures) == 24
    gains = [locs[2] - locs[0] for locs, _, _ in table3.PAPER.values()]
    assert (min(gains), max(gains)) == (pytest.approx(9.00), pytest.approx(36.56))


def test_what_validates_is_not_learnt_from_and_single_pictures_are_left_out(tmp_path: Path) -> None:
    for label in range(4):
        for number in range(1 if label == 1 else 6):
            picture(tmp_path / f"{label}" / f"{number}.png", 10 * label + number)
    few = read_retrieval(f"folder:{tmp_path}", "train")
    assert few.lone == ("1",)
    with pytest.raises(DataError, match="1 training classes of two pictures"):
        parted(few)
    many = replace(few, pictures=tuple(replace(p, label=i // 2) for i, p in enumerate(few.pictures * 10)),
                   classes=tuple(map(str, range(35))))  # fmt: skip
    assert len({p.label for p in many.pictures}) == 35
    learnt, held_out = parted(replace(many, pictures=tuple(
        replace(p, file=tmp_path / str(i)) for i, p in enumerate(many.pictures))))  # fmt: skip
    assert {p.label for p in held_out} == {5, 15, 25}
    assert not {p.label for p in learnt} & {p.label for p in held_out}


def test_copies_and_single_pictures_are_named_and_not_learnt_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    for label in range(6):
        for number in range(1 if label == 1 else 6):
            picture(root / f"{label}" / f"{number}.png", 10 * label + number)
    shutil.copy(root / "0" / "0.png", root / "2" / "copy.png")
    request = Request(f"folder:{root}", "digits", "npair", dimensions=4, batch_size=4, size=32)
    train_retrieval(request, OPTIONS, tmp_path / "run")
    assert f"copies of other pictures, left out: 1, such as {root / '2' / 'copy.png'}" in caplog.messages
    assert "classes of one picture, which nothing is like, left out: 1, such as 1" in caplog.messages
    assert json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))["n_pictures"] == 8
    assert inside("data", "check", f"folder:{root}") == 1
    said = capsys.readouterr()
    assert f"a copy {root / '2' / 'copy.png'}" in said.err
    assert "the only picture of 1" in said.err
    assert "folder, to test: 18 pictures of 3 classes" in said.out


def test_training_by_triplets_of_a_folder_per_class(tmp_path: Path) -> None:
    for label in range(4):
        for number in range(6):
            picture(tmp_path / "in" / f"{label}" / f"{number}.png", 10 * label + number)
    request = Request(f"folder:{tmp_path / 'in'}", "digits", "triplet", dimensions=4, batch_size=8, size=32)
    result = train_retrieval(request, OPTIONS, tmp_path / "run")
    assert 0 <= result.best <= 1
    with pytest.raises(TrainingError, match="expected at most the 8 pictures"):
        train_retrieval(replace(request, batch_size=64), OPTIONS, tmp_path / "other")


def test_batches_come_in_the_order_asked_for() -> None:
    feed = Feed(range(6), 2, order=lambda epoch: [epoch, 0, 1, 1, 5, 5])
    assert [batch.tolist() for batch in feed(0, 4)] == [[0, 0], [1, 1], [5, 5], [1, 0]]
    assert [batch.tolist() for batch in feed(3, 5)] == [[1, 0], [1, 1]]
