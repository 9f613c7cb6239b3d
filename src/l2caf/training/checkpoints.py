"""One file that a run is taken up from; it appears under its name only when it is whole and on disk."""

import pickle
from pathlib import Path
from typing import Any, Final

import torch

from l2caf import storage
from l2caf.errors import TrainingError

NAME: Final = "checkpoint.pt"


def exists(folder: Path) -> bool:
    """Whether a run has reached its first checkpoint."""
    return (folder / NAME).is_file()


def write(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint in the place of the last one.

    Args:
        folder: of the run.
        state: tensors, numbers and text in dicts and lists.
    """
    with storage.whole_file(folder / NAME) as stream:
        torch.save(state, stream)


def read(folder: Path, device: str) -> dict[str, Any]:
    """Read what `write` wrote.

    Args:
        folder: of the run.
        device: for its tensors.

    Returns:
        The state.

    Raises:
        TrainingError: if the file is damaged; code in it never runs.
    """
    try:
        return torch.load(folder / NAME, device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"checkpoint {folder / NAME} cannot be read: {reason}") from error
