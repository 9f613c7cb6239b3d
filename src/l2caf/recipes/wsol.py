"""The recipe of a localisation network: a classifier with GAP, ADL or ACoL, as in the paper's Table 2.

The run's folder ends with weights.safetensors, those with the least top-1 error, and weights.json, their model card, so
that `l2caf evaluate --model wsol/digits-adl --weights RUN/weights.safetensors` takes them.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from l2caf.errors import TrainingError, nearest
from l2caf.models import load, wsol
from l2caf.models.wsol.networks import new_layers, parts
from l2caf.models.wsol.trunks import BACKBONES
from l2caf.recipes.recipe import PictureRecipe, Preparation, publish_with_card, seeded
from l2caf.recipes.wsol_data import read_trees
from l2caf.training import Feed, Options, Task
from l2caf.training.feed import Items

ALIASES: Final = {"vgg16-gap": "vgg16", "resnet50-se": "resnet50se"}  # architectures as the literature calls them
EPOCHS: Final = 50


@dataclass(frozen=True, slots=True)
class LocalisationRecipe(PictureRecipe):
    """Fine-tune a classifier for localisation.

    Attributes:
        data: the pictures, as `wsol_data.read_trees` takes them.
        network: the name of the network, such as `vgg16-adl`.
        epochs: passes over the data, where the options name no number of steps.
    """

    data: str
    network: str
    epochs: int = field(default=EPOCHS, kw_only=True)

    def prepare(self, options: Options) -> Preparation:
        """Read the pictures and build the network, as `Recipe.prepare` says."""
        card = wsol.card(self.network)
        card = replace(card, size=self.shape or card.size)
        trees = read_trees(self.data, card)
        feed = Feed(trees.train, self.batch_size, options.seed, self.workers)
        options = replace(options, steps=options.steps or self.epochs * feed.steps_per_epoch).checked()
        model = self._start(len(trees.classes), options.seed)
        settings = {
            "data": self.data, "network": self.network, "size": list(card.size or ()), "pretrained": self.pretrained,
            "n_pictures": len(trees.train), "n_classes": len(trees.classes),
        }  # fmt: skip
        validate = partial(self._validate, items=trees.validation)
        task = Task(model, feed, _loss, validate, new_layers=tuple(new_layers(model)), settings=settings)
        card = replace(card, arguments={"num_classes": len(trees.classes)}, labels=trees.classes)
        return Preparation(task, options, partial(publish_with_card, card=card))

    def _start(self, n_classes: int, seed: int) -> nn.Module:
        architecture, _ = parts(self.network)
        with seeded(seed):
            backbone = load(BACKBONES[architecture], weights=self.backbone).model if self.pretrained else None
            return wsol.build(self.network, num_classes=n_classes, backbone=backbone)

    def _validate(self, model: nn.Module, items: Items) -> dict[str, float]:
        right = sum(int((logits.argmax(1) == labels).sum()) for logits, labels in self.answers(model, items))
        return {"top1_error": 1 - right / len(items)}


def _loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
    """Cross entropy, summed over the heads where there are two."""
    inputs, labels = batch
    heads = model(inputs, labels)
    return torch.stack([nn.functional.cross_entropy(logits.float(), labels) for logits in heads]).sum()


def network(architecture: str, method: str) -> str:
    """The name of a localisation network.

    Args:
        architecture: the trunk, such as `vgg16-gap`, `resnet50-se`, `googlenet` or `digits`.
        method: `gap`, `adl` or `acol`.

    Returns:
        A name such as `vgg16-adl`.

    Raises:
        TrainingError: if there is no such architecture or method.
    """
    known = sorted({*BACKBONES, *ALIASES})
    if architecture not in known:
        raise TrainingError(
            f"unknown architecture {architecture!r}{nearest(architecture, known)}; expected one of {', '.join(known)}"
        )
    name = f"{ALIASES.get(architecture, architecture)}-{method}"
    if name not in wsol.names():
        raise TrainingError(f"unknown method {method!r}; expected gap, adl or acol")
    return name
