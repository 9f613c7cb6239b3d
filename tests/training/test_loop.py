"""Training: exactly resumable, whole files, clear refusals."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf.errors import DataError, TrainingError
from l2caf.training import Feed, Options, Task, fit
from l2caf.training.feed import in_order

OPTIONS = Options(steps=12, learning_rate=0.05, save_every=4, log_every=3, seed=5)


class Noisy:
    """Points of two classes, jittered anew every time."""

    def __init__(self, n: int = 20, broken: int | None = None) -> None:
        self.n, self.broken = n, broken

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == self.broken:
            raise DataError(f"item {index} is broken")
        label = index % 2
        return torch.randn(4) * 0.5 + (2 * label - 1), label


class KilledError(Exception):
    pass


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]).float(), batch[1])


def validate(model: nn.Module) -> dict[str, float]:
    assert not model.training
    inputs, labels = next(in_order(Noisy(40), 40))
    return {"top1_error": float((model(inputs).argmax(1) != labels).float().mean())}


def task(model: nn.Module, **changes: Any) -> Task:
    feed, last = Feed(Noisy(), 4, seed=5), list(model.children())[4]
    given = Task(model, feed, cross_entropy, validate, new_layers=(last,), settings={"data": "noise"})
    return replace(given, **changes)


def dying_at(step: int, loss: Callable[[nn.Module, Any], Tensor] = cross_entropy) -> Callable[[nn.Module, Any], Tensor]:
    steps = iter(range(1, 1000))

    def mortal(model: nn.Module, batch: Any) -> Tensor:
        if next(steps) == step:
            raise KilledError
        return loss(model, batch)

    return mortal


def without_time(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in log]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    model = network()
    return model, folder, fit(task(model), OPTIONS, folder).log


@pytest.mark.parametrize(("deaths", "workers", "optimiser"), [((2,), 0, "sgd"), ((6, 5), 0, "adamw"), ((9,), 1, "sgd")])
def test_a_run_that_was_killed_ends_with_the_same_bits(
    tmp_path: Path, deaths: tuple[int, ...], workers: int, optimiser: Any
) -> None:
    options = replace(OPTIONS, optimiser=optimiser)
    whole = network()
    log = fit(task(whole), options, tmp_path / "whole").log
    for number, death in enumerate(deaths):
        mortal = task(network(), loss=dying_at(death))
        with pytest.raises(KilledError):
            fit(mortal, options, tmp_path / "run", resume=number > 0)
    model = network()
    torch.manual_seed(99)  # whatever the caller drew meanwhile
    again = fit(task(model, feed=Feed(Noisy(), 4, 5, workers)), options, tmp_path / "run", resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert without_time(again.log) == without_time(log)
    whole_best, again_best = (load_file(tmp_path / run / "best.safetensors") for run in ("whole", "run"))
    assert all(torch.equal(whole_best[name], again_best[name]) for name in whole_best)


def test_the_log_and_its_picture_are_beside_the_weights(
    undisturbed: tuple[nn.Module, Path, list[dict[str, Any]]],
) -> None:
    model, folder, log = undisturbed
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == log
    assert [line["step"] for line in log if "loss" in line] == [3, 6, 9, 12]
    assert [line["step"] for line in log if "top1_error" in line] == [5, 10, 12]
    assert log[-1]["top1_error"] < 0.2
    with Image.open(folder / "curves.png") as picture:
        assert picture.width > picture.height
    assert not model.training
    assert [file.name for file in folder.glob(".*")] == [".lock"]


def test_the_best_weights_are_those_of_the_least_error(tmp_path: Path) -> None:
    errors = iter([0.5, 0.2, 0.4])
    kept: list[Tensor] = []

    def scripted(model: nn.Module) -> dict[str, float]:
        kept.append(model.state_dict()["0.weight"].clone())
        return {"top1_error": next(errors)}

    result = fit(task(network(), validate=scripted), OPTIONS, tmp_path / "run")
    assert (result.best, result.best_step) == (0.2, 10)
    assert torch.equal(load_file(tmp_path / "run" / "best.safetensors")["0.weight"], kept[1])


def test_a_finished_run_is_left_as_it_is(undisturbed: tuple[nn.Module, Path, list[dict[str, Any]]]) -> None:
    model, folder, log = undisturbed
    other = network()
    assert fit(task(other, loss=dying_at(1)), OPTIONS, folder, resume=True).log == log
    assert torch.equal(other.state_dict()["0.weight"], model.state_dict()["0.weight"])


def test_the_random_state_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    model, before = network(), torch.get_rng_state()
    fit(task(model), replace(OPTIONS, steps=2), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_waits_for_the_step_and_saves_it(tmp_path: Path, number: signal.Signals) -> None:
    handler = signal.getsignal(number)

    def asked(model: nn.Module, batch: Any) -> Tensor:
        if next(steps) == 7:
            os.kill(os.getpid(), number)
        return cross_entropy(model, batch)

    steps: Iterator[int] = iter(range(1, 100))
    with pytest.raises(KeyboardInterrupt):
        fit(task(network(), loss=asked), OPTIONS, tmp_path / "run")
    assert signal.getsignal(number) == handler
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 7
    whole, model = network(), network()
    fit(task(whole), OPTIONS, tmp_path / "whole")
    fit(task(model), OPTIONS, tmp_path / "run", resume=True)
    assert torch.equal(whole.state_dict()["4.weight"], model.state_dict()["4.weight"])


def test_new_layers_learn_faster_and_the_rate_rises_and_falls(tmp_path: Path) -> None:
    factors = [replace(OPTIONS, steps=100, warm_up=0.1).factor(step) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1
    assert sorted(factors[10:], reverse=True) == factors[10:]
    assert 0 < factors[-1] < 0.01
    start, moved = network(), network()
    fit(task(moved), replace(OPTIONS, steps=1, weight_decay=0.0, new_layers=0.0), tmp_path / "run")
    assert torch.equal(start.state_dict()["4.weight"], moved.state_dict()["4.weight"])
    assert not torch.equal(start.state_dict()["0.weight"], moved.state_dict()["0.weight"])


def test_bf16_trains_and_leaves_the_weights_in_single_precision(tmp_path: Path) -> None:
    kinds: list[torch.dtype] = []

    def watched(model: nn.Module, batch: Any) -> Tensor:
        kinds.append(model(batch[0]).dtype)
        return cross_entropy(model, batch)

    model = network()
    fit(task(model, loss=watched), replace(OPTIONS, steps=2, precision="bf16"), tmp_path / "run")
    assert set(kinds) == {torch.bfloat16}
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_another_run_is_refused_with_the_setting_that_differs(
    undisturbed: tuple[nn.Module, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    _, folder, _ = undisturbed
    with pytest.raises(TrainingError, match="--resume"):
        fit(task(network()), OPTIONS, folder)
    with pytest.raises(TrainingError, match=r"learning_rate was 0.05, is 0.1"):
        fit(task(network()), replace(OPTIONS, learning_rate=0.1), folder, resume=True)
    with pytest.raises(TrainingError, match="data was 'noise', is 'other'"):
        fit(task(network(), settings={"data": "other"}), OPTIONS, folder, resume=True)
    (tmp_path / "mine").write_text("precious", encoding="utf-8")
    with pytest.raises(TrainingError, match="holds no training run"):
        fit(task(network()), OPTIONS, tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        fit(task(network(), loss=dying_at(6)), OPTIONS, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read"):
        fit(task(network()), OPTIONS, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp16"}, "fp16 is not available"),
        ({"device": "cuda:77"}, "device 'cuda:77' cannot be used"),
        ({"steps": 0}, "steps=0"),
        ({"warm_up": 1.0}, "warm_up"),
    ],
)
def test_options_that_cannot_be_had_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        fit(task(network()), replace(OPTIONS, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    def infinite(model: nn.Module, batch: Any) -> Tensor:
        return cross_entropy(model, batch) * float("nan")

    with pytest.raises(TrainingError, match="the loss is nan at step 3"):
        fit(task(network(), loss=infinite), OPTIONS, tmp_path / "run")


class Nested(Noisy):
    """The same points, each in a structure with a name beside it."""

    def __getitem__(self, index: int) -> Any:
        point, label = super().__getitem__(index)
        return {"point": [point, f"point {index}"], "label": label}


def test_batches_of_any_structure_reach_the_loss(tmp_path: Path) -> None:
    seen = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        points, names = batch["point"]
        seen.extend(names)
        return cross_entropy(model, (points, batch["label"]))

    fit(task(network(), feed=Feed(Nested(), 4, seed=5), loss=loss), replace(OPTIONS, steps=5), tmp_path / "run")
    assert sorted(seen) == sorted(f"point {index}" for index in range(20))
