"""timm's networks, with weights from the Hugging Face hub."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from torch import nn

from l2caf.errors import WeightsError
from l2caf.extras import require
from l2caf.models.card import ModelCard
from l2caf.models.hub import only_cache_if_unreachable
from l2caf.models.source import Library, Wanted, enter
from l2caf.models.sources.building import Constructor, built, built_for, no_weights
from l2caf.models.weight_files import WeightFile
from l2caf.torchvision_compat import import_torchvision

FOLDER: Final = "local-dir:"
PLACES: Final = (FOLDER, "hf-hub:")  # timm's own names for places; what follows is a name there


def import_timm() -> ModuleType:
    """timm, which imports torchvision, whose operators may have to be declared first."""
    import_torchvision()
    return require("timm", extra="timm")


@enter
class Timm(Library):
    """What `timm.list_models` lists, with or without the tag of its weights, such as `resnet50.a1_in1k`.

    Also `hf-hub:OWNER/NAME`, any network of timm on the Hugging Face hub, and `local-dir:FOLDER`, such a network in a
    folder with its `config.json`.
    """

    prefix = "timm"
    loads_files = True

    def names(self) -> Sequence[str]:
        """Every architecture."""
        return import_timm().list_models()

    def find(self, name: str) -> str | None:
        """The name with its tag, if timm has the architecture, or the name of another place where it looks."""
        return name if name.startswith(PLACES) or name.partition(".")[0] in self.names() else None

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """The network, and the card that timm's configuration gives; labels only if they are in its folder."""
        create, arguments = import_timm().create_model, wanted.card.arguments
        with _only_errors_logged():
            if wanted.published:
                model = _published(create, name, arguments)
            elif wanted.file is None:
                model = built(create, name, arguments)
            else:
                model = _from_file(create, name, wanted.file, arguments)
        config = require("timm.data.config", extra="timm").resolve_data_config({}, model=model)
        _, height, width = config["input_size"]
        labels = _labels(model)
        return model, ModelCard(
            size=(height, width), mean=tuple(config["mean"]), std=tuple(config["std"]), labels=labels
        )


def _published(create: Constructor, name: str, arguments: Mapping[str, object]) -> nn.Module:
    asked = {**arguments, "pretrained": True}
    try:
        if name.startswith(FOLDER):
            return built(create, name, asked)
        with only_cache_if_unreachable():
            return built(create, name, asked)
    except (OSError, RuntimeError) as error:
        if name.startswith(FOLDER):
            raise WeightsError(f"timm/{name} cannot be loaded: {str(error).splitlines()[0]}") from error
        raise WeightsError(no_weights(f"timm/{name}", Path("~/.cache/huggingface"))) from error


def _from_file(create: Constructor, name: str, file: WeightFile, arguments: Mapping[str, object]) -> nn.Module:
    """The network with the weights of a file that it wrote itself, or of one that timm can convert."""
    model, n_classes = built_for(file, create, name, arguments)
    config: Any = model.pretrained_cfg
    # Some published files have outputs before the first class, which timm leaves out.
    has_offset = bool(config.get("label_offset")) and "num_classes" not in arguments
    is_whole = has_offset and n_classes == config["num_classes"] + config["label_offset"]
    if file.fits(model) and not is_whole:
        file.fit(model, f"timm/{name}")
        return model
    told: dict[str, object] = {"state_dict": file.state_for(model), "source": None}
    if n_classes is not None and not is_whole:
        arguments = {**arguments, "num_classes": n_classes}
        told |= {"num_classes": n_classes, "label_offset": 0}
    try:
        converted: Any = create(name, **{**arguments, "pretrained": True, "pretrained_cfg_overlay": told})
    except (RuntimeError, LookupError, ValueError, AttributeError):
        file.fit(model, f"timm/{name}")  # says what differs
        raise
    del converted.pretrained_cfg["state_dict"]
    return converted


def _labels(model: Any) -> tuple[str, ...] | None:
    """Names of the outputs, where the configuration beside the weights gives one for each."""
    names, told = model.pretrained_cfg.get("label_names"), model.pretrained_cfg.get("label_descriptions") or {}
    if not names or len(names) != model.num_classes:
        return None
    return tuple(told.get(name, name) for name in names)


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
