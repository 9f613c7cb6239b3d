"""A sample of the networks of `benchmarks/coverage`, under default settings, judged by the same code."""

from pathlib import Path

import pytest
import torch
from benchmarks.coverage.boxes import nms
from benchmarks.coverage.subject import Subject
from benchmarks.coverage.table import read, write
from benchmarks.coverage.trial import Row, try_one
from tests.support.sample import SAMPLE


@pytest.mark.parametrize("subject", SAMPLE, ids=lambda subject: subject.name)
def test_a_map_lies_on_the_picture_or_is_refused(subject: Subject) -> None:
    row = try_one(subject)
    assert row.outcome in {"on the picture", "refused"}, f"{row.outcome}: {row.layer} ({row.layout}): {row.why}"


def test_a_run_that_stopped_is_taken_up(tmp_path: Path) -> None:
    rows = [Row("timm/one", "refused", "LayerError: it has no grid")]
    write(rows, tmp_path / "new" / "coverage.json")
    assert read(tmp_path / "new" / "coverage.json") == rows
    assert read(tmp_path / "coverage.json") == []


def test_suppression_keeps_the_best_of_boxes_that_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 10, 4]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1, 0.3]), 0.5).tolist() == [1, 3, 2]
