"""The networks for weakly supervised localisation, whose weights `l2caf train wsol` makes."""

from collections.abc import Sequence

from torch import nn

from l2caf.errors import WeightsError
from l2caf.models import wsol
from l2caf.models.card import ModelCard
from l2caf.models.source import Library, Wanted, enter
from l2caf.models.sources.building import built_for


@enter
class Wsol(Library):
    """An architecture and a training, such as `wsol/vgg16-adl`."""

    prefix = "wsol"

    def names(self) -> Sequence[str]:
        """Every architecture with every training."""
        return wsol.names()

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """The network and its card; raises `WeightsError` without a weight file, as no weights are published."""
        if wanted.published:
            raise WeightsError(
                f"no weights of wsol/{name} are published; train it with `l2caf train wsol` and give --weights FILE"
            )
        model, _ = built_for(wanted.file, wsol.build, name, wanted.card.arguments)
        return model, wsol.card(name)
