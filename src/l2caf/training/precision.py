"""Mixed precision by Hugging Face accelerate."""

from typing import Any

import torch

from l2caf.errors import ExtraMissingError, TrainingError
from l2caf.training.options import Precision


def accelerator_for(precision: Precision, device: str) -> Any:
    """An accelerator for one process.

    Args:
        precision: of the forward pass.
        device: where it runs.

    Returns:
        accelerate's `Accelerator`, of which autocast, backward and the loss scaler are used.

    Raises:
        ExtraMissingError: if accelerate is not installed.
        TrainingError: if the process is one of several.
    """
    try:
        from accelerate import Accelerator  # noqa: PLC0415  (an extra)
        from accelerate.state import AcceleratorState  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissingError("training needs accelerate; install `pip install l2caf[train]`") from error
    # accelerate keeps the first run's settings for the whole process, and refuses a second run with others.
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    accelerator = Accelerator(mixed_precision=precision, cpu=torch.device(device).type == "cpu", device_placement=False)
    if accelerator.num_processes > 1:
        raise TrainingError(f"started as one of {accelerator.num_processes} processes; training takes one")
    return accelerator
