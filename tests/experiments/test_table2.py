"""Table 2, made of small networks that are trained on digits."""

from dataclasses import replace
from pathlib import Path

import pytest

from l2caf.errors import DataError
from l2caf.experiments import table2, tables
from l2caf.recipes import wsol_data
from l2caf.training import Options


def test_table2_is_trained_judged_and_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "DIGIT_SCENES", 4)
    monkeypatch.setattr(wsol_data, "DIGITS_EPOCH", 8)
    monkeypatch.setattr(wsol_data, "DIGITS_VALIDATION", 4)
    training = Options(steps=2, learning_rate=0.01)
    plan = tables.TablePlan(networks=("digits-gap", "digits-acol"), seeds=(0,), training=training, batch_size=4)
    rows = table2.TABLE2.make("digits", tmp_path, plan)
    assert [row.method for row in rows] == [*table2.METHODS, *table2.METHODS, "acol"]
    assert {row.protocol for row in rows} == {"adl"}
    assert "| wsol/digits-acol | acol | adl |" in (tmp_path / "table2.md").read_text(encoding="utf-8")
    checkpoint = (tmp_path / "training" / "digits-gap-0" / "checkpoint.pt").stat().st_mtime_ns
    assert table2.TABLE2.make("digits", tmp_path, plan) == rows
    assert (tmp_path / "training" / "digits-gap-0" / "checkpoint.pt").stat().st_mtime_ns == checkpoint
    given = tmp_path / "given"
    given.mkdir()
    (tmp_path / "training" / "digits-gap-0").rename(given / "digits-gap")
    one = replace(plan, weights=given, networks=("digits-gap",), seeds=(0,))
    (row, *_) = table2.TABLE2.make("digits", tmp_path / "other", one)
    assert not (tmp_path / "other" / "training").exists()
    assert row.network == "wsol/digits-gap"


def test_the_papers_figures_stand_beside_its_rows_only() -> None:
    assert table2._paper("cub", "vgg16-adl", "l2caf-specific", "adl") == (64.16, 48.55)
    assert table2._paper("cub", "vgg16-adl", "l2caf-specific", "cam-paper") is None
    assert {len(figures) for figures in table2.PAPER.values()} == {2}
    with pytest.raises(DataError, match="expected cub:ROOT"):
        table2.TABLE2.make("cars:x", Path("nowhere"))
