"""Whether a network takes what is made of a film or a scan."""

import torch
from torch import Tensor, nn

from l2caf.errors import ModelError
from l2caf.guard import borrow, unwrapped


def check_takes(model: nn.Module, inputs: Tensor, advice: str) -> None:
    """Run a network once, so that one made for other inputs is told from a fault in what follows.

    Args:
        model: the network; left as it was.
        inputs: a batch; its first is used.
        advice: what to do where it does not fit, for the message.

    Raises:
        ModelError: if the network raises, whatever it raises.
    """
    model = unwrapped(model)
    try:
        with torch.inference_mode(), borrow(model):
            model(inputs[:1])
    except Exception as error:  # of any code
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        shape = tuple(inputs[:1].shape)
        raise ModelError(f"the network does not take an input of shape {shape}: {reason}; {advice}") from error
