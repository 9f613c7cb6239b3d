"""Trace the way of `inputs` through one call of `L2CAF`.

A small network that fuses the frames of a clip is explained at a named layer, the call that asks most of a plan. Every
call of a function in `l2caf.attention` that is given the inputs is followed: the very tensor, an `Inputs`, or a tensor
that differs from the inputs only in the size of its batch.

A *stay* lasts as long as the innermost of these functions is of one module. A *return* is a stay in a module that was
left before, because it was called again or because a call from it came back. A module is *entered* by a call from
another module of the room; coming back to a caller is no entry. Where a module is entered twice, a reader who follows
the inputs has to open it twice.
"""

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Final

import torch
from torch import Tensor, nn

from l2caf import L2CAF

ROOM: Final = "l2caf.attention."


class Fusing(nn.Module):
    """A CNN on every frame of a clip (b, t, c, h, w), the mean over frames, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (b, 5)."""
        features = self.trunk(clips.flatten(0, 1)).mean((2, 3))
        return self.head(features.unflatten(0, clips.shape[:2]).mean(1))


def way() -> tuple[list[str], list[str]]:
    """Follow the inputs of one call of `L2CAF`; see `followed`."""
    torch.manual_seed(0)
    caf = L2CAF(Fusing().eval(), "trunk")
    return followed(caf, torch.rand(2, 4, 3, 16, 16))


def followed(call: Callable[[Tensor], object], inputs: Tensor) -> tuple[list[str], list[str]]:
    """Follow inputs through a call.

    Args:
        call: the function to call.
        inputs: the only argument of the call, a batch (b, ...).

    Returns:
        The modules in the order of the stays, and those that were entered more than once.
    """
    stays: list[str] = []
    entries: Counter[str] = Counter()
    stack: list[tuple[FrameType, str]] = []

    def follow(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(ROOM):
            return
        module = module.removeprefix(ROOM)
        if event == "call" and _is_given(frame, inputs):
            entries[module] += not stack or stack[-1][1] != module
            stack.append((frame, module))
        elif event == "return" and stack and stack[-1][0] is frame:
            stack.pop()
        if stack and (not stays or stays[-1] != stack[-1][1]):
            stays.append(stack[-1][1])

    sys.setprofile(follow)
    try:
        call(inputs)
    finally:
        sys.setprofile(None)
    return stays, [module for module, times in entries.items() if times > 1]


def _is_given(frame: FrameType, inputs: Tensor) -> bool:
    """Whether one of the arguments of a call carries the inputs."""
    code = frame.f_code
    n_arguments = code.co_argcount + code.co_kwonlyargcount
    return any(_carries(frame.f_locals.get(name), inputs) for name in code.co_varnames[:n_arguments])


def _carries(value: object, inputs: Tensor) -> bool:
    if type(value).__name__ == "Inputs":
        return True
    return isinstance(value, Tensor) and value.shape[1:] == inputs.shape[1:]
