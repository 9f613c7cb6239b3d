"""The options of a training run, and whether a machine can do what they ask for."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from l2caf.errors import TrainingError

Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one training run.

    Attributes:
        steps: The number of batches to learn from.
        learning_rate: The highest learning rate. The rate rises over the warm-up and falls along a cosine to zero.
        new_layers: The factor of the learning rate for layers that start at random.
        optimiser: `"sgd"`, stochastic gradient descent with momentum 0.9, or `"adamw"`.
        weight_decay: The weight decay of every parameter.
        warm_up: The length of the warm-up as a share of the steps, in [0, 1).
        precision: The precision of the forward pass; weights stay in float32.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, ...
        seed: The seed of everything random.
        save_every: The number of steps between checkpoints.
        log_every: The number of steps between lines of the log.
    """

    steps: int
    learning_rate: float = 1e-3
    new_layers: float = 10.0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 1e-4
    warm_up: float = 0.05
    precision: Precision = "no"
    device: str = "cpu"
    seed: int = 0
    save_every: int = 200
    log_every: int = 20

    def checked(self) -> "Options":
        """Check that this machine can do what the options ask for.

        Returns:
            These options.

        Raises:
            TrainingError: if one is out of range, or device and precision cannot be had.
        """
        for name in ("steps", "learning_rate", "save_every", "log_every"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name}={getattr(self, name)}: expected more than 0")
        if not 0 <= self.warm_up < 1:
            raise TrainingError(f"warm_up={self.warm_up}: expected a share of the steps in [0, 1)")
        kind = usable(self.device).type
        if self.precision == "fp16" and kind != "cuda":
            raise TrainingError(f"precision fp16 is not available on {self.device!r}; take bf16 or no, or a GPU")
        if self.precision == "bf16" and kind == "cuda" and not torch.cuda.is_bf16_supported():
            raise TrainingError("precision bf16 is not available on this GPU; take fp16 or no")
        return self

    def factor(self, step: int) -> float:
        """Return the factor of the learning rate at a step.

        Args:
            step: The number of the step, from 0.

        Returns:
            The factor, in (0, 1].
        """
        rising = max(1, round(self.warm_up * self.steps))
        if step < rising:
            return (step + 1) / rising
        return (1 + math.cos(math.pi * (step - rising) / (self.steps - rising + 1))) / 2


def usable(name: str) -> torch.device:
    """Check that a device works.

    Args:
        name: `"cpu"`, `"cuda"`, `"cuda:1"`, ...

    Returns:
        The device.

    Raises:
        TrainingError: if this machine or this torch has no such device.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
