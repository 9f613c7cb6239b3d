"""The recipe of embedding networks: what is learnt from, what validates, and what a run leaves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.data_sets import inside, noise

from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError, TrainingError
from l2caf.recipes.recipe import train
from l2caf.recipes.retrieval import RetrievalRecipe, parted
from l2caf.training import Feed, Options

OPTIONS = Options(steps=3, learning_rate=1e-3, optimiser="adamw", save_every=2, log_every=1)


def test_what_validates_is_not_learnt_from_and_single_pictures_are_left_out(tmp_path: Path) -> None:
    for label in range(4):
        for number in range(1 if label == 1 else 6):
            noise(tmp_path / f"{label}" / f"{number}.png", 10 * label + number)
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
            noise(root / f"{label}" / f"{number}.png", 10 * label + number)
    shutil.copy(root / "0" / "0.png", root / "2" / "copy.png")
    request = RetrievalRecipe(f"folder:{root}", "digits", "npair", dimensions=4, batch_size=4, size=32)
    train(request, OPTIONS, tmp_path / "run")
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
            noise(tmp_path / "in" / f"{label}" / f"{number}.png", 10 * label + number)
    request = RetrievalRecipe(f"folder:{tmp_path / 'in'}", "digits", "triplet", dimensions=4, batch_size=8, size=32)
    result = train(request, OPTIONS, tmp_path / "run")
    assert 0 <= result.best <= 1
    with pytest.raises(TrainingError, match="expected at most the 8 pictures"):
        train(replace(request, batch_size=64), OPTIONS, tmp_path / "other")


def test_batches_come_in_the_order_asked_for() -> None:
    feed = Feed(range(6), 2, order=lambda epoch: [epoch, 0, 1, 1, 5, 5])
    assert [batch.tolist() for batch in feed(0, 4)] == [[0, 0], [1, 1], [5, 5], [1, 0]]
    assert [batch.tolist() for batch in feed(3, 5)] == [[1, 0], [1, 1]]
