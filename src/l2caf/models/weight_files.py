"""Weight files: what they hold, and whether it is what a network needs."""

import json
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf.errors import WeightsError

WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "model_ema")
PREFIXES: Final = ("module.", "_orig_mod.")
IN_FOLDERS: Final = ("model.safetensors", "pytorch_model.bin")  # what `save_pretrained` and the Hugging Face hub write


@dataclass(frozen=True, slots=True)
class WeightFile:
    """The tensors of a weight file.

    Attributes:
        path: the file or folder, for messages.
        tensors: the tensors by their names in the network.
        versions: what torch notes beside them of the modules that wrote them, by module; empty where the file has
            no such notes.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    versions: Mapping[str, object] = field(default_factory=dict)

    def state_for(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors as `model.load_state_dict` takes them, in a new dictionary.

        Args:
            model: the network that will take them. A file without notes counts as one of its present version.

        Returns:
            The tensors by name, with the notes from which torch tells files of older versions of a network.
        """
        state = OrderedDict(self.tensors)
        present = vars(model.state_dict())["_metadata"]
        vars(state)["_metadata"] = self.versions or {"": present[""]}
        return state

    def reshaped(self, model: nn.Module) -> list[str]:
        """Names of the tensors that have another shape here than in a network."""
        own = model.state_dict()
        return [name for name in own if name in self.tensors and own[name].shape != self.tensors[name].shape]

    def n_classes(self, model: nn.Module) -> int | None:
        """The number of classes for which a network would have the shapes of the file.

        Args:
            model: the network with any number of classes.

        Returns:
            The first axis of those tensors whose other axes are the network's own, if it is one number; else None.
        """
        own = model.state_dict()
        pairs = [(self.tensors[name].shape, own[name].shape) for name in self.reshaped(model)]
        first = {here[0] for here, there in pairs if here and there and here[1:] == there[1:]}
        return first.pop() if len(first) == 1 else None

    def fits(self, model: nn.Module) -> bool:
        """Whether the tensors are those of a network, by name and shape."""
        return not any(self._differences(model))

    def _differences(self, model: nn.Module) -> tuple[list[str], list[str], list[str]]:
        """Names that a network has and the file lacks, the other way round, and of tensors of another shape."""
        own = model.state_dict()
        # Files written before PyTorch 0.4.1 lack the counters of batch normalisation, which eval mode does not read.
        missing = [key for key in own if key not in self.tensors and not key.endswith("num_batches_tracked")]
        extra = [key for key in self.tensors if key not in own]
        return missing, extra, self.reshaped(model)

    def fit(self, model: nn.Module, name: str) -> None:
        """Load the tensors into a network.

        Args:
            model: the network; it is changed in place.
            name: the network's name, for messages.

        Raises:
            WeightsError: if a tensor is missing, unknown to the network, or of another shape.
        """
        missing, extra, shaped = self._differences(model)
        if missing or extra or shaped:
            first = (shaped or missing or extra)[0]
            raise WeightsError(
                f"weights {self.path} are not those of {name}: {len(missing)} tensors missing, {len(extra)} unknown, "
                f"{len(shaped)} of another shape (such as {first!r})"
            )
        model.load_state_dict(self.state_for(model), strict=False)


def read_weights(path: Path) -> WeightFile:
    """Read a weight file.

    Args:
        path: a .safetensors file, or a .pth, .pt or .bin file, which is read with `weights_only=True`; or a folder
            that `save_pretrained` or the Hugging Face hub wrote, whose weights may lie in several files.

    Returns:
        The tensors, taken out of the usual containers (`state_dict`, `model`) and without the prefixes that
        `DataParallel` and `torch.compile` put before names. Floating-point tensors are float32.

    Raises:
        WeightsError: if the file is missing or damaged, or holds code, or holds no tensors.
    """
    tensors: dict[str, Tensor] = {}
    versions: dict[str, object] = {}
    for file in _files(path):
        state = _unwrapped(_read(file))
        tensors |= {
            _bare(name): value.float() if value.is_floating_point() else value
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        versions |= {_bare(f"{name}.")[:-1]: note for name, note in getattr(state, "_metadata", {}).items()}
    if not tensors:
        raise WeightsError(f"weights {path} hold no named tensors")
    return WeightFile(path, tensors, versions)


def _files(path: Path) -> Iterator[Path]:
    """The files that hold the weights at a path."""
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise WeightsError(f"weights {path} do not exist")
    for name in IN_FOLDERS:
        if (path / name).is_file():
            yield path / name
            return
        index = path / f"{name}.index.json"  # of weights in several files
        if index.is_file():
            yield from _parts(index)
            return
    raise WeightsError(f"folder {path} holds no weights; expected {' or '.join(IN_FOLDERS)}")


def _parts(index: Path) -> list[Path]:
    try:
        names: set[str] = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(f"weights {index} cannot be read: {error}") from error
    return [index.parent / name for name in sorted(names)]


def _read(file: Path) -> object:
    try:
        return load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"weights {file} cannot be read: {reason}") from error


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
