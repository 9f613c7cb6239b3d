"""Weight files: what they hold, and whether it is what a network needs."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf.errors import WeightsError

WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "model_ema")
PREFIXES: Final = ("module.", "_orig_mod.")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """The tensors of a weight file.

    Attributes:
        path: the file, for messages.
        tensors: the tensors by their names in the network.
    """

    path: Path
    tensors: Mapping[str, Tensor]

    def reshaped(self, model: nn.Module) -> list[str]:
        """Names of the tensors that have another shape here than in a network."""
        own = model.state_dict()
        return [name for name in own if name in self.tensors and own[name].shape != self.tensors[name].shape]

    def fit(self, model: nn.Module, name: str) -> None:
        """Load the tensors into a network.

        Args:
            model: the network; it is changed in place.
            name: the network's name, for messages.

        Raises:
            WeightsError: if a tensor is missing, unknown to the network, or of another shape.
        """
        own = model.state_dict()
        # Files written before PyTorch 0.4.1 lack the counters of batch normalisation, which eval mode does not read.
        missing = [key for key in own if key not in self.tensors and not key.endswith("num_batches_tracked")]
        extra = [key for key in self.tensors if key not in own]
        shaped = self.reshaped(model)
        if missing or extra or shaped:
            first = (shaped or missing or extra)[0]
            raise WeightsError(
                f"weights {self.path} are not those of {name}: {len(missing)} tensors missing, {len(extra)} unknown, "
                f"{len(shaped)} of another shape (such as {first!r})"
            )
        model.load_state_dict(self.tensors, strict=False)


def read_weights(path: Path) -> WeightFile:
    """Read a weight file.

    Args:
        path: a .safetensors file, or a .pth, .pt or .bin file, which is read with `weights_only=True`.

    Returns:
        The tensors, taken out of the usual containers (`state_dict`, `model`) and without the prefixes that
        `DataParallel` and `torch.compile` put before names. Floating-point tensors are float32.

    Raises:
        WeightsError: if the file is missing or damaged, or holds code, or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path} do not exist")
    try:
        raw: object = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"weights {path} cannot be read: {reason}") from error
    tensors = {
        _bare(name): value.float() if value.is_floating_point() else value
        for name, value in _unwrapped(raw).items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise WeightsError(f"weights {path} hold no named tensors")
    return WeightFile(path, tensors)


def _unwrapped(raw: object) -> Mapping[str, object]:
    """The mapping inside a checkpoint's containers; an empty one if the checkpoint is no mapping at all."""
    if not isinstance(raw, Mapping):
        return {}
    for wrapper in WRAPPERS:
        inner = raw.get(wrapper)
        raw = inner if isinstance(inner, Mapping) else raw
    return raw


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name
