"""The networks whose weights this package carries."""

from collections.abc import Sequence

from torch import nn

from l2caf.errors import ModelError
from l2caf.models.card import ModelCard
from l2caf.models.embedded import DIGITS_CARD, digits
from l2caf.models.source import Library, Wanted, enter


@enter
class Embedded(Library):
    """`embedded/digits`, which needs no download."""

    prefix = "embedded"

    def names(self) -> Sequence[str]:
        """The one network."""
        return ("digits",)

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """The digits network and its card; raises `ModelError` for any keyword."""
        if wanted.card.arguments:
            raise ModelError(f"network 'embedded/{name}' takes no arguments; got {', '.join(wanted.card.arguments)}")
        return digits(pretrained=wanted.published), DIGITS_CARD
