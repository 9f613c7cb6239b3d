import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from l2caf.errors import ModelError, WeightsError
from l2caf.models import load, zoo
from l2caf.torchvision_compat import import_torchvision

SMALL = "torchvision/mobilenet_v3_small"


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return load(SMALL, pretrained=False).model


def test_a_name_means_torchvision_first_then_timm_and_the_embedded_network_needs_neither() -> None:
    assert zoo.resolve("resnet50") == ("torchvision", "resnet50")
    assert zoo.resolve("timm/resnet50") == ("timm", "resnet50")
    assert zoo.resolve("mobilenetv2_100") == ("timm", "mobilenetv2_100")
    assert zoo.resolve("timm/resnet50.a1_in1k") == ("timm", "resnet50.a1_in1k")
    assert zoo.resolve("digits") == zoo.resolve("embedded/digits") == ("embedded", "digits")


@pytest.mark.parametrize(("wrong", "right"), [("resnet5O", "resnet50"), ("timm/mobilenetv2_10", "mobilenetv2_100")])
def test_a_misspelt_name_gets_the_nearest_real_ones(wrong: str, right: str) -> None:
    with pytest.raises(ModelError, match=right):
        zoo.resolve(wrong)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weight_files_are_read_in_every_common_wrapping(
    small: nn.Module, tmp_path: Path, suffix: str, wrapper: str | None, prefix: str
) -> None:
    state = {f"{prefix}{name}": tensor.half() if tensor.is_floating_point() else tensor
             for name, tensor in small.state_dict().items()}  # fmt: skip
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    read = zoo.read_weights(path)
    assert read.keys() == small.state_dict().keys()
    assert all(tensor.dtype != torch.float16 for tensor in read.values())


def test_weights_of_another_network_are_refused_with_what_differs(small: nn.Module, tmp_path: Path) -> None:
    torch.save(small.state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not those of torchvision/mobilenet_v2: \d+ tensors missing"):
        load("torchvision/mobilenet_v2", weights=tmp_path / "w.pth")


def test_the_number_of_classes_is_that_of_the_file(tmp_path: Path) -> None:
    torch.save(load("timm/mobilenetv3_small_050", pretrained=False).model.state_dict(), tmp_path / "full.pth")
    state = zoo.read_weights(tmp_path / "full.pth")
    state |= {"classifier.weight": state["classifier.weight"][:7], "classifier.bias": state["classifier.bias"][:7]}
    torch.save(state, tmp_path / "seven.pth")
    loaded = load("timm/mobilenetv3_small_050", weights=tmp_path / "seven.pth")
    assert loaded.model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert not loaded.model.training


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code in a weight file ran')",))


@pytest.mark.parametrize("content", ["code", "garbage", "empty", "no tensors", "missing"])
def test_files_that_hold_no_weights_are_refused_and_code_in_them_never_runs(tmp_path: Path, content: str) -> None:
    path = tmp_path / "w.pth"
    if content == "code":
        torch.save({"w": Evil()}, path)
    elif content == "no tensors":
        torch.save({"epoch": 1}, path)
    elif content != "missing":
        path.write_bytes(b"" if content == "empty" else b"not a checkpoint")
    with pytest.raises(WeightsError):
        zoo.read_weights(path)


def test_constructor_keywords_are_read_as_numbers_flags_or_text() -> None:
    pairs = ["pad_type=same", "num_classes=7", "drop_rate=0.5", "aux=False", "norm=none"]
    assert zoo.parse_arguments(pairs) == {
        "pad_type": "same", "num_classes": 7, "drop_rate": 0.5, "aux": False, "norm": None,
    }  # fmt: skip
    with pytest.raises(ModelError, match="NAME=VALUE"):
        zoo.parse_arguments(["pad_type"])
    with pytest.raises(ModelError, match="does not take these arguments"):
        load("torchvision/resnet18", card=zoo.ModelCard(arguments={"no_such_option": 1}), pretrained=False)


def test_random_weights_are_the_same_every_time_and_leave_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    first, second = (load(SMALL, pretrained=False).model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_torchvision_is_imported_once_and_a_repair_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    import_torchvision()
    with caplog.at_level(logging.WARNING):
        assert import_torchvision().models.resnet18 is not None
    assert not caplog.records


def test_torchvision_imports_in_a_process_whose_operators_are_missing() -> None:
    script = (
        "import torch, sys; from l2caf.torchvision_compat import import_torchvision;"
        "m = import_torchvision().models.get_model('mobilenet_v3_small', weights=None).eval();"
        "print(tuple(m(torch.zeros(1, 3, 32, 32)).shape))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "(1, 1000)"
    assert done.stderr.count("operators do not fit") <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"size": 0}', r"size \(0, 0\), expected pixels from 1"),
        ('{"size": [224]}', r"size \(224,\)"),
        ('{"mean": [0.5, 0.4], "std": 0}', r"mean \(0.5, 0.4\), expected one finite number.*; std \(0,\)"),
        ('{"std": [0.2, 0.0, 0.2]}', "expected one positive number"),
        ('{"mean": [NaN]}', r"mean \(nan,\)"),
        ('{"fit": "stretch"}', "fit 'stretch', expected one of squash, crop"),
        ('{"frames": 0}', "frames 0, expected a number from 1"),
    ],
)
def test_a_card_by_which_no_picture_can_be_fed_names_itself_and_what_is_wrong(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "net.json").write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=rf"net\.json: a picture cannot be fed to a network with .*{message}"):
        zoo.ModelCard.read(tmp_path / "net.json")
