"""Mixed precision by Hugging Face accelerate."""

from typing import Any

import torch

from l2caf.errors import TrainingError
from l2caf.extras import require
from l2caf.training.options import Precision


def accelerator_for(precision: Precision, device: str) -> Any:
    """Make an accelerator for one process.

    Args:
        precision: The precision of the forward pass.
        device: The device on which it runs.

    Returns:
        An `accelerate.Accelerator`. Training uses its autocast, its backward pass and its loss scaler.

    Raises:
        ExtraMissingError: if accelerate is not installed.
        TrainingError: if the process is one of several.
    """
    accelerate = require("accelerate", extra="train")
    # accelerate keeps the first run's settings for the whole process, and refuses a second run with others.
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    accelerator = accelerate.Accelerator(
        mixed_precision=precision, cpu=torch.device(device).type == "cpu", device_placement=False
    )
    if accelerator.num_processes > 1:
        raise TrainingError(f"started as one of {accelerator.num_processes} processes; training takes one")
    return accelerator
