"""A metric of one's own: defined here, outside the package, and used by its API and by the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from l2caf.cli import app
from l2caf.data.boxed import BoxedSet
from l2caf.data.digits import boxed_digits
from l2caf.errors import DataError
from l2caf.evaluation import METRICS, PROTOCOLS, JudgedMap, MetricContext
from l2caf.evaluation.judge import judge
from l2caf.evaluation.stored import read_maps


class Size:
    """The mean share of the map's cells that are brighter than half of its maximum."""

    def __init__(self, context: MetricContext) -> None:
        self.n_classes = context.n_classes
        self.shares: list[float] = []

    def update(self, one: JudgedMap) -> None:
        self.shares.append(float((one.heat > 0.5).mean()))

    def compute(self) -> float:
        return float(np.mean(self.shares))


class Extent(Size):
    """Two figures: the smallest and the largest share."""

    def compute(self) -> dict[str, float]:
        return {"smallest": min(self.shares), "largest": max(self.shares)}


EXTENT = f"{__name__}:Extent"
NOT_A_METRIC = 3


@pytest.fixture
def _registered() -> Iterator[None]:
    METRICS.register("size")(Size)
    yield
    del METRICS._things["size"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> BoxedSet:
    return boxed_digits(tmp_path_factory.mktemp("scenes"), length=4, seed=5)


def arguments(scenes: BoxedSet, folder: Path, metrics: str) -> list[str]:
    return [
        "evaluate", "--data", f"csv:{scenes.pictures[0].file.parent}", "-m", "embedded/digits", "--workers", "0",
        "--methods", "gradcam,whole", "--metrics", metrics, "-o", str(folder),
    ]  # fmt: skip


@pytest.mark.usefixtures("_registered")
def test_its_figures_are_in_every_result_of_the_command_line(scenes: BoxedSet, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, arguments(scenes, tmp_path / "run", f"energy,size,{EXTENT}"))
    assert result.exit_code == 0, result.output
    shares = [np.mean(row.maps["gradcam"] > 0.5) for row in read_maps(tmp_path / "run", scenes, [])]
    saved = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    found = {one["method"]: one for one in saved["swept"]}
    assert list(found["gradcam"]) == ["method", "energy", "size", "smallest", "largest"]
    expected = {"size": np.mean(shares), "smallest": min(shares), "largest": max(shares)}
    assert {name: found["gradcam"][name] for name in expected} == pytest.approx(expected)
    assert {name: found["whole"][name] for name in expected} == {"size": 1, "smallest": 1, "largest": 1}
    text = (tmp_path / "run" / "results.md").read_text(encoding="utf-8")
    assert text in result.stdout
    line = " | ".join(f"{100 * value:.1f}" for value in (found["gradcam"]["energy"], *expected.values()))
    assert (
        f"| method | energy | size | smallest | largest |\n| --- | --- | --- | --- | --- |\n| gradcam | {line} |"
        in text
    )
    with pytest.raises(DataError, match=r"NOT_A_METRIC' gives int, which is no metric"):
        judge(scenes, tmp_path / "run", [PROTOCOLS["cam-paper"]], metrics=[f"{__name__}:NOT_A_METRIC"])


def test_an_unknown_metric_is_refused_before_maps_are_made(scenes: BoxedSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown metric 'enrgy'; did you mean 'energy'"):
        CliRunner().invoke(app, arguments(scenes, tmp_path / "run", "enrgy"), catch_exceptions=False)
    assert not (tmp_path / "run").exists()
