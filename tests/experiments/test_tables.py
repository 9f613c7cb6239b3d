"""The driver of the tables, on a table that is not part of the package."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from l2caf.data.sets import read_boxed
from l2caf.errors import DataError, TrainingError
from l2caf.experiments import tables
from l2caf.experiments.tables import Column, Comparison, Table, TableEntry, TablePlan, TableRow, Trial, as_markdown
from l2caf.progress import Report, silent


@dataclass(frozen=True, slots=True)
class ToyRow(TableRow):
    """How many pictures were judged, by seed."""

    network: str
    pictures: tuple[int, ...]


def entries(data: str, plan: TablePlan) -> Iterator[TableEntry[ToyRow]]:
    assert data == "digits"
    for label in plan.networks or ("first", "second"):

        def rows(trials: Sequence[Trial], label: str = label) -> list[ToyRow]:
            return [ToyRow(label, tuple(trial.evaluation.n_pictures for trial in trials))]

        yield TableEntry(label, "embedded/digits", Comparison(("centre",), ("adl",)), rows)


COLUMNS = (Column[ToyRow]("network", lambda row: row.network), Column[ToyRow]("n", lambda row: str(sum(row.pictures))))
TOY = Table("toy", ("cub",), read_boxed, entries, COLUMNS, digits=(3, 8))


def test_a_table_says_its_networks_and_columns_and_the_driver_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "DIGIT_SCENES", 2)
    said: set[str] = set()

    def reports(what: str) -> Report:
        said.add(what)
        return silent

    rows = TOY.make("digits", tmp_path, TablePlan(seeds=(4, 5)), report=reports)
    assert rows == [ToyRow("first", (2, 2)), ToyRow("second", (2, 2))]
    assert said == {"first-4", "first-5", "second-4", "second-5"}
    assert {folder.name for folder in (tmp_path / "maps").iterdir()} == said
    assert (tmp_path / "toy.md").read_text(encoding="utf-8") == (
        "| network | n |\n| --- | --- |\n| first | 4 |\n| second | 4 |\n"
    )
    written = json.loads((tmp_path / "toy.json").read_text(encoding="utf-8"))
    assert written[1] == {"network": "second", "pictures": [2, 2]}
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("maps/*/maps/*.npz")}
    assert TOY.make("digits", tmp_path, TablePlan(seeds=(4, 5))) == rows
    assert before == {file: file.stat().st_mtime_ns for file in before}


@pytest.mark.parametrize("data", ["cars:somewhere", "cub", "digits:9"])
def test_other_data_are_refused_before_anything_is_written(data: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected cub:ROOT, or digits"):
        TOY.make(data, tmp_path / "table")
    assert not (tmp_path / "table").exists()


def test_a_device_that_this_machine_lacks_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be used"):
        TOY.make("digits", tmp_path / "table", TablePlan(device="cuda:77"))
    assert not (tmp_path / "table").exists()


def test_weights_are_found_as_a_file_or_as_a_training_run(tmp_path: Path) -> None:
    assert tables.given_weights(None, "net") is None
    assert tables.given_weights(tmp_path, "net") is None
    (tmp_path / "net").mkdir()
    run, file = tmp_path / "net" / "weights.safetensors", tmp_path / "net.safetensors"
    run.touch()
    assert tables.given_weights(tmp_path, "net") == run
    file.touch()
    assert tables.given_weights(tmp_path, "net") == file


def test_markdown_has_a_line_for_each_row() -> None:
    assert as_markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
