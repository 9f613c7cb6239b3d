"""Stage two of an evaluation: boxes and figures from the maps of stage one, under any protocol.

Every map is decoded once. The folder gets results.json, results.csv, results.md, worst.png and best.png; and
guesses.csv where the network's guesses have maps: a box for each of them, as ImageNet's localisation challenge wants.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from l2caf import storage
from l2caf.data.boxed import BoxedSet
from l2caf.errors import DataError
from l2caf.evaluation.frame import iou
from l2caf.evaluation.gallery import Extremes, gallery
from l2caf.evaluation.maps import GUESSES, MAPPED
from l2caf.evaluation.metrics import RIGHT, LocalizationAccuracy
from l2caf.evaluation.protocols import BoxRule
from l2caf.evaluation.results import Evaluation, Judged, csv_file, write_results
from l2caf.evaluation.stored import MapsOf, embeddings_of, read_maps
from l2caf.evaluation.table import DEFAULT_METRICS, FiguresOfMethod, JudgedMap, MetricContext
from l2caf.models import LoadedModel

RESAMPLES: Final = 2000
AT_ONCE: Final = 2**22  # resampled pictures in memory
GUESS_COLUMNS: Final = ("file", "method", "rank", "output", "x0", "y0", "x1", "y1", "rule")

Guesses = Int[np.ndarray, " k"]  # guessed classes of a picture, the first guess first
Nearest = Callable[[Float[Tensor, "n d"], int], Int[Tensor, "n k"]]  # rows nearest to each row, itself left out


def judge(
    boxed: BoxedSet,
    folder: Path,
    rules: Sequence[BoxRule],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    nearest: Nearest | None = None,
    loaded: LoadedModel | None = None,
) -> Evaluation:
    """Stage two: figures from the maps of stage one.

    Args:
        boxed: the data set that stage one was given.
        folder: the folder that stage one wrote.
        rules: the protocols to judge boxes by.
        metrics: names of metrics of maps (`table.METRICS`), which take longest; none for boxes only.
        nearest: takes embeddings and k to the k nearest other rows of each row, such as
            `retrieval.search.nearest_others`; only needed where the network is an embedding.
        loaded: the network, for metrics that ask it again, such as faithfulness.

    Returns:
        The figures. They are also written into the folder, with a gallery of the best and worst pictures.

    Raises:
        StorageError: if the folder holds no evaluation.
        DataError: if no picture could be read, or a metric does not exist or lacks what it needs.
    """
    manifest = storage.read_manifest(folder)
    neighbours = _neighbours(folder, boxed, nearest)
    judging = _Judging(rules, metrics, MetricContext(len(boxed.classes), loaded))
    skipped: list[tuple[str, str]] = []
    has_guesses = MAPPED[manifest["predictions"]] > 0
    with csv_file(folder / "guesses.csv", GUESS_COLUMNS) if has_guesses else nullcontext() as note:
        for row in read_maps(folder, boxed, skipped):
            judging.add(row, neighbours.get(row.number, row.targets[1:]))
            if note is not None:
                for line in _guessed(row, rules[0]):
                    note(line)
        if not judging.right:
            raise DataError(f"{folder} holds maps of no picture; {len(skipped)} could not be read")
    evaluation = judging.evaluation(skipped, by_neighbours=bool(neighbours))
    write_results(folder, evaluation)
    with csv_file(folder / "results.csv", judging.columns) as write:
        for line in judging.lines():
            write(line)
    gallery(judging.extremes.worst).save(folder / "worst.png")
    gallery(judging.extremes.best).save(folder / "best.png")
    return evaluation


def _neighbours(folder: Path, boxed: BoxedSet, nearest: Nearest | None) -> dict[int, Guesses]:
    """The classes of the pictures nearest to each picture in an embedding; nothing for classifiers."""
    outputs = embeddings_of(folder)
    if not outputs:
        return {}
    if nearest is None or len(outputs) < 2:
        raise DataError(
            f"{folder} holds the embeddings of {len(outputs)} pictures; expected at least 2, and `nearest=` to find "
            "the nearest neighbours, whose classes are the guesses"
        )
    numbers = list(outputs)
    found = nearest(torch.from_numpy(np.stack(list(outputs.values()))), min(GUESSES, len(numbers) - 1))
    labels = np.array([boxed.pictures[number].label for number in numbers])
    return dict(zip(numbers, labels[found.numpy()], strict=True))


class _Judging:
    """The figures of every method, and of every method under every protocol, while pictures come in."""

    def __init__(self, rules: Sequence[BoxRule], metrics: Sequence[str], context: MetricContext) -> None:
        self.rules, self.metrics, self.context = rules, metrics, context
        self.figures: dict[str, FiguresOfMethod] = {}
        self.tallies: dict[tuple[str, str], _Tally] = {}
        self.right: list[tuple[bool, bool]] = []
        self.notes: list[tuple[str, int, int]] = []
        self.extremes = Extremes()

    def add(self, row: MapsOf, guesses: Guesses) -> None:
        """Count one picture."""
        true, picture = int(row.targets[0]), row.picture
        self.right.append((bool(guesses[0] == true), bool((guesses == true).any())))
        self.notes.append((str(picture.file), picture.label, int(guesses[0])))
        target = true if row.is_classified else None
        overlaps: list[float] = []
        for name, heat in row.maps.items():
            if name not in self.figures:
                self.figures[name] = FiguresOfMethod(self.metrics, self.context)
                self.tallies |= {(name, rule.name): _Tally(name, rule) for rule in self.rules}
            self.figures[name].update(JudgedMap(heat, row.frame, picture.file, picture.boxes, picture.label, target))
            overlaps += [self.tallies[name, rule.name].add(row, heat, guesses) for rule in self.rules]
        self.extremes.add(float(np.mean(overlaps)), row)

    def evaluation(self, skipped: list[tuple[str, str]], *, by_neighbours: bool) -> Evaluation:
        """What all pictures gave."""
        top1, top5 = (float(share) for share in np.mean(self.right, axis=0))
        judged = [tally.judged() for tally in self.tallies.values()]
        figures = {name: found.compute() for name, found in self.figures.items()}
        return Evaluation(judged, figures, top1, top5, len(self.right), skipped, by_neighbours=by_neighbours)

    @property
    def columns(self) -> list[str]:
        """The columns of results.csv."""
        return ["file", "label", "first guess", *(f"IoU {method} {rule}" for method, rule in self.tallies)]

    def lines(self) -> Iterator[Mapping[str, object]]:
        """The rows of results.csv, one for each picture."""
        for place, note in enumerate(self.notes):
            overlaps = (tally.overlaps[place] for tally in self.tallies.values())
            yield dict(zip(self.columns, (*note, *overlaps), strict=True))


class _Tally:
    """One method under one protocol.

    A guess is right if its class and that class's box are; so the true class's map decides everything, and its box
    stands for the box of every guess.
    """

    def __init__(self, method: str, rule: BoxRule) -> None:
        self.method, self.rule = method, rule
        self.hits: list[bool] = []
        self.overlaps: list[float] = []  # rounded, as results.csv has them
        self.gt_known, self.top1, self.top5 = (
            LocalizationAccuracy(guesses, inclusive=rule.inclusive) for guesses in (None, 1, 5)
        )

    def add(self, row: MapsOf, heat: Float[np.ndarray, "h w"], guesses: Guesses) -> float:
        """Count one map; returns the best overlap of a counted box with an annotated one, in [0, 1], rounded."""
        found = self.rule.boxes(heat, row.frame)[: self.rule.counted]
        truth = self.rule.truth(row.picture.boxes, row.frame)
        overlaps = iou(found, truth, inclusive=self.rule.inclusive).max(axis=1, initial=0.0)
        best = np.repeat(found[overlaps.argsort()[-1:]], len(guesses), axis=0)
        for accuracy in (self.gt_known, self.top1, self.top5):
            accuracy.update(best, guesses, truth, int(row.targets[0]))
        self.hits.append(bool(overlaps.max(initial=0.0) >= RIGHT))
        self.overlaps.append(round(float(overlaps.max(initial=0.0)), 4))
        return self.overlaps[-1]

    def judged(self) -> Judged:
        """The figures."""
        low, high = bootstrap(np.array(self.hits))
        known, top1, top5 = (float(one.compute()) for one in (self.gt_known, self.top1, self.top5))
        return Judged(self.method, self.rule.name, self.rule.threshold, known, low, high, top1, top5)


def _guessed(row: MapsOf, rule: BoxRule) -> Iterator[Mapping[str, object]]:
    """The first box of each guess's map, in pixels of the rule's frame; empty fields where a map gives none."""
    for name, heats in row.guessed.items():
        for rank, (output, heat) in enumerate(zip(row.targets[1:], heats, strict=False), start=1):
            corners = next(iter(rule.boxes(heat, row.frame).tolist()), [""] * 4)
            line = (str(row.picture.file), name, rank, int(output), *corners, rule.name)
            yield dict(zip(GUESS_COLUMNS, line, strict=True))


def bootstrap(values: Bool[np.ndarray, " n"], *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a share, by resampling pictures 2000 times (percentiles; a fixed seed)."""
    generator = np.random.default_rng(seed)
    some = max(1, AT_ONCE // len(values))
    means = [
        values[generator.integers(0, len(values), (min(some, RESAMPLES - done), len(values)))].mean(axis=1)
        for done in range(0, RESAMPLES, some)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)
