import threading

import pytest
import torch
from tests.support import networks
from tests.support.untouched import untouched
from torch import nn

from l2caf.guard import borrow, genuine_call, intercept, unwrapped


def test_wrappers_of_parallel_and_compiled_networks_are_seen_through() -> None:
    model = networks.gap()
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(torch.compile(nn.DataParallel(model), backend="eager")) is model
    assert unwrapped(model) is model


def test_a_borrowed_network_is_in_eval_mode_and_comes_back_as_it_was_after_an_error() -> None:
    model = networks.gap().train()
    model[0][1].eval()  # on purpose
    with untouched(model), pytest.raises(ZeroDivisionError), borrow(model):  # noqa: PT012
        assert not any(module.training for module in model.modules())
        model[0][1].running_mean.add_(1)
        torch.rand(3)
        1 / 0  # noqa: B018
    assert model.training
    assert not model[0][1].training


def test_intercepted_calls_go_to_the_handler_of_this_thread_only() -> None:
    model, x = networks.gap(), networks.pictures(1)
    expected, seen = model(x), []

    def handler(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        seen.append(type(module).__name__)
        return 2 * genuine_call(module, args, kwargs)

    elsewhere: list[torch.Tensor] = []
    with untouched(model), intercept({model[3]}, handler):
        here = model(x)
        thread = threading.Thread(target=lambda: elsewhere.append(model(x)))
        thread.start()
        thread.join()
    assert seen == ["Linear"]
    assert torch.equal(here, 2 * expected)
    assert torch.equal(elsewhere[0], expected)
    assert torch.equal(model(x), expected)


def test_hooks_of_the_user_run_inside_a_genuine_call() -> None:
    model, x, calls = networks.gap(), networks.pictures(1), []
    model[3].register_forward_hook(lambda *_: calls.append(1))
    with intercept({model[3]}, genuine_call):
        model(x)
    assert calls == [1]
