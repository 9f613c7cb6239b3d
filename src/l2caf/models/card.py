"""What a network wants to be fed and what its outputs are called: a model card.

A card is a small JSON file beside the weights (`weights.safetensors`, `weights.json`) with any of the fields of
`ModelCard`; the command line overrides it.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import index
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, TypedDict, get_args

from l2caf.errors import WeightsError, nearest

Fit = Literal["squash", "crop", "pad", "squash-crop"]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Channels = Literal["rgb", "bgr"]
Check = Callable[[Any], bool]


def _are_numbers(values: Sequence[float]) -> bool:
    return len(values) in {1, 3} and all(map(math.isfinite, values))


# What each field has to be. A check that raises TypeError, as for text in the place of a number, says no.
CHECKS: Final[Mapping[str, tuple[Check, str]]] = {
    "size": (lambda size: len(size) == 2 and min(map(index, size)) >= 1, "pixels from 1"),
    "mean": (_are_numbers, "one finite number, or one for each of three channels"),
    "std": (lambda std: _are_numbers(std) and min(std) > 0, "one positive number, or one for each of three channels"),
    "fit": (lambda fit: fit in get_args(Fit), f"one of {', '.join(get_args(Fit))}"),
    "crop": (lambda crop: 0 < crop <= 1, "a share of each side above 0 and up to 1"),
    "resample": (lambda how: how in get_args(Resample), f"one of {', '.join(get_args(Resample))}"),
    "channels": (lambda order: order in get_args(Channels), f"one of {', '.join(get_args(Channels))}"),
    "frames": (lambda frames: index(frames) >= 1, "a number from 1"),
}


def _check(said: Mapping[str, object]) -> None:
    wrong = [
        f"{name} {said[name]!r}, expected {expected}"
        for name, (is_right, expected) in CHECKS.items()
        if said.get(name) is not None and not _holds(is_right, said[name])
    ]
    if wrong:
        raise WeightsError(f"a picture cannot be fed to a network with {'; '.join(wrong)}")


def _holds(is_right: Check, value: object) -> bool:
    try:
        return is_right(value)
    except (TypeError, OverflowError):
        return False


class Feeding(TypedDict):
    """The keywords of `data.pictures.prepare`; those that are not required are left out where the default holds."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit
    crop: NotRequired[float]
    resample: NotRequired[Resample]
    channels: NotRequired[Channels]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """How to feed a network.

    Attributes:
        model: the network's name, as `load` takes it.
        arguments: keywords for the network's constructor.
        size: height and width of the input in pixels.
        mean: what is subtracted from pixels in [0, 1]; one number, or one for each channel.
        std: what the difference is divided by; one number, or one for each channel.
        fit: `"squash"` resizes the whole picture (the paper's own code does, and a map then covers all of it),
            `"crop"` resizes and takes the centre, `"pad"` keeps the whole picture and its aspect, `"squash-crop"`
            squashes and takes the central 7/8 (ADL's 224 of 256).
        crop: the central share of each side of that part which is taken, such as 0.875 for 224 of 256; by default 1.
            Not with `"pad"`.
        resample: how pictures are resized, by Pillow's name; by default `"bilinear"`.
        channels: their order, `"rgb"` by default, or `"bgr"`. Mean and std are in this order.
        labels: a name for each output, or the file that holds them, one a line.
        frames: how many frames a network that sees clips takes; None for one that sees pictures.
        trained_on: names of the classes that an embedding was trained on, if known. It is not evaluated on them.

    Raises:
        WeightsError: if a picture cannot be fed like that.
    """

    model: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: Fit | None = None
    crop: float | None = None
    resample: Resample | None = None
    channels: Channels | None = None
    labels: tuple[str, ...] | None = None
    frames: int | None = None
    trained_on: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check({name: getattr(self, name) for name in CHECKS})

    def over(self, other: "ModelCard") -> "ModelCard":
        """A card with the fields of this one, and those of `other` where this one says nothing."""
        missing = {f.name: getattr(other, f.name) for f in fields(self) if getattr(self, f.name) in (None, {})}
        return replace(self, **missing)

    @property
    def feeding(self) -> Feeding:
        """How pictures are prepared, defaults filled in: 224 x 224, pixels in [0, 1], the whole picture."""
        feeding: Feeding = {
            "size": self.size or (224, 224),
            "mean": self.mean or (0.0,),
            "std": self.std or (1.0,),
            "fit": self.fit or "squash",
        }
        if self.crop is not None:
            feeding["crop"] = self.crop
        if self.resample is not None:
            feeding["resample"] = self.resample
        if self.channels is not None:
            feeding["channels"] = self.channels
        return feeding

    @classmethod
    def beside(cls, weights: Path) -> "ModelCard":
        """Read the card beside a weight file.

        Args:
            weights: the weight file, or a folder of weights, whose card is `model.json` in it.

        Returns:
            The card; an empty one if there is no such file.

        Raises:
            WeightsError: if the card cannot be read, is no JSON object, or has a field that does not exist.
        """
        path = weights / "model.json" if weights.is_dir() else weights.with_suffix(".json")
        return cls.read(path) if path.is_file() else cls()

    @classmethod
    def read(cls, path: Path) -> "ModelCard":
        """Read a card from a file.

        Args:
            path: a JSON file.

        Returns:
            The card. A file of labels is looked for beside it.

        Raises:
            WeightsError: if the file cannot be read, is no JSON object, or has a field that does not exist, or if a
                picture cannot be fed like that.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"model card {path} cannot be read: {error}") from error
        if type(content) is not dict:
            raise WeightsError(f"model card {path} holds no JSON object")
        known = [f.name for f in fields(cls)]
        for name in content:
            if name not in known:
                raise WeightsError(f"model card {path} has an unknown field {name!r}{nearest(name, known)}")
        said = {name: _from_json(name, value, path.parent) for name, value in content.items()}
        try:
            _check(said)
        except WeightsError as error:
            raise WeightsError(f"model card {path}: {error}") from error
        return cls(**said)


def _from_json(name: str, value: object, folder: Path) -> Any:
    """A field's value as `ModelCard` holds it; one number may stand for several, and a file name for labels."""
    match name, value:
        case "size", int():
            return (value, value)
        case "mean" | "std", int() | float():
            return (value,)
        case "labels", str():
            return read_labels(folder / value)
        case _, list():
            return tuple(value)
    return value


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the names of a network's outputs.

    Args:
        path: a text file with one name a line. A number at the beginning of a line is dropped if it is the output's.

    Returns:
        The names.

    Raises:
        WeightsError: if the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise WeightsError(f"labels {path} cannot be read: {error}") from error
    return tuple(_without_number(line.strip(), number) for number, line in enumerate(lines))


def _without_number(line: str, number: int) -> str:
    first, _, rest = line.partition(" ")
    return rest.strip() if first.rstrip(":,.") == str(number) and rest.strip() else line
