"""The table of metrics: what it knows, and what a metric is given."""

from pathlib import Path

import numpy as np
import pytest
import torch

from l2caf.errors import DataError
from l2caf.evaluation import DEFAULT_METRICS, METRICS, InputFrame, JudgedMap, MetricContext
from l2caf.evaluation.metrics import MaxBoxAcc  # its module enters the metrics that come with l2caf
from l2caf.evaluation.table import FiguresOfMethod


def judged(heat: np.ndarray, boxes: list[list[float]]) -> JudgedMap:
    frame = InputFrame((40, 20), (10.0, 0.0, 30.0, 20.0))  # the square in the middle was shown
    return JudgedMap(heat, frame, Path("a.png"), np.array(boxes), 0, 0)


def test_map_and_boxes_are_shown_in_the_same_pixels() -> None:
    heat = np.zeros((2, 2))
    heat[0, 1] = 1.0
    one = judged(heat, [[20.0, 0.0, 30.0, 10.0]])  # the right upper quarter of what was shown
    assert one.shown_boxes.tolist() == [[112, 0, 224, 112]]
    assert one.shown.shape == (224, 224)
    assert np.unravel_index(one.shown.argmax(), one.shown.shape) == (0, 168)  # from there on the cell's own value
    assert one.shown.min() >= 0


def test_the_default_metrics_have_their_figures_in_order() -> None:
    figures = FiguresOfMethod(DEFAULT_METRICS, MetricContext(n_classes=1))
    quarter = np.kron([[0.0, 1.0], [0.0, 0.0]], np.ones((32, 32)))
    figures.update(judged(quarter, [[20.0, 0.0, 30.0, 10.0]]))  # on it
    figures.update(judged(quarter, [[10.0, 10.0, 20.0, 20.0]]))  # opposite
    found = figures.compute()
    assert list(found) == ["max_box_acc", "max_box_acc_v2", "best_threshold", "pointing", "energy"]
    assert (found["max_box_acc"], found["max_box_acc_v2"], found["pointing"]) == (0.5, 0.5, 0.5)
    assert found["energy"] == pytest.approx(0.5, abs=0.02)
    assert all(type(value) is float for value in found.values())


def test_every_metric_has_a_line_and_an_unknown_one_names_the_nearest() -> None:
    assert METRICS.lines().keys() >= {*DEFAULT_METRICS, "faithfulness"}
    assert METRICS["max-box-acc"].__module__ == MaxBoxAcc.__module__
    assert all(METRICS.lines().values())
    with pytest.raises(DataError, match="unknown metric 'pointin'; did you mean 'pointing'"):
        FiguresOfMethod(["pointin"], MetricContext(1))


def test_a_metric_that_asks_the_network_refuses_stored_maps_alone() -> None:
    with pytest.raises(DataError, match="'faithfulness' runs the network again; got stored maps only"):
        FiguresOfMethod(["faithfulness"], MetricContext(1))


def test_a_metric_of_torchmetrics_is_one() -> None:
    from torchmetrics import MeanMetric  # noqa: PLC0415

    class Mean(MeanMetric):
        def update(self, one: JudgedMap) -> None:  # type: ignore[override]
            super().update(torch.from_numpy(one.heat).mean())

    METRICS.register("mean")(lambda _context: Mean())
    try:
        figures = FiguresOfMethod(["mean"], MetricContext(1))
        for value in (0.25, 0.75):
            figures.update(judged(np.full((2, 2), value), [[10.0, 0.0, 30.0, 20.0]]))
        assert figures.compute() == {"mean": 0.5}
    finally:
        del METRICS._things["mean"]
