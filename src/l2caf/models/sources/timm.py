"""timm's networks, with weights from the Hugging Face hub."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from l2caf.errors import WeightsError
from l2caf.extras import require
from l2caf.models.card import ModelCard
from l2caf.models.hub import only_cache_if_unreachable
from l2caf.models.source import Library, Wanted, enter
from l2caf.models.sources.building import built, built_for, no_weights
from l2caf.torchvision_compat import import_torchvision


def import_timm() -> ModuleType:
    """timm, which imports torchvision, whose operators may have to be declared first."""
    import_torchvision()
    return require("timm", extra="timm")


@enter
class Timm(Library):
    """What `timm.list_models` lists, with or without the tag of its weights, such as `resnet50.a1_in1k`."""

    prefix = "timm"

    def names(self) -> Sequence[str]:
        """Every architecture."""
        return import_timm().list_models()

    def find(self, name: str) -> str | None:
        """The name with its tag, if timm has the architecture."""
        return name if name.partition(".")[0] in self.names() else None

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """The network, and the card that timm's configuration gives; labels are unknown."""
        create = import_timm().create_model
        arguments = {**wanted.card.arguments, "pretrained": wanted.published}
        with _only_errors_logged():
            if wanted.published:
                try:
                    with only_cache_if_unreachable():
                        model = built(create, name, arguments)
                except (OSError, RuntimeError) as error:
                    raise WeightsError(no_weights(f"timm/{name}", Path("~/.cache/huggingface"))) from error
            else:
                model, _ = built_for(wanted.file, create, name, arguments)
        config = require("timm.data.config", extra="timm").resolve_data_config({}, model=model)
        _, height, width = config["input_size"]
        return model, ModelCard(size=(height, width), mean=tuple(config["mean"]), std=tuple(config["std"]))


@contextmanager
def _only_errors_logged() -> Iterator[None]:
    """Keep timm's notes about its own weights out of the log of a command while a network is made."""
    log = logging.getLogger("timm")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
