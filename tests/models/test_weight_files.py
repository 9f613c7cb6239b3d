import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from l2caf.errors import WeightsError
from l2caf.models import load
from l2caf.models.weight_files import read_weights

SMALL = "torchvision/mobilenet_v3_small"


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return load(SMALL, pretrained=False).model


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
    read = read_weights(path).tensors
    assert read.keys() == small.state_dict().keys()
    assert all(tensor.dtype != torch.float16 for tensor in read.values())


def test_weights_of_another_network_are_refused_with_what_differs(small: nn.Module, tmp_path: Path) -> None:
    torch.save(small.state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not those of torchvision/mobilenet_v2: \d+ tensors missing"):
        load("torchvision/mobilenet_v2", weights=tmp_path / "w.pth")


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
        read_weights(path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_the_hub_is_read_whether_its_weights_lie_in_one_file_or_in_several(
    small: nn.Module, tmp_path: Path, name: str
) -> None:
    state = small.state_dict()
    half = len(state) // 2
    parts = {f"1-{name}": list(state)[:half], f"2-{name}": list(state)[half:]}
    for part, keys in parts.items():
        some = {key: state[key] for key in keys}
        (save_file if name.endswith("safetensors") else torch.save)(some, tmp_path / part)
    (tmp_path / f"{name}.index.json").write_text(
        json.dumps({"weight_map": {key: part for part, keys in parts.items() for key in keys}})
    )
    assert read_weights(tmp_path).tensors.keys() == state.keys()
    (tmp_path / f"2-{name}").unlink()
    with pytest.raises(WeightsError, match=f"2-{name} cannot be read"):
        read_weights(tmp_path)


def test_a_card_of_a_folder_lies_in_it(small: nn.Module, tmp_path: Path) -> None:
    save_file(small.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text('{"size": 96}')
    assert load(SMALL, weights=tmp_path).card.size == (96, 96)


def test_what_torch_notes_beside_the_tensors_is_kept(small: nn.Module, tmp_path: Path) -> None:
    torch.save(nn.DataParallel(small).state_dict(), tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").versions["features.0.1"] == {"version": 2}
