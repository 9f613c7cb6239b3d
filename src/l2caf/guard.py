"""Borrow a network and give it back bit for bit as it was.

This is the only room that touches a user's network. `borrow` takes a lock (two threads must not meet in
one network), sets eval mode, and restores on every way out: training flags, buffers, call overrides and
the random state. `intercept` replaces what happens when a module is called, for a while.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_locks: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_locks_guard = threading.Lock()

Args = tuple[Any, ...]  # what a user's module is called with, and what it returns, may be anything
Kwargs = dict[str, Any]
CallHandler = Callable[[nn.Module, Args, Kwargs], Any]

# nn.Module.__call__ runs this attribute instead of forward and hooks where it is set (torch.compile uses it).
_OVERRIDE = "_compiled_call_impl"


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside `torch.compile`, `DataParallel` and `DistributedDataParallel` wrappers.

    Args:
        model: a network, wrapped or not.

    Returns:
        The innermost network; `model` itself where nothing wraps it.
    """
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif (inner := dict(model.named_children()).get("_orig_mod")) is not None:
            model = inner
        else:
            return model


@contextmanager
def borrow(model: nn.Module) -> Iterator[None]:
    """Run the body with `model` in eval mode, alone, and leave nothing behind.

    Args:
        model: the network; its parameters are never written.

    Yields:
        Nothing. On leaving, also after an exception, every `training` flag, buffer (identity and bits) and the
        random state of CPU and of the model's CUDA devices are what they were.
    """
    with _lock_of(model):
        flags = [(module, module.training) for module in model.modules()]
        buffers = [
            _SavedBuffer(of, name, buffer, version_of(buffer), buffer.detach().clone())
            for of in (_buffers_of(module) for module, _ in flags)
            for name, buffer in of.items()
            if buffer is not None and not buffer.is_inference()
        ]
        devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
        stubborn = True
        with torch.random.fork_rng(devices=devices):
            try:
                model.eval()
                stubborn = any(module.training for module, _ in flags)
                yield
            finally:
                for module, training in flags:
                    module.training = training
                _restore_buffers(buffers, every=stubborn)


def _lock_of(model: nn.Module) -> threading.RLock:
    with _locks_guard:
        return _locks.setdefault(model, threading.RLock())


def version_of(tensor: Tensor) -> int:
    """How often a tensor has been written into; 0 for tensors of inference mode, which do not count."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001  (torch has no public name for it)


class _SavedBuffer(NamedTuple):
    """A buffer as it was: in which table, under which name, the tensor itself, its version and a copy of its values."""

    of: Any
    name: str
    tensor: Tensor
    version: int
    copy: Tensor


def _buffers_of(module: nn.Module) -> Any:
    """A module's own table of buffers (TorchScript's is no dict): writing into it the module does not notice."""
    return module._buffers  # noqa: SLF001


def _restore_buffers(saved: list[_SavedBuffer], *, every: bool) -> None:
    """Put buffers back; `every` one where a module insists on train mode: batch norms write past version counters."""
    for of, name, tensor, version, copy in saved:
        of[name] = tensor
        is_suspect = every or version_of(tensor) != version
        if is_suspect or (tensor.device.type == "cpu" and not torch.equal(tensor, copy)):
            with torch.no_grad():
                tensor.copy_(copy)


@contextmanager
def intercept(modules: Iterable[nn.Module], handler: CallHandler) -> Iterator[None]:
    """Let `handler(module, args, kwargs)` answer every call of `modules` made by this thread.

    Args:
        modules: whose calls to take over; hooks and `forward` run only if the handler calls `genuine_call`.
        handler: returns what the call shall return.

    Yields:
        Nothing. On leaving, the modules answer for themselves again.
    """
    owner = threading.get_ident()
    taken: list[tuple[dict[str, Any], Any]] = []

    def override_of(module: nn.Module) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:  # a user's own thread runs the same network meanwhile
                return genuine_call(module, args, kwargs)
            return handler(module, args, kwargs)

        return call

    try:
        for module in modules:
            attributes = module.__dict__
            taken.append((attributes, attributes.get(_OVERRIDE, _ABSENT)))
            attributes[_OVERRIDE] = override_of(module)
        yield
    finally:
        for attributes, before in reversed(taken):
            if before is _ABSENT:
                del attributes[_OVERRIDE]
            else:
                attributes[_OVERRIDE] = before


_ABSENT = object()


def genuine_call(module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
    """What calling `module` does when nobody intercepts it: hooks, then `forward`, then hooks.

    Args:
        module: the module.
        args: positional arguments.
        kwargs: keyword arguments.

    Returns:
        Whatever the module returns.
    """
    return module._call_impl(*args, **kwargs)  # noqa: SLF001
