"""The file that a run is taken up from."""

from pathlib import Path

import pytest
import torch

from l2caf.errors import TrainingError
from l2caf.training import checkpoints


class Malice:
    """Runs code where a pickle of it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit",)


def test_a_checkpoint_replaces_the_last_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert not checkpoints.exists(tmp_path)
    for step in (1, 2):
        checkpoints.write(tmp_path, {"step": step, "weights": torch.arange(3.0)})
    assert checkpoints.exists(tmp_path)
    found = checkpoints.read(tmp_path, "cpu")
    assert (found["step"], found["weights"].tolist()) == (2, [0, 1, 2])
    assert [file.name for file in tmp_path.iterdir()] == [checkpoints.NAME]


def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path: Path) -> None:
    torch.save({"step": Malice()}, tmp_path / checkpoints.NAME)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read"):
        checkpoints.read(tmp_path, "cpu")
