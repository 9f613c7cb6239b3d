"""The recipe of an embedding network: a trunk and a linear layer learn a ranking loss, as in the paper's Table 3.

The run's folder ends with weights.safetensors, those with the highest Recall@1 on pictures that were not learnt from,
and weights.json, their model card, so that `l2caf retrieve -m retrieval/resnet50 --weights RUN/weights.safetensors`
takes them. The pictures that are not learnt from are every tenth training class; where there are fewer than 20
classes, the last fifth of each class's pictures; for digits, other handwriting on other photographs. The test classes
are not touched.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, cast

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from l2caf.data.digit_scenes import DigitScenes
from l2caf.data.digits import DIGITS_OF, drawn_pictures
from l2caf.data.retrieval_sets import Picture, RetrievalSet
from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError, TrainingError
from l2caf.models import LoadedModel, ModelCard, load
from l2caf.recipes.digits import augmented
from l2caf.recipes.recipe import PictureRecipe, Preparation, publish_with_card, seeded
from l2caf.recipes.wsol_data import DIGITS_JITTER, cropped, plain
from l2caf.retrieval import is_collapsed, recall_at
from l2caf.retrieval.search import Similarity
from l2caf.training import Feed, Options, Task

logger = logging.getLogger("l2caf")
STEPS: Final = 5000  # the paper's, supplementary S2
RATE: Final = 1e-4  # of AdamW; not in the paper
HELD_CLASSES: Final = 10  # one of so many training classes is held out
HELD_PICTURES: Final = 5  # one of so many pictures of a class is held out
FEW_CLASSES: Final = 20
DIGITS_VALIDATION: Final = 200

Item = tuple[Float[Tensor, "3 h w"], int]


@dataclass(frozen=True, slots=True)
class RetrievalRecipe(PictureRecipe):
    """Train an embedding network by a ranking loss.

    A batch holds fewer pictures than `batch_size` where the classes are too few for the loss to fill it.

    Attributes:
        data: the pictures, as `read_retrieval` takes them.
        network: the trunk, a network of torchvision or timm, or `digits`.
        loss: `triplet` or `npair`.
        dimensions: the length of the embedding.
    """

    data: str
    network: str
    loss: str
    dimensions: int = field(default=128, kw_only=True)

    def prepare(self, options: Options) -> Preparation:
        """Read the pictures and build the network, as `Recipe.prepare` says."""
        loaded = self._start(options.seed)
        data = _distinct(read_retrieval(self.data, "train", seed=options.seed))
        train, held_out = parted(data)
        learnt = LabelledPictures(train, loaded.card, _jittered if data.name == "digits" else cropped)
        options = replace(options, steps=options.steps or STEPS).checked()
        task = self._task(loaded.model, learnt, LabelledPictures(held_out, loaded.card), options.seed)
        card = replace(loaded.card, model=loaded.name, trained_on=data.classes)
        return Preparation(task, options, partial(publish_with_card, card=card))

    def _start(self, seed: int) -> LoadedModel:
        """The network before its first step; its linear layer is drawn by the seed of the run."""
        card = ModelCard(arguments={"dimensions": self.dimensions}, size=self.shape)
        loaded = load(f"retrieval/{self.network}", weights=self.backbone, card=card, pretrained=self.pretrained)
        with seeded(seed):
            cast("nn.Linear", loaded.model.get_submodule("projection")).reset_parameters()
        return loaded

    def _task(self, model: nn.Module, learnt: "LabelledPictures", held_out: "LabelledPictures", seed: int) -> Task:
        from l2caf.retrieval.losses import loss_named  # noqa: PLC0415  (an extra)

        ranking = loss_named(self.loss)
        if len(learnt) < self.batch_size:
            raise TrainingError(f"batch size {self.batch_size}: expected at most the {len(learnt)} pictures there are")
        batch_size = min(self.batch_size, ranking.per_class * len(set(learnt.labels)))
        sampler = ranking.sampler(learnt.labels, batch_size, length=len(learnt), seed=seed)

        def order(epoch: int) -> list[int]:
            sampler.epoch = epoch
            return list(sampler)

        def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
            inputs, labels = batch
            return ranking(model(inputs).float(), labels)

        settings = {
            "data": self.data, "network": self.network, "loss": self.loss, "dimensions": self.dimensions,
            "size": self.size, "pretrained": self.pretrained,
            "n_pictures": len(learnt), "n_validation": len(held_out),
        }  # fmt: skip
        metric: Similarity = "cosine" if ranking.is_normalized else "euclidean"
        return Task(
            model, Feed(learnt, batch_size, seed, self.workers, order), loss,
            partial(self._validate, items=held_out, metric=metric), merit="recall_error",
            new_layers=(model.get_submodule("projection"),), settings=settings,
        )  # fmt: skip

    def _validate(self, model: nn.Module, items: "LabelledPictures", metric: Similarity) -> dict[str, float]:
        embeddings, labels = map(torch.cat, zip(*self.answers(model, items), strict=True))
        if is_collapsed(embeddings):  # all pictures are equally near, so that none is retrieved
            return {"recall_error": 1.0, "recall_at_1": 0.0}
        recall = recall_at(embeddings, labels, ks=(1,), metric=metric)[1]
        return {"recall_error": 1 - recall, "recall_at_1": recall}


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Pictures of a retrieval set as a network takes them, with their classes.

    Attributes:
        pictures: pictures of the set.
        card: how the network is fed.
        change: turns a picture into the network's input, as the card says; it is random where the network learns.
    """

    pictures: Sequence[Picture]
    card: ModelCard
    change: Callable[[Image.Image, ModelCard], Float[Tensor, "3 h w"]] = plain

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Item:
        picture = self.pictures[index]
        return self.change(picture.read(), self.card), picture.label

    @property
    def labels(self) -> list[int]:
        """The class of every picture."""
        return [picture.label for picture in self.pictures]


def parted(data: RetrievalSet) -> tuple[list[Picture], list[Picture]]:
    """Divide training classes into pictures to learn from and pictures to validate on.

    Args:
        data: the training classes; classes of a single picture are left out.

    Returns:
        Pictures to learn from and pictures to validate on.

    Raises:
        DataError: if fewer than two classes are left to learn from, or none to validate on.
    """
    lone = set(data.lone)
    kept = [picture for picture in data.pictures if data.classes[picture.label] not in lone]
    labels = sorted({picture.label for picture in kept})
    if data.name == "digits":
        scenes = DigitScenes("validation", objects=1, length=DIGITS_VALIDATION, classes=DIGITS_OF["train"], seed=1)
        return kept, list(drawn_pictures(scenes))
    if len(labels) >= FEW_CLASSES:
        chosen = set(labels[HELD_CLASSES // 2 :: HELD_CLASSES])
        held_out = [picture for picture in kept if picture.label in chosen]
    else:
        by_class = ([picture for picture in kept if picture.label == label] for label in labels)
        held_out = [picture for members in by_class for picture in _last_fifth(members)]
    names = {picture.name for picture in held_out}
    learnt = [picture for picture in kept if picture.name not in names]
    if len({picture.label for picture in learnt}) < 2 or not _has_pairs(held_out):
        raise DataError(
            f"{data.name}: {len(labels)} training classes of two pictures or more, {len(learnt)} pictures to learn "
            f"from, {len(held_out)} to validate on; ranking needs two classes, and two pictures of one to validate"
        )
    return learnt, held_out


def _distinct(data: RetrievalSet) -> RetrievalSet:
    """The data without copies; the log says which pictures are missing or left out."""
    distinct, copies = data.without_copies()
    for what, which in (
        ("missing pictures", data.missing),
        ("copies of other pictures, left out", copies),
        ("classes of one picture, which nothing is like, left out", distinct.lone),
    ):
        if which:
            logger.warning("%s: %d, such as %s", what, len(which), which[0])
    return distinct


def _jittered(picture: Image.Image, card: ModelCard) -> Float[Tensor, "3 h w"]:
    """A scene as the network takes it, with its channels shuffled, slightly sheared and scaled."""
    return augmented(plain(picture, card)[None], DIGITS_JITTER)[0]


def _last_fifth(members: list[Picture]) -> list[Picture]:
    """The last fifth of a class and two pictures at least; none where fewer than two would be left to learn from."""
    count = max(2, len(members) // HELD_PICTURES)
    return members[-count:] if len(members) >= count + 2 else []


def _has_pairs(pictures: Sequence[Picture]) -> bool:
    return len({picture.label for picture in pictures}) < len(pictures)
