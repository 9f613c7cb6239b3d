"""Whole data sets: the rows are those of single calls, and nothing that happens to a run changes them."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.support.untouched import untouched
from torch import nn
from torch.utils.data import get_worker_info

import l2caf
from l2caf import L2CAF
from l2caf.data.pictures import prepare, read_picture
from l2caf.errors import DataError, LayerError, RunError, StorageError, TailError
from l2caf.evaluation import InputFrame, boxes
from l2caf.jobs.run import Local, RunOptions, open_source, results, run, shards
from l2caf.jobs.run.inputs import Files
from l2caf.jobs.run.summary import summarize
from l2caf.methods import GradCAM
from l2caf.methods.registry import methods
from l2caf.models import LoadedModel, ModelCard
from l2caf.storage import claims

SMALL = RunOptions(targets="top2", batch_size=4, shard_size=8)
HERE = Local(workers=0, threads=1)  # the rows are equal to the bit at equal numbers of threads


def table(folder: Path) -> pa.Table:
    return results(folder).dataset.to_table()


@pytest.fixture(scope="module")
def undisturbed(scenes: Path, digits: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    with untouched(digits.model):
        outcome = run(open_source(str(scenes)), digits, folder, SMALL, engine=HERE)
    assert (outcome.n_pictures, outcome.n_failures) == (52, 1)
    return folder


def test_rows_are_what_single_calls_give(scenes: Path, digits: LoadedModel, tmp_path: Path) -> None:
    options = replace(SMALL, what=("filter", "box", "heatmap", "overlay"), compare="gradcam")
    run(open_source(str(scenes)), digits, tmp_path / "run", options, engine=HERE)
    rows = table(tmp_path / "run").to_pylist()
    assert [row["path"] for row in rows[::2]] == [f"{'a' if n < 30 else 'b'}/{n:02d}.png" for n in range(52) if n != 20]
    for row in (rows[0], rows[45], rows[-1]):
        picture = read_picture(scenes / row["path"])
        inputs, region = prepare(picture, **digits.card.feeding)
        alone = L2CAF(digits.model)(inputs[None], "top2")
        k = row["rank"]
        assert row["target"] == int(alone.target[0, k]) if alone.target is not None else False
        assert row["loss"] == pytest.approx(float(alone.loss[0, k]), rel=1e-4)
        assert row["certificate"] == alone.certificate[0][k].label
        assert np.allclose(row["filter"], alone.filter[0, k].flatten().numpy(), atol=2e-3)  # float16
        frame = InputFrame(picture.size, region)
        assert np.allclose(row["box"], boxes(alone.heatmap()[0, k].numpy(), frame=frame)[0], atol=1e-3)
        other = GradCAM(digits.model)(inputs[None], row["target"]).map[0, 0].flatten()
        cosine = torch.nn.functional.cosine_similarity(alone.filter[0, k].abs().flatten(), other, dim=0)
        assert row["agreement"] == pytest.approx(float(cosine), abs=1e-3)
        for product in ("heatmap", "overlay"):
            assert row[product][1:4] == b"PNG" if product == "heatmap" else row[product][:2] == b"\xff\xd8"


@pytest.mark.parametrize(("targets", "name"), [("top2", "cam"), (None, "l2caf-mean"), (None, "centre")])
def test_any_registered_method_can_be_compared_with(
    scenes: Path, digits: LoadedModel, tmp_path: Path, targets: str | None, name: str
) -> None:
    options = replace(SMALL, targets=targets, compare=name)
    run(open_source(str(scenes / "b")), digits, tmp_path / "run", options, engine=HERE)
    rows = table(tmp_path / "run").to_pylist()
    k = 2 if targets else 1
    assert len(rows) == 22 * k
    inputs, _ = prepare(read_picture(scenes / "b" / rows[-1]["path"]), **digits.card.feeding)
    caf = L2CAF(digits.model)
    ours = caf(inputs[None], targets)
    with caf.cut(inputs[None]) as cut:
        classes = ours.output.topk(k).indices
        other = methods([name], digits.model)[name](cut, classes)
    expected = torch.nn.functional.cosine_similarity(ours.filter.abs().flatten(2), other.flatten(2), dim=2)[0]
    assert [row["agreement"] for row in rows[-k:]] == pytest.approx(expected.tolist(), abs=1e-3)


def test_class_oblivious_rows_say_what_the_network_says(scenes: Path, digits: LoadedModel, tmp_path: Path) -> None:
    options = RunOptions(what=(), batch_size=16, shard_size=32)
    run(open_source(str(scenes)), digits, tmp_path / "run", options, engine=HERE)
    frame = l2caf.results(tmp_path / "run").to_pandas()
    assert len(frame) == 51
    assert frame["target"].isna().all()
    assert (frame["loss"] <= frame["uniform_loss"]).all()
    assert not {"filter", "box"} & set(frame.columns)
    inputs, _ = prepare(read_picture(scenes / "b" / "51.png"), **digits.card.feeding)
    with torch.no_grad():
        said = digits.model(inputs[None])[0]
    assert frame["prediction"].iloc[-1] == int(said.argmax())
    assert frame["score"].iloc[-1] == pytest.approx(float(said.max()), rel=1e-4)


def test_a_run_killed_at_twenty_random_points_ends_with_the_same_rows(
    scenes: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    generator = random.Random(20)  # noqa: S311  (when to kill)
    whole, kills, chains = table(undisturbed), 0, 0
    command = [sys.executable, "-m", "tests.support.killed", str(scenes), str(folder), "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def ask(line: str = "") -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(line)
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert ask() == "ready"
        while kills < 20 or not (folder / "manifest.json").is_file() or not results(folder).is_complete:
            answer = ask(f"{generator.uniform(0, 0.8) if kills < 20 else 60}\n")
            kills += answer == "killed"
            if answer == "done":
                assert table(folder).equals(whole)
                assert len(pq.read_table(folder / "errors.parquet")) == 1
                chains += 1
                if kills < 20:
                    shutil.rmtree(folder)
        process.stdin.close() if process.stdin else None
    assert kills == 20
    assert chains >= 1
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"targets": "top1"}, "targets was 'top2', is 'top1'"),
        ({"batch_size": 8}, "batch_size was 4, is 8"),
        ({"layer": "features.2"}, "layer was 'features', is 'features.2'"),
        ({"constraint": "l1"}, "constraint was 'l2', is 'l1'"),
    ],
)
def test_another_setting_under_the_same_folder_is_refused_with_the_difference_named(
    scenes: Path, digits: LoadedModel, undisturbed: Path, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(StorageError, match=named):
        run(open_source(str(scenes)), digits, undisturbed, replace(SMALL, **change), engine=HERE)


def test_another_network_preprocessing_or_input_is_refused_too(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path
) -> None:
    source = open_source(str(scenes))
    other = type(digits.model)()
    with pytest.raises(StorageError, match=r"weights was '\w+', is '\w+'"):
        run(source, replace(digits, model=other.eval()), undisturbed, SMALL, engine=HERE)
    card = replace(digits.card, fit="crop")
    with pytest.raises(StorageError, match=r"preprocessing.fit was 'squash', is 'crop'"):
        run(source, replace(digits, card=card), undisturbed, SMALL, engine=HERE)
    with pytest.raises(StorageError, match="pictures was 52, is 30"):
        run(open_source(str(scenes / "a")), digits, undisturbed, SMALL, engine=HERE)
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(StorageError, match="holds no run"):
        run(source, digits, tmp_path, SMALL, engine=HERE)


def test_a_run_killed_before_its_manifest_was_whole_is_begun_anew(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / ".lock").touch()
    (tmp_path / ".manifest.json.partial").write_text("{", encoding="utf-8")
    run(open_source(str(scenes)), digits, tmp_path, SMALL, engine=HERE)
    assert table(tmp_path).equals(table(undisturbed))


def test_shards_of_unknown_settings_are_not_adopted(scenes: Path, digits: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000000.parquet").touch()
    with pytest.raises(StorageError, match=r"holds shards but no manifest.json"):
        run(open_source(str(scenes)), digits, tmp_path, SMALL, engine=HERE)


def test_a_run_that_another_one_overtook_is_refused(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtake(_: Any, folder: Path) -> bool:
        shutil.copytree(undisturbed, folder, dirs_exist_ok=True)
        return True

    monkeypatch.setattr(claims, "_lock", overtake)
    with pytest.raises(StorageError, match="targets was 'top2', is 'top1'"):
        run(open_source(str(scenes)), digits, tmp_path / "run", replace(SMALL, targets="top1"), engine=HERE)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_shard_is_named_by_whatever_reads_it(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    shard = folder / "shards" / "00000002.parquet"
    content = shard.read_bytes()
    shard.write_bytes(content[:900] if damage == "cut" else content[:4] + b"\xff" * 3000 + content[3004:])
    named = r"shard .*00000002.parquet is damaged [\s\S]* remove it and run the same command again"
    with pytest.raises(StorageError, match=named):
        results(folder).row(40)
    with pytest.raises(StorageError, match=named):
        summarize(results(folder), 3, 3)
    if damage == "cut":
        (folder / "shards" / "00000005.parquet").unlink()
        with pytest.raises(StorageError, match=f"^{named}"):
            run(open_source(str(scenes)), digits, folder, SMALL, engine=HERE)
        assert not (folder / "shards" / "00000005.parquet").exists()  # it was said before the work
    shard.unlink()
    run(open_source(str(scenes)), digits, folder, SMALL, engine=HERE)
    assert table(folder).equals(table(undisturbed))


def test_other_files_beside_the_shards_do_no_harm(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "shards" / "mine.parquet").write_bytes(b"x")
    assert len(results(tmp_path / "run")) == 102
    (tmp_path / "run" / "manifest.json").write_text('{"format": "l2caf.run/1"}', encoding="utf-8")
    with pytest.raises(StorageError, match="is damaged: it lacks given, grid, inputs, labels, settings"):
        results(tmp_path / "run")


def test_a_run_that_is_taken_up_computes_with_the_threads_it_began_with(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "shards" / "00000001.parquet").unlink()
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    run(open_source(str(scenes)), digits, tmp_path / "run", SMALL, engine=Local(workers=0, threads=2))
    assert asked[0] == 1
    run(open_source(str(scenes)), digits, tmp_path / "anew", SMALL, engine=Local(workers=0, threads=2))
    assert asked[2] == results(tmp_path / "anew").manifest["threads"] == 2


def test_a_finished_run_started_again_does_nothing(scenes: Path, digits: LoadedModel, undisturbed: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (undisturbed / "shards").iterdir()}
    done: list[int] = []
    run(open_source(str(scenes)), digits, undisturbed, SMALL, engine=HERE, report=lambda n, _: done.append(n))
    assert done == [52]
    assert before == {file: file.stat().st_mtime_ns for file in (undisturbed / "shards").iterdir()}


def test_worker_processes_change_nothing(scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path) -> None:
    run(open_source(str(scenes)), digits, tmp_path / "run", SMALL, engine=Local(workers=2, threads=1))
    assert table(tmp_path / "run").equals(table(undisturbed))


def test_bad_pictures_are_listed_with_the_reason(undisturbed: Path) -> None:
    errors = pq.read_table(undisturbed / "errors.parquet").to_pylist()
    assert [(row["index"], row["path"]) for row in errors] == [(20, "a/20.png")]
    assert "cannot be read as a picture" in errors[0]["reason"]
    assert results(undisturbed).errors() == [("a/20.png", errors[0]["reason"])]


def test_a_picture_without_features_is_listed_and_its_batch_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        Image.new("RGB", (16, 16), (0, 0, 0) if number == 2 else (40 * number + 9, 90, 10)).save(
            tmp_path / "in" / f"{number}.png"
        )
    torch.manual_seed(1)
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.ReLU())
    model = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    loaded = LoadedModel(model, "own", ModelCard(size=(16, 16)))
    outcome = run(open_source(str(tmp_path / "in")), loaded, tmp_path / "run", SMALL, engine=HERE)
    assert outcome.n_failures == 1
    assert {row["index"] for row in table(tmp_path / "run").to_pylist()} == {0, 1, 3, 4}
    assert "is zero throughout" in results(tmp_path / "run").errors()[0][1]


def test_a_full_disk_stops_the_run_and_leaves_what_is_written_valid(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., None] = pq.write_table
    written: list[int] = []

    def full(table: pa.Table, stream: Any, **options: Any) -> None:
        written.append(1)
        if len(written) == 3:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(table, stream, **options)

    source = open_source(str(scenes))
    with monkeypatch.context() as patch:
        patch.setattr(shards.pq, "write_table", full)
        with pytest.raises(StorageError, match="No space left on device; the 2 shards written so far stay valid"):
            run(source, digits, tmp_path / "run", SMALL, engine=HERE)
    assert table(tmp_path / "run").equals(table(undisturbed).slice(0, 2 * 16))
    assert not list((tmp_path / "run").rglob("*.partial"))
    run(source, digits, tmp_path / "run", SMALL, engine=Local(workers=0, threads=2))  # the run keeps to its first
    assert table(tmp_path / "run").equals(table(undisturbed))


def test_an_input_that_disappears_is_no_list_of_bad_pictures(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(scenes, tmp_path / "in")
    source = open_source(str(tmp_path / "in"))

    def vanish(done: int, _: int) -> None:
        if done == 24 and (tmp_path / "in").exists():
            (tmp_path / "in").rename(tmp_path / "away")

    with pytest.raises(RunError, match=r"is gone: .* run the same command again when it is back"):
        run(source, digits, tmp_path / "run", SMALL, engine=HERE, report=vanish)
    assert [name for name, _ in results(tmp_path / "run").errors()] == ["a/20.png"]
    (tmp_path / "away").rename(tmp_path / "in")
    run(source, digits, tmp_path / "run", SMALL, engine=HERE)
    assert table(tmp_path / "run").equals(table(undisturbed))


class Deadly(Files):
    """Pictures of which one kills the process that reads it."""

    def picture(self, number: int) -> Image.Image:
        if number == 30 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().picture(number)


def test_a_worker_that_dies_is_a_clear_error_and_the_run_can_go_on(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path
) -> None:
    names = [name.as_py() for name in open_source(str(scenes)).names]
    deadly = Deadly("folder", scenes, scenes, names)
    with pytest.raises(RunError, match=r"a process that reads pictures died .* run the same command again"):
        run(deadly, digits, tmp_path / "run", SMALL, engine=Local(workers=1, threads=1))
    n = len(table(tmp_path / "run")) if results(tmp_path / "run").files else 0
    assert n < len(table(undisturbed))
    run(open_source(str(scenes)), digits, tmp_path / "run", SMALL, engine=HERE)
    assert table(tmp_path / "run").equals(table(undisturbed))


def test_two_processes_do_not_write_to_one_folder(scenes: Path, digits: LoadedModel, tmp_path: Path) -> None:
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'wb'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    refused: list[str] = []

    def meanwhile(done: int, _: int) -> None:
        if done == 4:
            other = subprocess.run(  # noqa: S603
                [sys.executable, "-c", code, str(tmp_path / "run" / ".lock")],
                capture_output=True,
                text=True,
                check=False,
            )
            refused.append(other.stderr)

    run(open_source(str(scenes)), digits, tmp_path / "run", SMALL, engine=HERE, report=meanwhile)
    assert "BlockingIOError" in refused[0]


def test_what_cannot_be_asked_is_refused_before_anything_is_made(
    scenes: Path, digits: LoadedModel, tmp_path: Path
) -> None:
    source = open_source(str(scenes))
    for options, error, message in (
        (RunOptions(layer="nowhere"), LayerError, "no layer 'nowhere'"),
        (RunOptions(shard_size=0), RunError, "shard_size 0 is too small"),
        (RunOptions(threshold=1.5), RunError, "threshold 1.5"),
    ):
        with pytest.raises(error, match=message):
            run(source, digits, tmp_path / "run", options, engine=HERE)
    deep = nn.Sequential(digits.model, nn.ReLU(), nn.Linear(10, 3)).eval()
    with pytest.raises(TailError, match="CAM needs global average pooling"):
        run(source, replace(digits, model=deep), tmp_path / "run", replace(SMALL, compare="cam"), engine=HERE)
    assert not (tmp_path / "run").exists()


def test_a_row_is_drawn_over_its_picture_or_named_as_missing(
    scenes: Path, digits: LoadedModel, undisturbed: Path, tmp_path: Path
) -> None:
    read = results(undisturbed)
    row = read.row(41)
    drawn = read.overlay(41)
    assert drawn.shape == (row["height"], row["width"], 3)
    assert np.abs(drawn.astype(int) - np.asarray(read_picture(scenes / row["path"]))).max() > 20
    with pytest.raises(DataError, match=r"row 102 does not exist; .* rows 0 to 101"):
        read.row(102)
    shutil.copytree(scenes, tmp_path / "in")
    run(open_source(str(tmp_path / "in")), digits, tmp_path / "run", SMALL, engine=HERE)
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(DataError, match="the picture of row 3 is not where it was"):
        results(tmp_path / "run").overlay(3)
