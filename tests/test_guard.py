import threading

import pytest
import torch
from tests.support import networks
from tests.support.untouched import global_hooks, untouched
from torch import nn

from l2caf.guard import borrow, genuine_call, intercept, unwrapped, version_of


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


def test_untouched_notices_a_hook_for_all_modules() -> None:
    model = networks.gap()
    handles = []
    with pytest.raises(AssertionError, match="global hooks"), untouched(model):
        handles.append(nn.modules.module.register_module_forward_hook(lambda *_: None))
    handles[0].remove()
    assert {"_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks"} <= global_hooks().keys()
    with untouched(model):  # nothing is left of it
        pass


def test_version_of_counts_writes_and_not_in_inference_mode() -> None:
    tensor = torch.zeros(2)
    before = version_of(tensor)
    tensor += 1
    assert version_of(tensor) == before + 1
    with torch.inference_mode():
        frozen = torch.zeros(2)
        frozen += 1
    assert version_of(frozen) == 0


def test_a_buffer_that_was_replaced_comes_back_itself() -> None:
    model = networks.gap()
    mean = model[0][1].running_mean
    with borrow(model):
        model[0][1].running_mean = torch.ones(8)
    assert model[0][1].running_mean is mean
