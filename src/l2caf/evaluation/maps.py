"""Stage one of an evaluation: the maps of a whole data set by several methods.

The network runs once per picture, whatever the number of methods and classes. Maps are written batch by batch, and a
run that stops is taken up where it stopped. `judge` is stage two.

    folder/manifest.json      everything that determines the maps
    folder/maps/000000-16.npz maps (pictures, classes, *grid) in float16 for each method, and what the network said

The classes are the true one and, where asked for, the network's first guesses. For embeddings no output belongs to a
class: their maps are class-oblivious, and the embeddings are kept.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.utils.data import DataLoader, Dataset

from l2caf import storage
from l2caf.attention import L2CAF
from l2caf.data.boxed import BoxedPicture, BoxedSet
from l2caf.data.pictures import prepare, read_picture
from l2caf.errors import DataError, StorageError
from l2caf.evaluation import Frame
from l2caf.methods.registry import CLASS_FREE, Method
from l2caf.models import LoadedModel, ModelCard

FORMAT: Final = "l2caf.evaluation/2"
GUESSES: Final = 5  # that are noted, whether they have maps or not
Predictions = Literal["true", "top1", "top5", "none"]
MAPPED: Final[dict[Predictions, int]] = {"true": 0, "top1": 1, "top5": 5, "none": 0}


def _silent(done: int, total: int) -> None:
    """Report nothing."""
    del done, total


class Prepared(Dataset[tuple[int, Any]]):
    """Pictures as the network takes them; what cannot be read comes as its reason."""

    def __init__(self, pictures: Sequence[BoxedPicture], numbers: Sequence[int], card: ModelCard) -> None:
        self.pictures, self.numbers, self.card = pictures, numbers, card

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        number = self.numbers[index]
        try:
            picture = read_picture(self.pictures[number].file)
        except DataError as error:
            return number, str(error)
        inputs, region = prepare(picture, **self.card.feeding)
        return number, (inputs, picture.size, region)


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
    report: Callable[[int, int], None] = _silent,
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
    _claim(folder, settings)
    finished = _finished(folder)
    todo = [number for number in range(len(boxed.pictures)) if number not in finished]
    report(len(finished), len(boxed.pictures))
    caf = L2CAF(loaded.model, layer)
    loader = DataLoader(
        Prepared(boxed.pictures, todo, loaded.card), batch_size=batch_size, num_workers=workers, collate_fn=list
    )
    for batch in loader:
        numbers = [number for number, _ in batch]
        arrays = _maps_of(
            batch, boxed, caf, methods, _Classes(class_offset, MAPPED[predictions], are_outputs=predictions != "none")
        )
        storage.write_arrays(folder / "maps" / f"{numbers[0]:06d}-{len(numbers)}.npz", arrays)
        finished.update(numbers)
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


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder this run's, or see that it is."""
    if (folder / storage.MANIFEST).is_file():
        earlier = storage.read_manifest(folder)
        changed = [name for name, value in settings.items() if earlier.get(name) != value]
        if changed and any((folder / "maps").glob("*.npz")):
            was, now = ({name: source.get(name) for name in changed} for source in (earlier, settings))
            raise StorageError(f"{folder} holds another run: {was} there, {now} here; choose another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise StorageError(f"{folder} exists and holds no evaluation; choose another folder")
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    storage.write_manifest(folder, settings)


@dataclass(frozen=True, slots=True)
class _Classes:
    """Which outputs of the network maps are made for: class 0 is output `offset`; and so many of its first guesses.

    Unless classes are outputs at all; then the outputs are kept instead.
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
    batch: list[tuple[int, Any]], boxed: BoxedSet, caf: L2CAF, methods: dict[str, Method], classes: _Classes
) -> dict[str, np.ndarray]:
    """Everything that is kept of one batch."""
    readable = [(number, *content) for number, content in batch if not isinstance(content, str)]
    skipped = [(number, content) for number, content in batch if isinstance(content, str)]
    arrays: dict[str, Any] = {
        "skipped": np.array([number for number, _ in skipped], dtype=np.int64),
        "reasons": np.array([reason for _, reason in skipped], dtype=np.str_),
        "numbers": np.array([row[0] for row in readable], dtype=np.int64),
    }
    if readable:
        device = next(caf.model.parameters()).device
        inputs = torch.stack([row[1] for row in readable]).to(device)
        with caf.cut(inputs) as cut:
            scores = cut.tail.reference
            targets = classes.targets([boxed.pictures[row[0]].label for row in readable], scores)
            found = {name: method(cut, targets[:, : 1 + classes.n_guesses]) for name, method in methods.items()}
        arrays |= {f"map {name}": _in_half(maps) for name, maps in found.items()}
        if not classes.are_outputs:
            arrays["outputs"] = scores.float().cpu().numpy()
        arrays |= {
            "targets": targets.cpu().numpy(),
            "sizes": np.array([row[2] for row in readable]),
            "regions": np.array([row[3] for row in readable]),
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
