"""Fine-tune a localisation network: what, from what and how; `training` does the rest.

The run's folder ends with weights.safetensors, those with the least top-1 error, and weights.json, their model card, so
that `l2caf evaluate --model wsol/digits-adl --weights RUN/weights.safetensors` takes them.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from l2caf import storage
from l2caf.errors import TrainingError, nearest
from l2caf.models import ModelCard, load, wsol
from l2caf.models.wsol.networks import new_layers, parts
from l2caf.models.wsol.trunks import BACKBONES
from l2caf.progress import Report, silent
from l2caf.recipes.wsol_data import Trees, read_trees
from l2caf.training import Feed, Options, Result, Task, fit
from l2caf.training.feed import Items, in_order
from l2caf.training.loop import BEST

ALIASES: Final = {"vgg16-gap": "vgg16", "resnet50-se": "resnet50se"}  # architectures as the literature calls them
EPOCHS: Final = 50
WEIGHTS, CARD = "weights.safetensors", "weights.json"


@dataclass(frozen=True, slots=True)
class Request:
    """One network to train.

    Attributes:
        data: as `wsol_data.read_trees` takes it.
        network: such as `vgg16-adl`.
        epochs: passes over the data where the options name no steps.
        batch_size: pictures per step.
        workers: processes that read pictures.
        size: side of the input in pixels; None for the network's own.
        pretrained: start from ImageNet's weights (digits: the embedded ones), not at random.
        backbone: their file; None for the library's own download.
    """

    data: str
    network: str
    epochs: int = EPOCHS
    batch_size: int = 32
    workers: int = 0
    size: int | None = None
    pretrained: bool = True
    backbone: Path | None = None


def network(architecture: str, method: str) -> str:
    """A network's name.

    Args:
        architecture: such as `vgg16-gap`, `resnet50-se`, `googlenet`, `digits`.
        method: `gap`, `adl` or `acol`.

    Returns:
        Such as `vgg16-adl`.

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


def train_wsol(
    request: Request,
    options: Options,
    output: Path,
    *,
    resume: bool = False,
    report: Report = silent,
) -> Result:
    """Train one network.

    Args:
        request: what, from what.
        options: how; with `steps` 0, as many as the request's epochs take.
        output: folder of the run.
        resume: take up a run that stopped.
        report: called with steps done and in all.

    Returns:
        What the run came to; the weights lie in the folder.

    Raises:
        TrainingError: if the run cannot be started, taken up or go on.
        DataError: if the data cannot be read.
        WeightsError: if the weights to start from cannot be had.
    """
    card = wsol.card(request.network)
    card = card if request.size is None else replace(card, size=(request.size, request.size))
    trees = read_trees(request.data, card)
    feed = Feed(trees.train, request.batch_size, options.seed, request.workers)
    if options.steps == 0:
        options = replace(options, steps=request.epochs * feed.steps_per_epoch)
    task = _task(request, options.checked(), trees, feed, card)
    result = fit(task, options, output, resume=resume, report=report)
    publish(output, replace(card, arguments={"num_classes": len(trees.classes)}, labels=trees.classes))
    return result


def _task(request: Request, options: Options, trees: Trees, feed: Feed, card: ModelCard) -> Task:
    model = _start(request, len(trees.classes), options.seed)
    return Task(
        model, feed, _loss, partial(_validate, items=trees.validation, request=request, device=options.device),
        new_layers=tuple(new_layers(model)),
        settings={
            "data": request.data, "network": request.network, "size": list(card.size or ()),
            "pretrained": request.pretrained, "n_pictures": len(trees.train), "n_classes": len(trees.classes),
        },
    )  # fmt: skip


def _start(request: Request, n_classes: int, seed: int) -> nn.Module:
    """The network before its first step."""
    architecture, _ = parts(request.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = load(BACKBONES[architecture], weights=request.backbone).model if request.pretrained else None
        return wsol.build(request.network, num_classes=n_classes, backbone=backbone)


def _loss(model: nn.Module, batch: Any) -> Tensor:
    """Cross entropy, summed over the heads where there are two."""
    inputs, labels = batch
    heads = model(inputs, labels)
    return torch.stack([nn.functional.cross_entropy(logits.float(), labels) for logits in heads]).sum()


def _validate(model: nn.Module, items: Items, request: Request, device: str) -> dict[str, float]:
    right = 0
    for inputs, labels in in_order(items, request.batch_size, request.workers):
        right += int((model(inputs.to(device)).argmax(1).cpu() == labels).sum())
    return {"top1_error": 1 - right / len(items)}


def publish(folder: Path, card: ModelCard) -> None:
    """The best weights and their card under the names that the command line takes."""
    content = {name: value for name, value in asdict(card).items() if value is not None}
    with storage.whole_file(folder / CARD) as stream:
        stream.write(json.dumps(content, indent=1).encode())
    with storage.whole_file(folder / WEIGHTS) as stream:
        stream.write((folder / BEST).read_bytes())
