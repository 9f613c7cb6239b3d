"""What a network wants to be fed and what its outputs are called: a model card.

A card is a small JSON file beside the weights (`weights.safetensors`, `weights.json`) with any of the fields of
`ModelCard`; the command line overrides it.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, get_args

from l2caf.errors import WeightsError, nearest

Fit = Literal["squash", "crop", "pad", "squash-crop"]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _are_numbers(values: object) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) in {1, 3}
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    )


CHECKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "size": (lambda size: isinstance(size, tuple) and len(size) == 2 and all(map(_is_count, size)), "pixels from 1"),
    "mean": (_are_numbers, "one finite number, or one for each of three channels"),
    "std": (lambda std: _are_numbers(std) and min(std) > 0, "one positive number, or one for each of three channels"),
    "fit": (lambda fit: fit in get_args(Fit), f"one of {', '.join(get_args(Fit))}"),
    "frames": (_is_count, "a number from 1"),
}


def _check(said: Mapping[str, Any]) -> None:
    wrong = [
        f"{name} {said[name]!r}, expected {expected}"
        for name, (is_right, expected) in CHECKS.items()
        if said.get(name) is not None and not is_right(said[name])
    ]
    if wrong:
        raise WeightsError(f"a picture cannot be fed to a network with {'; '.join(wrong)}")


class Feeding(TypedDict):
    """What `data.pictures.prepare` is to be told."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit


@dataclass(frozen=True, slots=True)
class ModelCard:
    """How to feed a network.

    Attributes:
        model: its name, as `zoo.load` takes it.
        arguments: keywords for its constructor.
        size: height and width of the input in pixels.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        fit: `"squash"` resizes the whole picture (the paper's own code does, and a map then covers all of it),
            `"crop"` resizes and takes the centre, `"pad"` keeps the whole picture and its aspect, `"squash-crop"`
            squashes and takes the central 7/8 (ADL's 224 of 256).
        labels: a name for each output, or the file that holds them, one a line.
        frames: how many frames a network that sees clips takes; None for one that sees pictures.
        trained_on: names of the classes an embedding was trained on, where that is known: it is not judged by them.

    Raises:
        WeightsError: if a picture cannot be fed like that.
    """

    model: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: Fit | None = None
    labels: tuple[str, ...] | None = None
    frames: int | None = None
    trained_on: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check({name: getattr(self, name) for name in CHECKS})

    def over(self, other: "ModelCard") -> "ModelCard":
        """This card, with `other` filling in what it does not say."""
        missing = {f.name: getattr(other, f.name) for f in fields(self) if getattr(self, f.name) in (None, {})}
        return replace(self, **missing)

    @property
    def feeding(self) -> Feeding:
        """How pictures are prepared, defaults filled in: 224 x 224, pixels in [0, 1], the whole picture."""
        return {
            "size": self.size or (224, 224),
            "mean": self.mean or (0.0,),
            "std": self.std or (1.0,),
            "fit": self.fit or "squash",
        }

    @classmethod
    def beside(cls, weights: Path) -> "ModelCard":
        """The card beside a weight file, or an empty one.

        Args:
            weights: the weight file.

        Returns:
            The card.

        Raises:
            WeightsError: if the card is no JSON object or has fields that do not exist.
        """
        path = weights.with_suffix(".json")
        return cls.read(path) if path.is_file() else cls()

    @classmethod
    def read(cls, path: Path) -> "ModelCard":
        """A card from a file.

        Args:
            path: a JSON file.

        Returns:
            The card; a label file is looked for beside it.

        Raises:
            WeightsError: if it cannot be read or has fields that do not exist.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"model card {path} cannot be read: {error}") from error
        known = [f.name for f in fields(cls)]
        if not isinstance(content, dict):
            raise WeightsError(f"model card {path} holds no JSON object")
        for name in content:
            if name not in known:
                raise WeightsError(f"model card {path} has an unknown field {name!r}{nearest(name, known)}")
        if isinstance(content.get("labels"), str):
            content["labels"] = read_labels(path.parent / content["labels"])
        said = {name: _as_field(name, value) for name, value in content.items()}
        try:
            _check(said)
        except WeightsError as error:
            raise WeightsError(f"model card {path}: {error}") from error
        return cls(**said)


def _as_field(name: str, value: object) -> Any:
    if name == "size" and isinstance(value, int):
        return (value, value)
    if name in {"mean", "std"} and isinstance(value, int | float):
        return (value,)
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def read_labels(path: Path) -> tuple[str, ...]:
    """Names of a network's outputs.

    Args:
        path: a text file, one name a line; a leading number is dropped.

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
