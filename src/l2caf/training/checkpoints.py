"""The one file that a run is taken up from; it gets its name only when it is whole and on disk."""

import pickle
from pathlib import Path
from typing import Any, Final

import torch

from l2caf import storage
from l2caf.errors import TrainingError

NAME: Final = "checkpoint.pt"
State = dict[str, Any]  # tensors, numbers and text, in dicts and lists


def exists(folder: Path) -> bool:
    """Return whether a run has reached its first checkpoint."""
    return (folder / NAME).is_file()


def write(folder: Path, state: State) -> None:
    """Write a checkpoint in the place of the last one.

    Args:
        folder: The folder of the run.
        state: Everything that the rest of the run depends on.
    """
    with storage.whole_file(folder / NAME) as stream:
        torch.save(state, stream)


def read(folder: Path, device: str) -> State:
    """Read what `write` wrote. Code in the file is never run.

    Args:
        folder: The folder of the run.
        device: The device on which tensors are put.

    Returns:
        The state.

    Raises:
        TrainingError: if the file is damaged.
    """
    try:
        return torch.load(folder / NAME, device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"checkpoint {folder / NAME} cannot be read: {reason}") from error
