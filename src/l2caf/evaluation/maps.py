"""Stage one of an evaluation: the maps of a whole data set by several methods.

The network runs once per picture, whatever the number of methods and classes. Maps are written batch by batch, and a
run that stopped goes on where it stopped. `judge` is stage two.

    folder/manifest.json      everything that determines the maps
    folder/maps/000000-16.npz maps (pictures, classes, *grid) in float16 for each method, and what the network said

Each picture has a map for its true class and, where asked for, for the network's first guesses. An embedding network
has no outputs of classes: its maps are class-oblivious, and its outputs are stored.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from l2caf import storage
from l2caf.attention import L2CAF
from l2caf.data.boxed import BoxedSet
from l2caf.data.feeding import Batch, PictureFiles, fed, in_turn
from l2caf.errors import DataError
from l2caf.methods import Method
from l2caf.models import LoadedModel
from l2caf.progress import Report, silent

FORMAT: Final = "l2caf.evaluation/2"
GUESSES: Final = 5  # that are noted, whether they have maps or not
Predictions = Literal["true", "top1", "top5", "none"]
MAPPED: Final[dict[Predictions, int]] = {"true": 0, "top1": 1, "top5": 5, "none": 0}


@dataclass(frozen=True, slots=True)
class MapOptions:
    """Which maps are made, and how.

    Attributes:
        layer: the layer that methods look at, as it is noted in the manifest; None for the default layer.
        class_offset: the index of the network's output for class 0; 1 where output 0 is background.
        predictions: which classes have maps: `"true"` for the true class, `"top1"` or `"top5"` for the network's first
            guesses too, `"none"` for an embedding network.
        batch_size: the number of pictures per pass of the network.
        workers: the number of processes that read pictures; 0 reads them in this process.
    """

    layer: str | None = None
    class_offset: int = 0
    predictions: Predictions = "true"
    batch_size: int = 16
    workers: int = 0


def write_maps(
    boxed: BoxedSet,
    loaded: LoadedModel,
    methods: Mapping[str, Method],
    folder: Path,
    options: MapOptions = MapOptions(),
    report: Report = silent,
) -> None:
    """Stage one: the maps of every picture by every method; a run that stopped goes on.

    Args:
        boxed: the data set.
        loaded: the network and how to feed it.
        methods: methods by name, made for that network (`l2caf.methods.methods`).
        folder: a new folder, or one that a run with the same settings left.
        options: which maps are made, and how.
        report: it is called with the number of pictures done and the number of all pictures.

    Raises:
        StorageError: if the folder holds a run with other settings; the message names the difference.
        RunError: if another process is at work in the folder, or a process that reads pictures died.
        DataError: if a method needs a class of an embedding, or a method's maps have the wrong shape.
    """
    asked = _Outputs(options.class_offset, MAPPED[options.predictions], options.predictions != "none")
    asked.check(methods)
    settings = {
        **_settings(boxed, loaded, methods), "layer": options.layer, "class_offset": options.class_offset,
        "predictions": options.predictions,
    }  # fmt: skip
    caf = L2CAF(loaded.model, options.layer)
    with storage.claimed(folder, settings, what="evaluation", results="maps/*.npz"):
        (folder / "maps").mkdir(exist_ok=True)
        finished = _finished(folder)
        todo = [number for number in range(len(boxed.pictures)) if number not in finished]
        report(len(finished), len(boxed.pictures))
        files = PictureFiles([picture.file for picture in boxed.pictures])
        with fed(files, loaded.card.feeding, in_turn(todo, options.batch_size), workers=options.workers) as batches:
            for batch in batches:
                arrays = _maps_of(batch, boxed, caf, methods, asked)
                storage.write_arrays(folder / "maps" / f"{batch.asked[0]:06d}-{len(batch.asked)}.npz", arrays)
                finished.update(batch.asked)
                report(len(finished), len(boxed.pictures))


def _finished(folder: Path) -> set[int]:
    """Numbers of the pictures whose maps are written, whatever the batch size was; a file names its run of numbers."""
    runs = ([int(part) for part in file.stem.split("-")] for file in (folder / "maps").glob("*.npz"))
    return {number for first, count in runs for number in range(first, first + count)}


def _settings(boxed: BoxedSet, loaded: LoadedModel, methods: Mapping[str, Method]) -> dict[str, object]:
    pictures = storage.digest(
        f"{picture.file} {picture.label} {picture.boxes.tolist()}".encode() for picture in boxed.pictures
    )
    card = {name: value for name, value in asdict(loaded.card).items() if name not in {"labels", "trained_on"}}
    return {
        "format": FORMAT, "data": boxed.name, "pictures": pictures, "network": loaded.name,
        "weights": loaded.fingerprint, "card": json.loads(json.dumps(card, default=dict)), "methods": list(methods),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Which outputs of the network have maps.

    Attributes:
        offset: the index of the network's output for class 0.
        n_guesses: how many of the network's first guesses have maps beside the true class.
        are_classes: whether the outputs are classes; an embedding has none, and its outputs are stored instead.
    """

    offset: int
    n_guesses: int
    are_classes: bool

    def check(self, methods: Mapping[str, Method]) -> None:
        """Refuse methods that need a class where there is none."""
        asking = [name for name, method in methods.items() if method.needs_class]
        if asking and not self.are_classes:
            raise DataError(
                f"methods {', '.join(asking)} explain a class, and an embedding has none; expected methods of the "
                "whole output, such as l2caf, l2caf-direction or gradcam-sum"
            )

    def targets(self, labels: list[int], scores: Float[Tensor, "b n"]) -> Int[Tensor, "b k"]:
        """The true classes' outputs, then the guesses; for an embedding the true classes only."""
        known = torch.tensor(labels, device=scores.device) + self.offset
        if not self.are_classes:
            return known[:, None]
        if int(known.max()) >= scores.shape[1]:
            raise DataError(
                f"output {int(known.max())} is asked of a network with {scores.shape[1]}: its classes are others "
                "than the data set's, or the class offset is wrong (1 where output 0 is background)"
            )
        return torch.cat([known[:, None], scores.topk(min(GUESSES, scores.shape[1]), dim=1).indices], dim=1)


def _maps_of(
    batch: Batch, boxed: BoxedSet, caf: L2CAF, methods: Mapping[str, Method], asked: _Outputs
) -> dict[str, np.ndarray]:
    """Everything that is stored of one batch."""
    arrays: dict[str, np.ndarray] = {
        "skipped": np.array([one.number for one in batch.failures], dtype=np.int64),
        "reasons": np.array([one.reason for one in batch.failures], dtype=np.str_),
        "numbers": np.array(batch.numbers, dtype=np.int64),
    }
    if not batch.numbers:
        return arrays
    with caf.cut(batch.inputs.to(next(caf.model.parameters()).device)) as cut:
        scores = cut.tail.reference
        targets = asked.targets([boxed.pictures[number].label for number in batch.numbers], scores)
        explained = targets[:, : 1 + asked.n_guesses]
        for name, method in methods.items():
            arrays[f"map {name}"] = _in_half(_checked(name, method(cut, explained), explained))
    if not asked.are_classes:
        arrays["outputs"] = scores.float().cpu().numpy()
    return arrays | {
        "targets": targets.cpu().numpy(), "sizes": np.array(batch.sizes), "regions": np.array(batch.regions)
    }  # fmt: skip


def _checked(name: str, maps: Tensor, targets: Int[Tensor, "b k"]) -> Float[Tensor, "b k h w"]:
    """A method's maps, as every method has to give them."""
    if maps.dim() != 4 or maps.shape[:2] != targets.shape:
        wanted = f"({targets.shape[0]}, {targets.shape[1]}, h, w)"
        raise DataError(f"method {name!r} gave maps of shape {tuple(maps.shape)}; expected {wanted}")
    if not bool((maps >= 0).all()):
        raise DataError(f"method {name!r} gave a map with negative values or NaN; expected values from 0")
    return maps


def _in_half(maps: Float[Tensor, "b k h w"]) -> Float[np.ndarray, "b k h w"]:
    """Each map divided by its maximum, so that half precision holds it; no box rule depends on the scale."""
    top = maps.amax(dim=(2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return (maps / top).cpu().numpy().astype(np.float16)
