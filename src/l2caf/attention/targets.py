"""From what a user may say about classes to a (b, k) tensor of class numbers."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from l2caf.errors import TargetError
from l2caf.shapes import Outputs, Targets

Target = int | Sequence[int] | Tensor | str | None


def resolve_targets(target: Target, reference: Outputs) -> Targets | None:
    """Classes for every input of a batch.

    Args:
        target: None (class-oblivious); an int or a list of k ints (for every input); a tensor (b,) (one class per
            input) or (b, k); or `"top1"`, `"top5"`, ... (the k largest outputs of each input).
        reference: NT (b, n).

    Returns:
        (b, k) on the device of `reference`, or None.

    Raises:
        TargetError: if a class is outside [0, n), the batch does not fit, or the text is not understood.
    """
    if target is None:
        return None
    b, n = reference.shape
    if isinstance(target, str):
        return _top(target, reference)
    classes = _per_input(target, b) if isinstance(target, Tensor) else _for_every_input(target, b)
    classes = classes.to(device=reference.device, dtype=torch.long)
    wrong = classes[(classes < 0) | (classes >= n)]
    if len(wrong):
        raise TargetError(f"class {int(wrong[0])} does not exist; the network has {n}, so expected 0 to {n - 1}")
    return classes


def _top(text: str, reference: Outputs) -> Targets:
    match = re.fullmatch(r"top([1-9]\d*)", text.strip().lower())
    if match is None:
        raise TargetError(f"target {text!r} is not understood; expected 'top1', 'top5', ..., class numbers, or None")
    k, n = int(match[1]), reference.shape[1]
    if k > n:
        raise TargetError(f"target {text!r} asks for {k} classes; the network has {n}")
    return reference.topk(k, dim=1).indices


def _per_input(target: Tensor, b: int) -> Tensor:
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TargetError(f"a target tensor holds class numbers; got {target.dtype}, expected an integer dtype")
    if target.dim() == 0:
        return target.view(1, 1).expand(b, 1)
    if target.dim() > 2 or target.shape[0] != b or target.numel() == 0:
        raise TargetError(
            f"a target tensor of shape {tuple(target.shape)} does not fit {b} inputs; expected ({b},) or ({b}, k)"
        )
    return target.view(b, -1)


def _for_every_input(target: int | Sequence[int], b: int) -> Tensor:
    numbers = [target] if isinstance(target, int) else list(target)
    if not numbers or any(type(number) is not int for number in numbers):
        raise TargetError(f"target {target!r} is not understood; expected an int or a list of ints")
    return torch.tensor(numbers).expand(b, -1)
