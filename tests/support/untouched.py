"""Proof that a network, and what torch shares between networks, is left bit for bit as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def global_hooks() -> dict[str, Any]:
    """Torch's hooks that run for every module of the process."""
    shared = vars(nn.modules.module)
    return {
        name: dict(hooks) for name, hooks in shared.items() if name.startswith("_global_") and hasattr(hooks, "items")
    }


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that a method might leave behind."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        state[f"{name}: module"] = (
            type(module),
            module.training,
            getattr(module, "inplace", None),
            sorted(module.__dict__),
            {hook: dict(getattr(module, hook)) for hook in HOOKS},
        )
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        state[f"{name}: parameter"] = (parameter.requires_grad, id(grad), None if grad is None else grad.clone())
    for name, tensor in model.state_dict().items():
        state[f"{name}: bits"] = (tensor.data_ptr(), tensor.clone())
    state["global hooks"] = global_hooks()
    state["random"] = torch.get_rng_state()
    state["grad mode"] = torch.is_grad_enabled()
    return state


def same(a: Any, b: Any) -> bool:
    """Equality that understands tensors."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Fail if the body leaves anything in `model`, whether it succeeds or raises."""
    before = snapshot(model)
    try:
        yield
    finally:
        after = snapshot(model)
        assert before.keys() == after.keys()
        changed = [key for key in before if not same(before[key], after[key])]
        assert not changed, f"changed: {changed}"
