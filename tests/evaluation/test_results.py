"""The files that say what an evaluation found."""

import csv
import json
from pathlib import Path

import pytest

from l2caf.evaluation.results import Evaluation, Judged, as_markdown, csv_file, write_results

JUDGED = [Judged("cam", "adl", 0.2, 0.5, 0.25, 0.75, 0.375, 0.4375)]


def evaluation(figures: dict[str, dict[str, float]], *, by_neighbours: bool = False) -> Evaluation:
    return Evaluation(JUDGED, figures, 0.625, 0.75, 8, [("a.png", "broken")], by_neighbours=by_neighbours)


def test_json_has_every_figure_and_markdown_shows_them_in_percent(tmp_path: Path) -> None:
    figures = {"max_box_acc": 0.5, "max_box_acc_v2": 0.25, "best_threshold": 0.31, "pointing": 0.125}
    write_results(tmp_path, evaluation({"cam": figures}))
    saved = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert saved == {
        "judged": [{
            "method": "cam", "protocol": "adl", "threshold": 0.2, "gt_known": 0.5, "gt_known_low": 0.25,
            "gt_known_high": 0.75, "top1": 0.375, "top5": 0.4375,
        }],
        "swept": [{"method": "cam", **figures}],
        "top1": 0.625, "top5": 0.75, "n_pictures": 8, "skipped": [["a.png", "broken"]], "by_neighbours": False,
    }  # fmt: skip
    assert (tmp_path / "results.md").read_text(encoding="utf-8").splitlines() == [
        "8 pictures; classified rightly: 62.5% (top-5 75.0%).",
        "",
        "| method | protocol | threshold | GT-known (95 % interval) | Top-1 Loc | Top-5 Loc |",
        "| --- | --- | --- | --- | --- | --- |",
        "| cam | adl | 0.20 | 50.0 (25.0 to 75.0) | 37.5 | 43.8 |",
        "",
        "| method | MaxBoxAcc (at) | MaxBoxAccV2 | pointing |",
        "| --- | --- | --- | --- |",
        "| cam | 50.0 (0.31) | 25.0 | 12.5 |",
    ]


def test_without_figures_of_maps_there_is_no_second_table_and_neighbours_are_named(tmp_path: Path) -> None:
    found = evaluation({"cam": {}}, by_neighbours=True)
    assert as_markdown(found).count("| method |") == 1
    assert "nearest neighbour of the same class: 62.5%" in as_markdown(found)
    write_results(tmp_path, found)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["swept"] == []


def test_a_figure_that_one_method_lacks_leaves_its_cell_empty() -> None:
    text = as_markdown(evaluation({"cam": {"a": 0.5}, "own": {"b": 0.25, "a": 0.125}}))
    assert text.splitlines()[-4:] == [
        "| method | a | b |",
        "| --- | --- | --- |",
        "| cam | 50.0 |  |",
        "| own | 12.5 | 25.0 |",
    ]


def test_a_table_that_is_not_finished_does_not_appear(tmp_path: Path) -> None:
    def stops() -> None:
        with csv_file(tmp_path / "a.csv", ["x", "y"]) as write:
            write({"x": 1, "y": 2})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stops()
    assert not list(tmp_path.iterdir())
    with csv_file(tmp_path / "a.csv", ["x", "y"]) as write:
        write({"y": "grün, rot", "x": 1})
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [["x", "y"], ["1", "grün, rot"]]
