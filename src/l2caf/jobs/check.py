"""Whether a network takes what is made of a film or a scan."""

import torch
from torch import Tensor, nn

from l2caf.errors import ModelError
from l2caf.guard import borrow, unwrapped


def check_takes(model: nn.Module, inputs: Tensor, advice: str) -> None:
    """Run a network once, so that a network made for other inputs is told from a fault in what follows.

    Args:
        model: the network; it is left as it was.
        inputs: a batch, whose first input is used.
        advice: what to do if the network does not take it, for the message.

    Raises:
        ModelError: if the network raises an error of any kind.
    """
    model = unwrapped(model)
    try:
        with torch.inference_mode(), borrow(model):
            model(inputs[:1])
    except Exception as error:  # of any code
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        shape = tuple(inputs[:1].shape)
        raise ModelError(f"the network does not take an input of shape {shape}: {reason}; {advice}") from error
