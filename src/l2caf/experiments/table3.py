"""The paper's Table 3: localisation by retrieval networks, Grad-CAM and Grad-CAM-abs beside L2-CAF.

On the test classes of CUB and CARS196 by the box rule of CAM's code, as there; or on DigitScenes (digits 0-4 to train
on, 5-9 to judge by), which need no download, over three seeds. LOC counts a picture if its nearest neighbour is of its
class and its box is right. Networks whose weights are not given are trained first. Two seeds' scenes differ, too.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from l2caf.data.boxed import BoxedPicture, BoxedSet
from l2caf.data.digits import DIGITS_OF, boxed_digits
from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError
from l2caf.evaluation.judge import Evaluation, Judged, embeddings_of
from l2caf.experiments.tables import Comparison, Plan, evaluate, given_weights, line, set_named, trained, write
from l2caf.models import LoadedModel, load
from l2caf.recipes.retrieval import RATE, STEPS, Request, train_retrieval
from l2caf.retrieval import nmi
from l2caf.retrieval.search import Similarity
from l2caf.training import Options
from l2caf.training.options import usable

METHODS: Final = ("gradcam-sum", "gradcam-abs-sum", "l2caf", "l2caf-direction")
RULES: Final = ("cam-code", "cam-paper")
LOSSES: Final = ("triplet", "npair")
NETWORKS: Final = ("googlenet", "resnet50")
# LOC of Grad-CAM, Grad-CAM-abs and L2-CAF, then NMI and R@1, by data set, network and loss. One R@1 is unreadable in
# the copy at hand.
PAPER: Final[dict[tuple[str, str, str], tuple[tuple[float, float, float], float, float | None]]] = {
    ("cub", "googlenet", "triplet"): ((20.63, 22.96, 29.63), 0.582, 47.75),
    ("cub", "resnet50", "triplet"): ((16.15, 29.49, 39.28), 0.601, 50.06),
    ("cub", "googlenet", "npair"): ((14.13, 19.87, 30.50), 0.583, 48.95),
    ("cub", "resnet50", "npair"): ((11.92, 26.67, 38.69), 0.580, 47.92),
    ("cars", "googlenet", "triplet"): ((32.38, 46.21, 54.10), 0.532, 54.55),
    ("cars", "resnet50", "triplet"): ((31.77, 56.32, 61.27), 0.565, None),
    ("cars", "googlenet", "npair"): ((28.29, 55.01, 64.85), 0.597, 65.23),
    ("cars", "resnet50", "npair"): ((32.42, 61.62, 67.35), 0.609, 67.61),
}
# The paper's N-pair embedding is not normalised, nor is it here when neighbours and clusters are sought.
METRICS: Final[dict[str, Similarity]] = {"triplet": "cosine", "npair": "euclidean"}
DIGIT_SCENES: Final = 300
SEEDS: Final = (0, 1, 2)
DIGIT_OPTIONS: Final = Options(steps=120, learning_rate=1e-3, optimiser="adamw", save_every=40)
DIGIT_DATA: Final = "digits:800"

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over the seeds: its mean, and the largest less the smallest."""

    mean: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """The figure of several values."""
        return cls(statistics.fmean(values), max(values) - min(values))

    def __str__(self) -> str:
        return f"{self.mean:.1f} ({self.spread:.1f})" if abs(self.mean) > 1 else f"{self.mean:.3f} ({self.spread:.3f})"


@dataclass(frozen=True, slots=True)
class Row:
    """One network, loss, method and protocol; shares in percent.

    Attributes:
        network: its trunk.
        loss: it was trained by.
        method: its name.
        protocol: the box rule.
        recall: Recall@1.
        nmi: with the geometric mean, as the paper defines it.
        nmi_arithmetic: with the arithmetic mean, as libraries do.
        loc: nearest neighbour and box right.
        gt_known: box right, whatever the neighbour.
        paper: the paper's NMI, Recall@1 and LOC, where it has them.
    """

    network: str
    loss: str
    method: str
    protocol: str
    recall: Figure
    nmi: Figure
    nmi_arithmetic: Figure
    loc: Figure
    gt_known: Figure
    paper: tuple[float, float | None, float] | None


@dataclass(frozen=True, slots=True)
class _Run:
    """One seed's network, judged."""

    evaluation: Evaluation
    nmi: float
    nmi_arithmetic: float


def table3(
    data: str,
    output: Path,
    plan: Plan | None = None,
    *,
    losses: Sequence[str] = LOSSES,
    report: Report = lambda what, done, total: None,  # noqa: ARG005
) -> list[Row]:
    """The table, and its files in a folder; a run that stopped is taken up.

    Args:
        data: `cub:ROOT`, `cars:ROOT`, or `digits`.
        output: a folder for trained networks, maps and results.
        plan: what it is made of; its networks are trunks.
        losses: of training.
        report: called with what is under way, done and in all.

    Returns:
        A row per network, loss, method and protocol.

    Raises:
        DataError: if the data are none of the three or cannot be read, or a network was trained on test classes.
        TrainingError: if the device cannot be used, or a network cannot be trained.
    """
    plan = plan or Plan()
    usable(plan.device)
    name = set_named(data, ("cub", "cars"))
    sets = list(_sets(data, output, plan.seeds))
    rows: list[Row] = []
    for network in plan.networks or (("digits",) if name == "digits" else NETWORKS):
        for loss in losses:
            runs = []
            for seed, boxed in sets:
                label = f"{network}-{loss}-{seed}"
                given = given_weights(plan.weights, f"{network}-{loss}")
                request = Request(DIGIT_DATA if data == "digits" else data, network, loss, batch_size=plan.batch_size)
                usual = DIGIT_OPTIONS if name == "digits" else Options(STEPS, RATE, optimiser="adamw")
                train = partial(train_retrieval, request, plan.options(usual, seed))
                weights = given or trained(train, output / "training" / label, report)
                loaded = load(f"retrieval/{network}", weights=weights)
                loaded.model.to(plan.device)
                _refuse_test_classes(loaded, boxed, weights)
                runs.append(_judged(boxed, loaded, output / "maps" / label, METRICS[loss], partial(report, label)))
            rows += _rows(name, network, loss, runs)
            write(rows, output, "table3", as_markdown(rows))
    return rows


def _sets(data: str, output: Path, seeds: tuple[int, ...]) -> Iterator[tuple[int, BoxedSet]]:
    """Seeds and what is judged for each."""
    if data != "digits":
        found = read_retrieval(data, "test")
        boxed = tuple(picture for picture in found.pictures if isinstance(picture, BoxedPicture))
        yield from ((seed, BoxedSet(found.name, found.classes, boxed, found.missing)) for seed in seeds or (0,))
        return
    digits = DIGITS_OF["test"]
    for seed in seeds or SEEDS:
        boxed_set = boxed_digits(output / f"scenes-{seed}", length=DIGIT_SCENES, seed=seed, digits=digits)
        yield seed, replace(boxed_set, classes=tuple(map(str, digits)))


def _refuse_test_classes(loaded: LoadedModel, boxed: BoxedSet, weights: Path) -> None:
    seen = sorted(set(loaded.card.trained_on or ()) & set(boxed.classes))
    if seen:
        raise DataError(
            f"{weights} was trained on {len(seen)} of the {len(boxed.classes)} classes it is to be judged by, such as "
            f"{seen[0]!r}: the wrong half of the split"
        )


def _judged(
    boxed: BoxedSet, loaded: LoadedModel, folder: Path, metric: Similarity, report: Callable[[int, int], None]
) -> _Run:
    evaluation = evaluate(boxed, loaded, folder, Comparison(METHODS, RULES, predictions="none", metric=metric), report)
    outputs = embeddings_of(folder, boxed)
    embeddings = torch.from_numpy(np.stack(list(outputs.values())))
    labels = torch.tensor([boxed.pictures[number].label for number in outputs])
    if metric == "cosine":
        embeddings = torch.nn.functional.normalize(embeddings, dim=1)
    return _Run(evaluation, nmi(embeddings, labels), nmi(embeddings, labels, average="arithmetic"))


def _rows(data: str, network: str, loss: str, runs: Sequence[_Run]) -> Iterator[Row]:
    for place, first in enumerate(runs[0].evaluation.judged):
        same = [run.evaluation.judged[place] for run in runs]
        yield Row(
            network, loss, first.method, first.protocol,
            recall=Figure.of([100 * run.evaluation.top1 for run in runs]),
            nmi=Figure.of([run.nmi for run in runs]),
            nmi_arithmetic=Figure.of([run.nmi_arithmetic for run in runs]),
            loc=Figure.of([100 * one.top1 for one in same]),
            gt_known=Figure.of([100 * one.gt_known for one in same]),
            paper=_paper(data, network, loss, first),
        )  # fmt: skip


def _paper(data: str, network: str, loss: str, judged: Judged) -> tuple[float, float | None, float] | None:
    known = PAPER.get((data, network, loss))
    if known is None or judged.protocol != "cam-code" or judged.method not in METHODS[:3]:
        return None
    return known[1], known[2], known[0][METHODS.index(judged.method)]


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, the paper's figures beside ours; in brackets the largest less the smallest over the seeds."""
    heads = ["network", "loss", "method", "protocol", "NMI (arithmetic)", "R@1", "LOC", "LOC whatever the neighbour"]
    heads.append("paper: NMI, R@1, LOC")
    lines = [line(heads), line(["---"] * len(heads))]
    for row in rows:
        figures = [f"{row.nmi}; {row.nmi_arithmetic.mean:.3f}", str(row.recall), str(row.loc), str(row.gt_known)]
        paper = "" if row.paper is None else ", ".join("?" if value is None else f"{value}" for value in row.paper)
        lines.append(line([row.network, row.loss, row.method, row.protocol, *figures, paper]))
    return "\n".join(lines) + "\n"
