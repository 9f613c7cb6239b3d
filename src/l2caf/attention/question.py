"""What was asked: which layer, under which constraint, towards which goal, and with which versions."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass

import torch
from torch import Tensor, nn

from l2caf.version import __version__


def versions() -> dict[str, str]:
    """Versions of Python, torch and l2caf that run now."""
    return {"python": platform.python_version(), "torch": torch.__version__, "l2caf": __version__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything beside network, inputs and targets that decides what a map shows.

    Two maps of the same network and inputs with equal questions show the same thing.

    Attributes:
        layer: dotted name of the layer.
        layout: where the positions of its feature map are, such as `channels-first`.
        objective: what the filter was to achieve, such as `ClassSpecific(others='sum')`.
        constraint: where the filter was sought, such as `l2` or `gaussian, sigma 1`.
        solver: the solver that was asked for, such as `auto`; which one answered stands in `Evidence.solver`.
        output: which part of the network's output was explained; None where the output is one tensor.
        until: the later layer whose output took the place of the network's (Eq. 3); None for the network's own.
        part: which tensor of the layer's output was filtered, counted from 0 where it returns several.
        runs: the numbers of the runs of the layer, or of the frames of a clip, that have a filter each; None where
            there is only one, or one filter for all of them.
        joint: whether one filter was sought for all runs or frames together.
        fast: whether only the tail was replayed, rather than the whole network at every step.
        input_size: spatial size of the inputs in pixels; with time in frames before it where a filter spans a clip.
        versions: the versions of Python, torch and l2caf.
    """

    layer: str
    layout: str
    objective: str
    constraint: str
    input_size: tuple[int, ...]
    solver: str = "auto"
    output: str | None = None
    until: str | None = None
    part: int = 0
    runs: tuple[int, ...] | None = None
    joint: bool = False
    fast: bool = True
    versions: Mapping[str, str] = field(default_factory=versions)


def described(option: object) -> str:
    """An option in a short line: of tensors and networks what they are, not what they hold.

    Args:
        option: a value of one of `L2CAF`'s options, such as an objective or a solver.

    Returns:
        For dataclasses the class with its fields, for functions their name, for anything else its class.

    Example:
        >>> from l2caf.objectives import Oblivious
        >>> described(Oblivious(top=5))
        'Oblivious(top=5)'
    """
    if option is None or isinstance(option, str | int | float | tuple):
        return option if isinstance(option, str) else repr(option)
    if isinstance(option, Tensor):
        return f"tensor {tuple(option.shape)}"
    if is_dataclass(option) and not isinstance(option, nn.Module):
        values = ((one.name, getattr(option, one.name)) for one in fields(option))
        parts = (
            f"{name}={value!r}" if isinstance(value, str) else f"{name}={described(value)}" for name, value in values
        )
        return f"{type(option).__name__}({', '.join(parts)})"
    return getattr(option, "__qualname__", type(option).__name__)
