"""Networks of the user's own code, by where they are: `package.module:constructor`."""

import importlib
from collections.abc import Sequence

from torch import nn

from l2caf.errors import ModelError
from l2caf.models.card import ModelCard
from l2caf.models.source import Library, Wanted, enter


@enter
class Python(Library):
    """A class or function that can be imported, such as `monai.networks.nets:DenseNet121`."""

    prefix = "python"

    def names(self) -> Sequence[str]:
        """None: what a user's code offers is not known."""
        return ()

    def find(self, name: str) -> str | None:
        """The name itself if it has a colon, which no other source allows."""
        return name if ":" in name else None

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """What the imported constructor makes, with its own weights unless there is a file, and an empty card."""
        place, _, attribute = name.partition(":")
        try:
            constructor = getattr(importlib.import_module(place), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ModelError(
                f"network {name!r} cannot be imported: {error}; expected package.module:constructor"
            ) from error
        try:
            model = constructor(**wanted.card.arguments)
        except TypeError as error:
            raise ModelError(f"network {name!r} does not take these arguments: {error}") from error
        if not isinstance(model, nn.Module):
            raise ModelError(f"{name!r} made a {type(model).__name__}; expected a torch.nn.Module")
        return model, ModelCard()
