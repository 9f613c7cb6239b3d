"""Evaluation of a data set: maps once, judged by any protocol, resumable."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from l2caf import L2CAF
from l2caf.data.boxed import BoxedSet
from l2caf.data.digits import boxed_digits
from l2caf.data.pictures import prepare
from l2caf.errors import DataError, StorageError
from l2caf.evaluation import PROTOCOLS, InputFrame, boxes, iou
from l2caf.evaluation import maps as stage_one
from l2caf.evaluation.judge import bootstrap, judge
from l2caf.evaluation.maps import MapOptions, write_maps
from l2caf.evaluation.metrics import LocalizationAccuracy
from l2caf.evaluation.stored import read_maps
from l2caf.methods import GradCAM, methods
from l2caf.models import LoadedModel, load

NAMES = ["cam", "gradcam", "gradcam-abs", "l2caf", "l2caf-specific", "centre", "whole"]


@pytest.fixture(scope="module")
def digits() -> LoadedModel:
    return load("embedded/digits")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> BoxedSet:
    return boxed_digits(tmp_path_factory.mktemp("scenes"), length=10, seed=5)


@pytest.fixture(scope="module")
def run(scenes: BoxedSet, digits: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_maps(scenes, digits, methods(NAMES, digits.model), folder, MapOptions(batch_size=4))
    return folder


def test_maps_are_what_the_methods_give_one_picture_at_a_time(run: Path, scenes: BoxedSet, digits: LoadedModel) -> None:
    skipped: list[tuple[str, str]] = []
    rows = list(read_maps(run, scenes, skipped))
    assert [row.number for row in rows] == list(range(10))
    assert not skipped
    row = rows[6]
    item = prepare(scenes.pictures[6].read(), **digits.card.feeding)[0][None]
    for name, expected in (
        ("l2caf-specific", L2CAF(digits.model)(item, int(row.targets[0])).filter.abs()[0, 0]),
        ("gradcam", GradCAM(digits.model)(item, int(row.targets[0])).map[0, 0]),
        ("l2caf", L2CAF(digits.model)(item).filter.abs()[0, 0]),
    ):
        scaled = expected / expected.max().clamp_min(1e-30)
        assert np.allclose(row.maps[name], scaled.numpy(), atol=2e-3), name
    with torch.no_grad():
        assert row.targets[1:].tolist() == digits.model(item).topk(5).indices[0].tolist()


def test_figures_are_those_of_the_boxes(run: Path, scenes: BoxedSet) -> None:
    evaluation = judge(scenes, run, [PROTOCOLS[name] for name in PROTOCOLS])
    assert evaluation.n_pictures == 10
    rows = list(read_maps(run, scenes, []))
    hits = []
    for row in rows:
        size = row.frame.picture[::-1]
        heat = torch.nn.functional.interpolate(torch.from_numpy(row.maps["l2caf"])[None, None], size, mode="bilinear")
        box = boxes(heat[0, 0].numpy(), 0.2, frame=InputFrame.whole(*row.frame.picture))
        hits.append(float(iou(box, row.picture.boxes, inclusive=True).max()) >= 0.5)
    one = next(j for j in evaluation.judged if (j.method, j.protocol) == ("l2caf", "cam-paper"))
    assert one.gt_known == pytest.approx(np.mean(hits))
    assert one.gt_known_low <= one.gt_known <= one.gt_known_high
    for j in evaluation.judged:
        assert j.top1 <= j.top5 <= 1
    saved = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert len(saved["judged"]) == len(NAMES) * len(PROTOCOLS)
    assert {"results.csv", "results.md", "worst.png", "best.png"} <= {file.name for file in run.iterdir()}
    assert evaluation.figures["l2caf"]["energy"] > evaluation.figures["whole"]["energy"]


def test_guesses_have_maps_and_boxes_of_their_own_that_give_the_same_top_5(
    run: Path, scenes: BoxedSet, digits: LoadedModel, tmp_path: Path
) -> None:
    named = methods(["l2caf-specific", "l2caf"], digits.model)
    write_maps(scenes, digits, named, tmp_path / "run", MapOptions(batch_size=4, predictions="top5"))
    evaluation = judge(scenes, tmp_path / "run", [PROTOCOLS["cam-paper"]], metrics=())
    plain = judge(scenes, run, [PROTOCOLS["cam-paper"]], metrics=())
    known = {one.method: one for one in plain.judged}
    with (tmp_path / "run" / "guesses.csv").open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 10 * 2 * 5
    for one in evaluation.judged:
        assert one == known[one.method]
        for guesses, expected in ((1, one.top1), (5, one.top5)):
            metric = LocalizationAccuracy(guesses, inclusive=True)
            for picture in scenes.pictures:
                mine = [line for line in lines if line["file"] == str(picture.file) and line["method"] == one.method]
                corners = np.array([[float(line[corner]) for corner in ("x0", "y0", "x1", "y1")] for line in mine])
                classes = np.array([int(line["output"]) for line in mine])
                metric.update(corners, classes, picture.boxes, picture.label)
            assert float(metric.compute()) == pytest.approx(expected)


def test_a_run_that_stops_is_taken_up_where_it_stopped(
    scenes: BoxedSet, digits: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., object] = stage_one._maps_of
    calls: list[int] = []

    def stops_in_the_second_batch(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    named = methods(["l2caf"], digits.model)
    with monkeypatch.context() as patch:
        patch.setattr(stage_one, "_maps_of", stops_in_the_second_batch)
        with pytest.raises(KeyboardInterrupt):
            write_maps(scenes, digits, named, tmp_path / "run", MapOptions(batch_size=4))
    done: list[int] = []
    write_maps(
        scenes, digits, named, tmp_path / "run", MapOptions(batch_size=3), report=lambda number, _: done.append(number)
    )
    assert done == [4, 7, 10]  # also with another batch size
    assert [row.number for row in read_maps(tmp_path / "run", scenes, [])] == list(range(10))


def test_another_run_is_not_mixed_in(run: Path, scenes: BoxedSet, digits: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds another run"):
        write_maps(scenes, digits, methods(["l2caf"], digits.model), run)
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(StorageError, match="holds no evaluation"):
        write_maps(scenes, digits, methods(["l2caf"], digits.model), tmp_path)


def test_broken_pictures_are_listed_and_the_rest_is_done(scenes: BoxedSet, digits: LoadedModel, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    pictures = (replace(scenes.pictures[0], file=broken), *scenes.pictures[1:4])
    some = replace(scenes, pictures=pictures)
    write_maps(some, digits, methods(["l2caf", "centre"], digits.model), tmp_path / "run", MapOptions(batch_size=2))
    evaluation = judge(some, tmp_path / "run", [PROTOCOLS["cam-paper"]], metrics=())
    assert evaluation.n_pictures == 3
    assert [Path(name).name for name, _ in evaluation.skipped] == ["broken.png"]


def test_unknown_methods_name_the_nearest(digits: LoadedModel) -> None:
    with pytest.raises(DataError, match="did you mean 'gradcam"):
        methods(["gradkam"], digits.model)


def test_a_class_that_the_network_lacks_is_an_error(scenes: BoxedSet, digits: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class offset is wrong"):
        write_maps(scenes, digits, methods(["l2caf"], digits.model), tmp_path / "run", MapOptions(class_offset=9))


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = bootstrap(generator.random(150) < 0.6)
        covered += low <= 0.6 <= high
    assert 180 <= covered <= 199


@pytest.mark.parametrize("name", ["torchcam:LayerCAM", "pytorch-grad-cam:GradCAMPlusPlus"])
def test_methods_of_the_peers_can_be_compared(name: str, scenes: BoxedSet, digits: LoadedModel, tmp_path: Path) -> None:
    some = replace(scenes, pictures=scenes.pictures[:3])
    write_maps(some, digits, methods([name, "gradcam"], digits.model), tmp_path / "run")
    evaluation = judge(some, tmp_path / "run", [PROTOCOLS["cam-paper"]], metrics=())
    assert {one.method for one in evaluation.judged} == {name, "gradcam"}
