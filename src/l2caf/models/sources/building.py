"""Calling a library's constructor: keywords that it refuses, and the number of classes that a weight file has."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from l2caf.errors import ModelError
from l2caf.models.weight_files import WeightFile

Constructor = Callable[..., nn.Module]


def built(constructor: Constructor, name: str, arguments: Mapping[str, object]) -> nn.Module:
    """Make a network.

    Args:
        constructor: what makes the network from its name and keywords.
        name: the network's name in its library.
        arguments: the keywords.

    Returns:
        The network.

    Raises:
        ModelError: if the constructor does not take the keywords.
    """
    try:
        return constructor(name, **arguments)
    except TypeError as error:
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
    reshaped = [] if file is None else file.reshaped(model)
    if (
        file is None
        or not reshaped
        or "num_classes" in arguments
        or any(file.tensors[key].dim() == 0 for key in reshaped)
    ):
        return model, arguments.get("num_classes")
    # If only the last layer's tensors have other shapes, their first axis in the file is the number of classes.
    numbers = {file.tensors[key].shape[0] for key in reshaped}
    if len(numbers) != 1:
        return model, None
    n_classes = numbers.pop()
    return built(constructor, name, {**arguments, "num_classes": n_classes}), n_classes


def no_weights(name: str, place: Path) -> str:
    """The sentence about published weights that are not on this machine and cannot be downloaded.

    Args:
        name: the full name of the network.
        place: where the library keeps what it downloaded.

    Returns:
        What is missing and what to do.
    """
    return (
        f"the weights of {name} are not here and cannot be downloaded; either give a file with --weights FILE, "
        f"or run once on a connected machine and copy its cache to {place}"
    )
