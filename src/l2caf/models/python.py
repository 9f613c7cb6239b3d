"""Networks of the user's own code, by where they are: `package.module:constructor`."""

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from l2caf.errors import ModelError


def from_python(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A network that importable code makes.

    Args:
        name: such as `monai.networks.nets:DenseNet121` or `my_networks:segmenter`: a class or a function.
        arguments: keywords for it.

    Returns:
        The network.

    Raises:
        ModelError: if there is no such code, it refuses the arguments, or what it returns is no network.
    """
    place, _, attribute = name.partition(":")
    try:
        constructor = getattr(importlib.import_module(place), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"network {name!r} cannot be imported: {error}; expected package.module:constructor"
        ) from error
    try:
        model = constructor(**arguments)
    except TypeError as error:
        raise ModelError(f"network {name!r} does not take these arguments: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name!r} made a {type(model).__name__}; expected a torch.nn.Module")
    return model
