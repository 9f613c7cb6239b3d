"""torchvision's classifiers of pictures and of clips."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import nn

from l2caf.errors import WeightsError
from l2caf.models.card import ModelCard
from l2caf.models.source import Library, Wanted, enter
from l2caf.models.sources.building import built, built_for, no_weights
from l2caf.torchvision_compat import import_torchvision

CLIP_FRAMES: Final = {"s3d": 128, "swin3d_t": 32, "swin3d_s": 32, "swin3d_b": 32}  # the others were trained on 16
ASK_HOW_TO_START: Final = ("googlenet", "inception_v3")  # torchvision warns unless `init_weights` is given


@enter
class TorchVision(Library):
    """What `torchvision.models` and `torchvision.models.video` list."""

    prefix = "torchvision"

    def names(self) -> Sequence[str]:
        """Classifiers of pictures, then of clips."""
        models = import_torchvision().models
        return [name for module in (models, models.video) for name in models.list_models(module=module)]

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """The network, and the card of its published weights; without labels if it has another number of classes."""
        models = import_torchvision().models
        weights = models.get_model_weights(name).DEFAULT
        preset = weights.transforms()
        card = ModelCard(
            size=(preset.crop_size[0], preset.crop_size[0]),
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            labels=tuple(weights.meta["categories"]),
            frames=CLIP_FRAMES.get(name, 16) if name in models.list_models(module=models.video) else None,
        )
        if not wanted.published:
            start = {"init_weights": False} if name in ASK_HOW_TO_START else {}
            arguments = {**start, **wanted.card.arguments, "weights": None}
            model, n_classes = built_for(wanted.file, models.get_model, name, arguments)
            return model, card if n_classes in (None, len(card.labels or ())) else replace(card, labels=None)
        try:
            return built(models.get_model, name, {**wanted.card.arguments, "weights": weights}), card
        except OSError as error:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise WeightsError(no_weights(f"torchvision/{name}", folder / Path(weights.url).name)) from error
