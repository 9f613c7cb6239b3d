"""The same rows on Ray, whatever dies on the way."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import nn

from l2caf.errors import RunError
from l2caf.jobs.run import Local, RunOptions, open_source, results, run
from l2caf.jobs.run.inputs import Files
from l2caf.models import LoadedModel, ModelCard, load

OPTIONS = RunOptions(targets="top1", batch_size=4, shard_size=8)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::DeprecationWarning:ray.data.context")]  # its own


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Any]:
    """Ray with two CPUs on this machine, once for all tests."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    module = pytest.importorskip("l2caf.jobs.run.on_ray", exc_type=ImportError)
    path = os.pathsep.join(str(Path(__file__).parents[3] / part) for part in ("src", "."))
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    yield module.OnRay
    ray.shutdown()


class Deadly(Files):
    """Pictures of which one kills the process that reads it, once."""

    def picture(self, number: int) -> Image.Image:
        mark = self.base.parent / "died"
        if number == 30 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().picture(number)


@pytest.fixture(scope="module")
def local(scenes: Path, digits: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local") / "run"
    run(open_source(str(scenes)), digits, folder, OPTIONS, engine=Local(0, threads=1))  # as an actor with one CPU
    return folder


def test_two_actors_give_the_rows_of_the_local_engine_and_take_up_its_runs(
    on_ray: Any, scenes: Path, digits: LoadedModel, local: Path, tmp_path: Path
) -> None:
    source, done = open_source(str(scenes)), list[int]()
    folder = tmp_path / "run"
    outcome = run(source, digits, folder, OPTIONS, engine=on_ray(actors=2), report=lambda n, _: done.append(n))
    assert (outcome.n_failures, done[-1]) == (1, 52)
    assert results(folder).dataset.to_table().equals(results(local).dataset.to_table())
    assert results(folder).manifest["settings"] == results(local).manifest["settings"]
    assert results(folder).manifest["threads"] == results(local).manifest["threads"] == 1
    (folder / "shards" / "00000002.parquet").unlink()
    run(source, digits, folder, OPTIONS, engine=Local(0))
    assert results(folder).dataset.to_table().equals(results(local).dataset.to_table())


def test_an_actor_that_is_killed_loses_nothing(
    on_ray: Any, scenes: Path, digits: LoadedModel, local: Path, tmp_path: Path
) -> None:
    names = [name.as_py() for name in open_source(str(scenes)).names]
    deadly = Deadly("folder", tmp_path, tmp_path / "in", names)
    (tmp_path / "in").symlink_to(scenes)
    run(deadly, digits, tmp_path / "run", OPTIONS, engine=on_ray(actors=2))
    assert (tmp_path / "died").exists()
    assert results(tmp_path / "run").dataset.to_table().equals(results(local).dataset.to_table())


def test_a_network_whose_code_the_actors_have_not_imported_yet(on_ray: Any, scenes: Path, tmp_path: Path) -> None:
    loaded = load("timm/test_efficientnet", pretrained=False)
    outcome = run(open_source(str(scenes / "b")), loaded, tmp_path / "run", OPTIONS, engine=on_ray())
    assert (outcome.n_pictures, outcome.n_failures) == (22, 0)


class Homebound(nn.Sequential):
    """A network that no other process can have."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise RuntimeError("its file is not on this machine")


def test_a_network_that_the_actors_cannot_have_is_one_clear_line(on_ray: Any, scenes: Path, tmp_path: Path) -> None:
    model = Homebound(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    loaded = LoadedModel(model, "own", ModelCard(size=(16, 16)))
    with pytest.raises(RunError, match=r"^Ray could not do the work: .*its file is not on this machine$"):
        run(open_source(str(scenes)), loaded, tmp_path / "run", OPTIONS, engine=on_ray())


def test_what_stops_the_local_engine_stops_this_one_as_clearly(
    on_ray: Any, scenes: Path, digits: LoadedModel, tmp_path: Path
) -> None:
    names = [name.as_py() for name in open_source(str(scenes)).names]
    gone = Files("folder", tmp_path / "away", tmp_path / "away", names)
    with pytest.raises(RunError, match=r"is gone: .* run the same command again when it is back"):
        run(gone, digits, tmp_path / "run", OPTIONS, engine=on_ray(actors=1))
