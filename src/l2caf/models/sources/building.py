"""Calling a library's constructor: keywords that it refuses, and the number of classes that a weight file has."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from l2caf.errors import ModelError
from l2caf.models.weight_files import WeightFile

Constructor = Callable[..., nn.Module]


def built(constructor: Constructor, name: str, arguments: Mapping[str, object]) -> nn.Module:
    """Make a network from its name in its library and keywords; raises `ModelError` for keywords that are refused."""
    try:
        return constructor(name, **arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(f"network {name!r} does not take these arguments: {error}") from error


def built_for(
    file: WeightFile | None, constructor: Constructor, name: str, arguments: Mapping[str, object]
) -> tuple[nn.Module, object]:
    """Make a network with as many classes as its weight file has.

    Args:
        file: the weight file; None where the weights stay random.
        constructor: what makes the network from its name and keywords.
        name: the network's name in its library.
        arguments: the keywords.

    Returns:
        The network, and its number of classes where a keyword or the file gives one; otherwise None.

    Raises:
        ModelError: if the constructor does not take the keywords.
    """
    model = built(constructor, name, arguments)
    n_classes = None if file is None else file.n_classes(model)
    if "num_classes" in arguments or n_classes is None:
        return model, arguments.get("num_classes")
    return built(constructor, name, {**arguments, "num_classes": n_classes}), n_classes


def no_weights(name: str, place: Path) -> str:
    """The sentence about published weights that cannot be downloaded; a library's cache is at `place`."""
    return (
        f"the weights of {name} are not here and cannot be downloaded; either give a file with --weights FILE, "
        f"or run once on a connected machine and copy its cache to {place}"
    )
