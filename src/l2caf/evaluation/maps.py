"""Stage one of an evaluation: the maps of a whole data set by several methods.

The network runs once per picture, whatever the number of methods and classes. Maps are written batch by batch, and a
run that stops is taken up where it stopped. `judge` is stage two.

    folder/manifest.json      everything that determines the maps
    folder/maps/000000-16.npz maps (pictures, classes, *grid) in float16 for each method, and what the network said

The classes are the true one and, where asked for, the network's first guesses. For embeddings no output belongs to a
class: their maps are class-oblivious, and the embeddings are kept.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from l2caf import storage
from l2caf.attention import L2CAF
from l2caf.data.boxed import BoxedPicture, BoxedSet
from l2caf.data.feeding import Batch, PictureFiles, fed, in_turn
from l2caf.errors import DataError
from l2caf.evaluation import Frame
from l2caf.methods.registry import CLASS_FREE, Method
from l2caf.models import LoadedModel
from l2caf.progress import Report, silent

FORMAT: Final = "l2caf.evaluation/2"
GUESSES: Final = 5  # that are noted, whether they have maps or not
Predictions = Literal["true", "top1", "top5", "none"]
MAPPED: Final[dict[Predictions, int]] = {"true": 0, "top1": 1, "top5": 5, "none": 0}


def write_maps(  # noqa: PLR0913  (what a run is made of)
    boxed: BoxedSet,
    loaded: LoadedModel,
    methods: dict[str, Method],
    folder: Path,
    *,
    layer: str | None = None,
    class_offset: int = 0,
    predictions: Predictions = "true",
    batch_size: int = 16,
    workers: int = 0,
    report: Report = silent,
) -> None:
    """Stage one: the maps of every picture by every method, resumable.

    Args:
        boxed: the data set.
        loaded: the network and how to feed it.
        methods: made for that network.
        folder: new, or left by a run with the same settings that stopped.
        layer: where to look; None for the default.
        class_offset: the network's output for class 0.
        predictions: classes to make maps for: the true one, and the network's first or first five; `"none"` for an
            embedding network.
        batch_size: pictures per pass.
        workers: processes that read pictures.
        report: called with pictures done and in all.

    Raises:
        StorageError: if the folder holds a run with other settings; the message names the difference.
        RunError: if another process is at work in the folder, or a process that reads pictures died.
        DataError: if a method wants a class of an embedding.
    """
    asking = [name for name in methods if name not in CLASS_FREE]
    if predictions == "none" and asking:
        raise DataError(
            f"methods {', '.join(asking)} explain a class, and an embedding has none; expected some of "
            f"{', '.join(sorted(CLASS_FREE))}"
        )
    settings = {
        **_settings(boxed, loaded, methods),
        "layer": layer,
        "class_offset": class_offset,
        "predictions": predictions,
    }
    classes = _Classes(class_offset, MAPPED[predictions], are_outputs=predictions != "none")
    caf = L2CAF(loaded.model, layer)
    with storage.claimed(folder, settings, what="evaluation", results="maps/*.npz"):
        (folder / "maps").mkdir(exist_ok=True)
        finished = _finished(folder)
        todo = [number for number in range(len(boxed.pictures)) if number not in finished]
        report(len(finished), len(boxed.pictures))
        files = PictureFiles([picture.file for picture in boxed.pictures])
        with fed(files, loaded.card.feeding, in_turn(todo, batch_size), workers=workers) as batches:
            for batch in batches:
                arrays = _maps_of(batch, boxed, caf, methods, classes)
                storage.write_arrays(folder / "maps" / f"{batch.asked[0]:06d}-{len(batch.asked)}.npz", arrays)
                finished.update(batch.asked)
                report(len(finished), len(boxed.pictures))


def _finished(folder: Path) -> set[int]:
    """Numbers of the pictures whose maps are written, whatever the batch size was; a file names its run of numbers."""
    runs = ([int(part) for part in file.stem.split("-")] for file in (folder / "maps").glob("*.npz"))
    return {number for first, count in runs for number in range(first, first + count)}


def _settings(boxed: BoxedSet, loaded: LoadedModel, methods: dict[str, Method]) -> dict[str, Any]:
    pictures = storage.digest(
        f"{picture.file} {picture.label} {picture.boxes.tolist()}".encode() for picture in boxed.pictures
    )
    card = {name: value for name, value in asdict(loaded.card).items() if name not in {"labels", "trained_on"}}
    return {
        "format": FORMAT, "data": boxed.name, "pictures": pictures, "network": loaded.name,
        "weights": loaded.fingerprint, "card": json.loads(json.dumps(card, default=dict)), "methods": list(methods),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Classes:
    """Which outputs of the network maps are made for: class 0 is output `offset`; and so many of its first guesses.

    Embeddings have no class outputs; their outputs are stored instead.
    """

    offset: int
    n_guesses: int
    are_outputs: bool

    def targets(self, labels: list[int], scores: Float[torch.Tensor, "b n"]) -> Int[torch.Tensor, "b k"]:
        """The true classes' outputs, then the guesses; of an embedding the true classes only."""
        known = torch.tensor(labels, device=scores.device) + self.offset
        if not self.are_outputs:
            return known[:, None]
        if int(known.max()) >= scores.shape[1]:
            raise DataError(
                f"output {int(known.max())} is asked of a network with {scores.shape[1]}: its classes are others "
                "than the data set's, or the class offset is wrong (1 where output 0 is background)"
            )
        return torch.cat([known[:, None], scores.topk(min(GUESSES, scores.shape[1]), dim=1).indices], dim=1)


def _maps_of(
    batch: Batch, boxed: BoxedSet, caf: L2CAF, methods: dict[str, Method], classes: _Classes
) -> dict[str, np.ndarray]:
    """Everything that is kept of one batch."""
    arrays: dict[str, Any] = {
        "skipped": np.array([one.number for one in batch.failures], dtype=np.int64),
        "reasons": np.array([one.reason for one in batch.failures], dtype=np.str_),
        "numbers": np.array(batch.numbers, dtype=np.int64),
    }
    if batch.numbers:
        device = next(caf.model.parameters()).device
        with caf.cut(batch.inputs.to(device)) as cut:
            scores = cut.tail.reference
            targets = classes.targets([boxed.pictures[number].label for number in batch.numbers], scores)
            found = {name: method(cut, targets[:, : 1 + classes.n_guesses]) for name, method in methods.items()}
        arrays |= {f"map {name}": _in_half(maps) for name, maps in found.items()}
        if not classes.are_outputs:
            arrays["outputs"] = scores.float().cpu().numpy()
        arrays |= {
            "targets": targets.cpu().numpy(),
            "sizes": np.array(batch.sizes),
            "regions": np.array(batch.regions),
        }
    return arrays


def _in_half(maps: Float[torch.Tensor, "b k h w"]) -> Float[np.ndarray, "b k h w"]:
    """Each map divided by its maximum, which no box rule minds, so that half precision holds it."""
    top = maps.amax(dim=(2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return (maps / top).cpu().numpy().astype(np.float16)


@dataclass(frozen=True, slots=True)
class MapsOf:
    """What stage one found of one picture.

    Attributes:
        number: its place in the data set.
        picture: file, class and boxes.
        frame: what the network was shown of it.
        targets: outputs: the true class, then the guesses, the most likely first.
        maps: (h, w) of every method for the true class, divided by its maximum. It decides every figure: a guess of
            another class is wrong whatever its box, and the right guess's map is this one.
        guessed: (k, h, w) of every method for the first k guesses, k = 0 where none was asked for.
        output: (n,) what an embedding network said; None for classifiers.
    """

    number: int
    picture: BoxedPicture
    frame: Frame
    targets: np.ndarray
    maps: dict[str, Float[np.ndarray, "h w"]]
    guessed: dict[str, Float[np.ndarray, "k h w"]]
    output: Float[np.ndarray, " n"] | None = None


def read_maps(folder: Path, boxed: BoxedSet, skipped: list[tuple[str, str]]) -> Iterator[MapsOf]:
    """The maps of a run, picture by picture.

    Args:
        folder: what `write_maps` wrote.
        boxed: the same data set.
        skipped: files that could not be read are added, with the reason.

    Yields:
        One picture's maps.
    """
    for file in sorted((folder / "maps").glob("*.npz")):
        arrays = storage.read_arrays(file)
        skipped += [
            (str(boxed.pictures[number].file), str(reason))
            for number, reason in zip(arrays["skipped"], arrays["reasons"], strict=True)
        ]
        names = [name.removeprefix("map ") for name in arrays if name.startswith("map ")]
        for place, number in enumerate(arrays["numbers"]):
            width, height = (int(side) for side in arrays["sizes"][place])
            x0, y0, x1, y1 = (float(value) for value in arrays["regions"][place])
            maps = {name: arrays[f"map {name}"][place].astype(np.float64) for name in names}
            yield MapsOf(
                int(number), boxed.pictures[number], Frame((width, height), (x0, y0, x1, y1)), arrays["targets"][place],
                maps={name: heats[0] for name, heats in maps.items()},
                guessed={name: heats[1:] for name, heats in maps.items()},
                output=arrays["outputs"][place] if "outputs" in arrays else None,
            )  # fmt: skip
