"""Stage one of an evaluation: the maps of a whole data set by several methods.

The network runs once per picture, whatever the number of methods and classes. Maps are written batch by batch, and a
run that stopped goes on where it stopped. `judge` is stage two.

    folder/manifest.json      everything that determines the maps
    folder/maps/000000-16.npz maps (pictures, classes, *grid) in float16 for each method, and what the network said

Each picture has a map for its true class and, where asked for, for the network's first guesses. An embedding network
has no outputs of classes: its maps are class-oblivious, and its outputs are stored.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from l2caf import storage
from l2caf.attention import L2CAF
from l2caf.data.boxed import BoxedPicture, BoxedSet
from l2caf.data.pictures import prepare, read_picture
from l2caf.errors import DataError, StorageError
from l2caf.evaluation.frame import InputFrame
from l2caf.methods import Method
from l2caf.models import LoadedModel, ModelCard

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


def _silent(done: int, total: int) -> None:
    """Report nothing."""
    del done, total


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """One picture as a network takes it, or the reason why it cannot be read.

    Attributes:
        number: the picture's place in the data set.
        inputs: the normalised picture (3, h, w); empty where it cannot be read.
        frame: which part of the picture the network is shown.
        fault: why the picture cannot be read; None where it can.
    """

    number: int
    inputs: Tensor
    frame: InputFrame
    fault: str | None = None


class Prepared(Dataset[PreparedPicture]):
    """Some pictures of a data set, by their numbers, as a network takes them."""

    def __init__(self, pictures: Sequence[BoxedPicture], numbers: Sequence[int], card: ModelCard) -> None:
        self.pictures, self.numbers, self.card = pictures, numbers, card

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> PreparedPicture:
        number = self.numbers[index]
        try:
            picture = read_picture(self.pictures[number].file)
        except DataError as error:
            return PreparedPicture(number, torch.empty(0), InputFrame.whole(0, 0), str(error))
        inputs, region = prepare(picture, **self.card.feeding)
        return PreparedPicture(number, inputs, InputFrame(picture.size, region))


def write_maps(
    boxed: BoxedSet,
    loaded: LoadedModel,
    methods: Mapping[str, Method],
    folder: Path,
    options: MapOptions = MapOptions(),
    report: Callable[[int, int], None] = _silent,
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
        DataError: if a method needs a class of an embedding, or a method's maps have the wrong shape.
    """
    asked = _Outputs(options.class_offset, MAPPED[options.predictions], options.predictions != "none")
    asked.check(methods)
    _claim(folder, {
        **_settings(boxed, loaded, methods), "layer": options.layer, "class_offset": options.class_offset,
        "predictions": options.predictions,
    })  # fmt: skip
    finished = _finished(folder)
    todo = [number for number in range(len(boxed.pictures)) if number not in finished]
    report(len(finished), len(boxed.pictures))
    caf = L2CAF(loaded.model, options.layer)
    prepared = Prepared(boxed.pictures, todo, loaded.card)
    for batch in DataLoader(prepared, options.batch_size, num_workers=options.workers, collate_fn=list):
        arrays = _maps_of(batch, boxed, caf, methods, asked)
        storage.write_arrays(folder / "maps" / f"{batch[0].number:06d}-{len(batch)}.npz", arrays)
        finished.update(one.number for one in batch)
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


def _claim(folder: Path, settings: Mapping[str, object]) -> None:
    """Make the folder this run's, or see that it is."""
    if (folder / storage.MANIFEST).is_file():
        earlier = storage.read_manifest(folder)
        changed = [
            f"{name} {earlier.get(name)!r} instead of {value!r}"
            for name, value in settings.items()
            if earlier.get(name) != value
        ]
        if changed and any((folder / "maps").glob("*.npz")):
            raise StorageError(f"{folder} holds another run, with {'; '.join(changed)}; choose another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise StorageError(f"{folder} exists and holds no evaluation; choose another folder")
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    storage.write_manifest(folder, settings)


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
    batch: list[PreparedPicture], boxed: BoxedSet, caf: L2CAF, methods: Mapping[str, Method], asked: _Outputs
) -> dict[str, np.ndarray]:
    """Everything that is stored of one batch."""
    readable = [one for one in batch if one.fault is None]
    skipped = [one for one in batch if one.fault is not None]
    arrays: dict[str, np.ndarray] = {
        "skipped": np.array([one.number for one in skipped], dtype=np.int64),
        "reasons": np.array([one.fault for one in skipped], dtype=np.str_),
        "numbers": np.array([one.number for one in readable], dtype=np.int64),
    }
    if not readable:
        return arrays
    inputs = torch.stack([one.inputs for one in readable]).to(next(caf.model.parameters()).device)
    with caf.cut(inputs) as cut:
        scores = cut.tail.reference
        targets = asked.targets([boxed.pictures[one.number].label for one in readable], scores)
        explained = targets[:, : 1 + asked.n_guesses]
        for name, method in methods.items():
            arrays[f"map {name}"] = _in_half(_checked(name, method(cut, explained), explained))
    if not asked.are_classes:
        arrays["outputs"] = scores.float().cpu().numpy()
    return arrays | {
        "targets": targets.cpu().numpy(),
        "sizes": np.array([one.frame.picture for one in readable]),
        "regions": np.array([one.frame.region for one in readable]),
    }


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
