"""torchvision's classifiers of pictures and of clips."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from l2caf.errors import ModelError, WeightsError, nearest
from l2caf.models.card import ModelCard
from l2caf.models.source import Library, Wanted, enter
from l2caf.models.sources.building import Constructor, built, built_for, no_weights
from l2caf.models.weight_files import WeightFile
from l2caf.torchvision_compat import import_torchvision

CLIP_FRAMES: Final = {"s3d": 128, "swin3d_t": 32, "swin3d_s": 32, "swin3d_b": 32}  # the others were trained on 16
# What their published weights imply, so that they are fed alike with other weights. torchvision warns unless
# `init_weights` is given.
IMPLIED: Final[Mapping[str, Mapping[str, object]]] = {
    "googlenet": {"init_weights": False, "transform_input": True, "aux_logits": False},
    "inception_v3": {"init_weights": False, "transform_input": True},
}
Weights = Any  # a member of one of torchvision's enumerations of published weights
AUXILIARY: Final = ("aux1.", "AuxLogits.")  # names of the tensors of auxiliary classifiers begin so


@enter
class TorchVision(Library):
    """What `torchvision.models` and `torchvision.models.video` list.

    The argument `weights` names other published weights than torchvision's newest ones, such as `IMAGENET1K_V1`.
    """

    prefix = "torchvision"
    loads_files = True

    def names(self) -> Sequence[str]:
        """Classifiers of pictures, then of clips."""
        models = import_torchvision().models
        return [name for module in (models, models.video) for name in models.list_models(module=module)]

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """The network, and the card of its published weights; without labels if it has another number of classes."""
        models = import_torchvision().models
        arguments = dict(wanted.card.arguments)
        published = _published(models.get_model_weights(name), arguments.pop("weights", None), wanted.file)
        if wanted.file is not None:
            model, n_classes = _from_file(models.get_model, name, published, wanted.file, arguments)
        elif wanted.published:
            model, n_classes = _downloaded(models.get_model, name, published[0], arguments), None
        else:
            model, n_classes = built_for(None, models.get_model, name, _plain(name, arguments, None))
        card = _card(name, published[0], model, is_of_clips=name in models.list_models(module=models.video))
        return model, card if n_classes in (None, len(card.labels or ())) else replace(card, labels=None)


def _published(every: type[Weights], asked: object, file: WeightFile | None) -> list[Weights]:
    """Published weights of a network, the likeliest first: those asked for, or those of the file's name, or all."""
    if asked is not None:
        name = str(asked)
        if name not in every.__members__:
            known = ", ".join(every.__members__)
            raise ModelError(f"no weights {asked!r} are published{nearest(name, every.__members__)}; {known} are")
        return [every[name]]
    whole = [every.DEFAULT, *(one for one in every if one.meta["categories"] is not None)]
    if file is not None:
        named = [one for one in whole if Path(one.url).name == file.path.name]
        if named:
            return named[:1]
    by_size: dict[object, Weights] = {}  # torchvision builds the same network for all others of one size
    for one in whole:
        by_size.setdefault((one.meta.get("min_size"), one.meta.get("min_temporal_size")), one)
    return list(by_size.values())


def _card(name: str, published: Weights, model: nn.Module, *, is_of_clips: bool) -> ModelCard:
    preset = published.transforms()
    side = getattr(model, "image_size", preset.crop_size[0])  # vision transformers take one size
    return ModelCard(
        size=(side, side),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        labels=tuple(published.meta["categories"]),
        frames=CLIP_FRAMES.get(name, 16) if is_of_clips else None,
    )


def _downloaded(constructor: Constructor, name: str, published: Weights, arguments: Mapping[str, object]) -> nn.Module:
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(published.url).name)
    try:
        return built(constructor, name, {**arguments, "weights": published})
    except OSError as error:
        raise WeightsError(no_weights(f"torchvision/{name}", cached)) from error
    except RuntimeError as error:  # of a download that was cut short
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"the weights of torchvision/{name} at {cached} are damaged: {reason}; remove them"
        ) from error


def _plain(name: str, arguments: Mapping[str, object], file: WeightFile | None) -> dict[str, object]:
    """Keywords of a network that torchvision gives no weights."""
    implied = dict(IMPLIED.get(name, {}))
    if implied and file is not None:
        implied["aux_logits"] = any(key.startswith(AUXILIARY) for key in file.tensors)
    return {**implied, **arguments, "weights": None}


def _from_file(
    constructor: Constructor, name: str, published: Sequence[Weights], file: WeightFile, arguments: Mapping[str, object]
) -> tuple[nn.Module, object]:
    """The network with the weights of a file, and its number of classes where that is not the published one."""
    # torchvision's own constructor is told that the file is what it has just downloaded, so that it makes of it what it
    # makes of its own files. Only those of networks with other keywords are loaded by the names of their tensors.
    skeleton = _skeleton(constructor, name, _plain(name, arguments, file))
    asked = arguments.get("num_classes")
    n_classes = asked if isinstance(asked, int) else file.n_classes(skeleton)
    for one in published:
        with suppress(ValueError, RuntimeError):  # other keywords than these weights imply, or other tensors
            return constructor(name, **{**arguments, "weights": _InFile(one, file, skeleton, n_classes)}), n_classes
    model, own = built_for(file, constructor, name, _plain(name, arguments, file))
    file.fit(model, f"torchvision/{name}")
    return model, own


def _skeleton(constructor: Constructor, name: str, arguments: Mapping[str, object]) -> nn.Module:
    """The network for its shapes alone."""
    try:
        with torch.device("meta"):
            return built(constructor, name, arguments)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return built(constructor, name, arguments)


class _InFile:
    """Published weights whose download is a file that is here; to torchvision a member of their own enumeration."""

    def __init__(self, published: Weights, file: WeightFile, skeleton: nn.Module, n_classes: int | None) -> None:
        self._published = published
        self._file = file
        self._skeleton = skeleton
        self.meta = dict(published.meta)
        if n_classes is not None:
            self.meta["categories"] = range(n_classes)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The enumeration, by which torchvision checks what it is given."""
        return type(self._published)

    def __getattr__(self, name: str) -> object:
        return getattr(self._published, name)

    def get_state_dict(self, *_: object, **__: object) -> dict[str, Tensor]:
        """What torchvision would download."""
        return self._file.state_for(self._skeleton)
