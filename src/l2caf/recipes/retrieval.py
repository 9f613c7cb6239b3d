"""Train an embedding network by a ranking loss: what, from what and how; `training` does the rest.

The run's folder ends with weights.safetensors, those with the highest Recall@1 on pictures that were not learnt from,
and weights.json, their model card, so that `l2caf retrieve -m retrieval/resnet50 --weights RUN/weights.safetensors`
takes them. Not learnt from is every tenth training class; where there are fewer than 20, the last fifth of each class's
pictures; of digits, other handwriting on other photographs. The test classes are left alone.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from l2caf.data.digit_scenes import DigitScenes
from l2caf.data.digits import DIGITS_OF, drawn_pictures
from l2caf.data.retrieval_sets import Picture, RetrievalSet
from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError, TrainingError
from l2caf.models import LoadedModel, ModelCard, load
from l2caf.recipes.digits import augmented
from l2caf.recipes.wsol import publish
from l2caf.recipes.wsol_data import DIGITS_JITTER, cropped, plain
from l2caf.retrieval import is_collapsed, recall_at
from l2caf.training import Feed, Options, Result, Task, fit
from l2caf.training.feed import Items, in_order

logger = logging.getLogger("l2caf")
STEPS: Final = 5000  # the paper's, supplementary S2
RATE: Final = 1e-4  # of AdamW; not in the paper
HELD_CLASSES: Final = 10  # of so many training classes one is held out
HELD_PICTURES: Final = 5  # of so many pictures of a class one
FEW_CLASSES: Final = 20
DIGITS_VALIDATION: Final = 200

FREE: Final = ("workers", "backbone", "batch_size")  # the feed knows its batches

Item = tuple[Float[Tensor, "3 h w"], int]


@dataclass(frozen=True, slots=True)
class Request:
    """One embedding network to train.

    Attributes:
        data: as `read_retrieval` takes it.
        network: of torchvision or timm, or `digits`: the trunk.
        loss: `triplet` or `npair`.
        dimensions: of the embedding.
        batch_size: pictures per step; fewer where there are too few classes for the loss to fill it.
        workers: processes that read pictures.
        size: side of the input in pixels; None for the network's own.
        pretrained: start from the classifier's weights, not at random.
        backbone: their file; None for the library's own download.
    """

    data: str
    network: str
    loss: str
    dimensions: int = 128
    batch_size: int = 32
    workers: int = 0
    size: int | None = None
    pretrained: bool = True
    backbone: Path | None = None


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of a retrieval set as a network takes them, with their classes.

    Attributes:
        pictures: of the set.
        card: how to feed the network.
        change: of a picture and the card; random where training.
    """

    pictures: Sequence[Picture]
    card: ModelCard
    change: Callable[[Any, ModelCard], Float[Tensor, "3 h w"]] = plain

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Item:
        picture = self.pictures[index]
        return self.change(picture.read(), self.card), picture.label

    @property
    def labels(self) -> list[int]:
        """The class of every picture."""
        return [picture.label for picture in self.pictures]


def train_retrieval(
    request: Request,
    options: Options,
    output: Path,
    *,
    resume: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Result:
    """Train one network.

    Args:
        request: what, from what.
        options: how; with `steps` 0, the paper's 5000.
        output: folder of the run.
        resume: take up a run that stopped.
        report: called with steps done and in all.

    Returns:
        What the run came to; its figure of merit is 1 - Recall@1. The weights lie in the folder.

    Raises:
        TrainingError: if the run cannot be started, taken up or go on.
        DataError: if the data cannot be read, or leave nothing to rank.
        WeightsError: if the weights to start from cannot be had.
        ExtraMissingError: if pytorch-metric-learning is not installed.
    """
    loaded = _start(request, options.seed)
    data = _distinct(read_retrieval(request.data, "train", seed=options.seed))
    train, held_out = parted(data)
    change = _jittered if data.name == "digits" else cropped
    options = replace(options, steps=options.steps or STEPS).checked()
    feed = Pictures(train, loaded.card, change), Pictures(held_out, loaded.card)
    result = fit(_task(request, options, loaded.model, feed), options, output, resume=resume, report=report)
    publish(output, replace(loaded.card, model=loaded.name, trained_on=data.classes))
    return result


def parted(data: RetrievalSet) -> tuple[list[Picture], list[Picture]]:
    """What to learn from and what to validate on; classes of a single picture are left out.

    Args:
        data: the training classes.

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
    """The data without copies; says what is missing or left out."""
    distinct, copies = data.without_copies()
    for what, which in (
        ("missing pictures", data.missing),
        ("copies of other pictures, left out", copies),
        ("classes of one picture, which nothing is like, left out", distinct.lone),
    ):
        if which:
            logger.warning("%s: %d, such as %s", what, len(which), which[0])
    return distinct


def embeddings_of(
    model: nn.Module, items: Items, batch_size: int, workers: int = 0
) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
    """Embeddings and classes of pictures, on the CPU.

    Args:
        model: in eval mode.
        items: pictures as it takes them, with their classes.
        batch_size: pictures per pass.
        workers: processes that read pictures.

    Returns:
        (n, d) float32, and (n,).
    """
    device = next(model.parameters()).device
    found, labels = [], []
    for inputs, classes in in_order(items, batch_size, workers):
        with torch.no_grad():
            found.append(model(inputs.to(device)).float().cpu())
        labels.append(classes)
    return torch.cat(found), torch.cat(labels)


def _start(request: Request, seed: int) -> LoadedModel:
    """The network before its first step."""
    size = None if request.size is None else (request.size, request.size)
    card = ModelCard(arguments={"dimensions": request.dimensions}, size=size)
    loaded = load(f"retrieval/{request.network}", weights=request.backbone, card=card, pretrained=request.pretrained)
    model: Any = loaded.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.projection.reset_parameters()
    return loaded


def _task(request: Request, options: Options, model: nn.Module, items: tuple[Pictures, Pictures]) -> Task:
    from l2caf.retrieval.losses import loss_named  # noqa: PLC0415  (an extra)

    learnt, held_out = items
    ranking = loss_named(request.loss)
    if len(learnt) < request.batch_size:
        raise TrainingError(f"batch size {request.batch_size}: expected at most the {len(learnt)} pictures there are")
    batch_size = min(request.batch_size, ranking.per_class * len(set(learnt.labels)))
    sampler = ranking.sampler(learnt.labels, batch_size, length=len(learnt), seed=options.seed)

    def order(epoch: int) -> list[int]:
        sampler.epoch = epoch
        return list(sampler)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        inputs, labels = batch
        return ranking(model(inputs).float(), labels)

    validate = partial(
        _validate, items=held_out, request=request, metric="cosine" if ranking.is_normalized else "euclidean"
    )
    return Task(
        model, Feed(learnt, batch_size, options.seed, request.workers, order), loss, validate,
        merit="recall_error", new_layers=(model.get_submodule("projection"),),
        settings={
            **{name: value for name, value in asdict(request).items() if name not in FREE},
            "n_pictures": len(learnt), "n_validation": len(held_out),
        },
    )  # fmt: skip


def _validate(model: nn.Module, items: Pictures, request: Request, metric: Any) -> dict[str, float]:
    embeddings, labels = embeddings_of(model, items, request.batch_size, request.workers)
    if is_collapsed(embeddings):  # nobody is nearest
        return {"recall_error": 1.0, "recall_at_1": 0.0}
    recall = recall_at(embeddings, labels, ks=(1,), metric=metric)[1]
    return {"recall_error": 1 - recall, "recall_at_1": recall}


def _jittered(picture: Any, card: ModelCard) -> Float[Tensor, "3 h w"]:
    """A scene with its channels shuffled, slightly sheared and scaled."""
    return augmented(plain(picture, card)[None], DIGITS_JITTER)[0]


def _last_fifth(members: list[Picture]) -> list[Picture]:
    """Two pictures at least, if that leaves two to learn from."""
    count = max(2, len(members) // HELD_PICTURES)
    return members[-count:] if len(members) >= count + 2 else []


def _has_pairs(pictures: Sequence[Picture]) -> bool:
    return len({picture.label for picture in pictures}) < len(pictures)
