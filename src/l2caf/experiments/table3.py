"""The paper's Table 3: localisation by retrieval networks, Grad-CAM and Grad-CAM-abs beside L2-CAF.

On the test classes of CUB and CARS196 by the box rule of CAM's code, as in the paper; or on DigitScenes (digits 0-4 to
train on, 5-9 to judge by), which need no download, over three seeds. LOC counts a picture if its nearest neighbour is
of its class and its box is right. Networks whose weights are not given are trained first.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch

from l2caf.data.boxed import BoxedPicture, BoxedSet
from l2caf.data.digits import DIGITS_OF
from l2caf.data.sets import read_retrieval
from l2caf.errors import DataError, nearest
from l2caf.evaluation.results import Judged
from l2caf.evaluation.stored import embeddings_of
from l2caf.experiments.tables import Column, Comparison, Table, TableEntry, TablePlan, TableRow, Trial
from l2caf.recipes.retrieval import RATE, STEPS, RetrievalRecipe
from l2caf.retrieval import nmi
from l2caf.retrieval.search import Similarity
from l2caf.training import Options

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
# The paper does not normalise the N-pair embedding; neighbours and clusters are sought without normalising, too.
METRICS: Final[dict[str, Similarity]] = {"triplet": "cosine", "npair": "euclidean"}
USUAL: Final = Options(STEPS, RATE, optimiser="adamw")
DIGIT_OPTIONS: Final = Options(steps=120, learning_rate=1e-3, optimiser="adamw", save_every=40)
DIGIT_DATA: Final = "digits:800"


@dataclass(frozen=True, slots=True)
class SeedFigure:
    """One figure over the seeds: its mean, and the largest value less the smallest."""

    mean: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "SeedFigure":
        """The figure of several values."""
        return cls(statistics.fmean(values), max(values) - min(values))

    def __str__(self) -> str:
        return f"{self.mean:.1f} ({self.spread:.1f})" if abs(self.mean) > 1 else f"{self.mean:.3f} ({self.spread:.3f})"


@dataclass(frozen=True, slots=True)
class RetrievalRow(TableRow):
    """One network, loss, method and protocol; shares are in percent.

    Attributes:
        network: the name of the trunk.
        loss: the ranking loss of the training.
        method: the name of the method.
        protocol: the name of the box rule.
        recall: Recall@1.
        nmi: normalised mutual information with the geometric mean, as the paper defines it, in [0, 1].
        nmi_arithmetic: normalised mutual information with the arithmetic mean, as libraries define it, in [0, 1].
        loc: pictures whose nearest neighbour is of their class and whose box is right.
        gt_known: pictures whose box is right, whatever the nearest neighbour.
        paper: the paper's NMI, Recall@1 and LOC, where it has them.
    """

    network: str
    loss: str
    method: str
    protocol: str
    recall: SeedFigure
    nmi: SeedFigure
    nmi_arithmetic: SeedFigure
    loc: SeedFigure
    gt_known: SeedFigure
    paper: tuple[float, float | None, float] | None


def _test_classes(data: str) -> BoxedSet:
    found = read_retrieval(data, "test")
    pictures = tuple(picture for picture in found.pictures if isinstance(picture, BoxedPicture))
    return BoxedSet(found.name, found.classes, pictures, found.missing)


def _entries(data: str, plan: TablePlan) -> Iterator[TableEntry[RetrievalRow]]:
    are_digits, name = data == "digits", data.partition(":")[0]
    losses = plan.losses or LOSSES
    for loss in losses:
        if loss not in METRICS:
            raise DataError(f"unknown loss {loss!r}{nearest(loss, LOSSES)}; expected one of {', '.join(LOSSES)}")
    for network in plan.networks or (("digits",) if are_digits else NETWORKS):
        for loss in losses:
            comparison = Comparison(METHODS, RULES, predictions="none", metric=METRICS[loss])
            recipe = RetrievalRecipe(DIGIT_DATA if are_digits else data, network, loss, batch_size=plan.batch_size)
            yield TableEntry(
                f"{network}-{loss}",
                f"retrieval/{network}",
                comparison,
                partial(_rows, data=name, network=network, loss=loss),
                (recipe, DIGIT_OPTIONS if are_digits else USUAL),
            )


def _rows(trials: Sequence[Trial], data: str, network: str, loss: str) -> Iterator[RetrievalRow]:
    geometric, arithmetic = zip(*(_clustering(trial, METRICS[loss]) for trial in trials), strict=True)
    runs = [trial.evaluation for trial in trials]
    for place, first in enumerate(runs[0].judged):
        same = [run.judged[place] for run in runs]
        yield RetrievalRow(
            network, loss, first.method, first.protocol,
            recall=SeedFigure.of([100 * run.top1 for run in runs]),
            nmi=SeedFigure.of(geometric),
            nmi_arithmetic=SeedFigure.of(arithmetic),
            loc=SeedFigure.of([100 * one.top1 for one in same]),
            gt_known=SeedFigure.of([100 * one.gt_known for one in same]),
            paper=_paper(data, network, loss, first),
        )  # fmt: skip


def _clustering(trial: Trial, metric: Similarity) -> tuple[float, float]:
    """The NMI of a network's embeddings, with the geometric and with the arithmetic mean."""
    outputs = embeddings_of(trial.folder)
    embeddings = torch.from_numpy(np.stack(list(outputs.values())))
    labels = torch.tensor([trial.boxed.pictures[number].label for number in outputs])
    if metric == "cosine":
        embeddings = torch.nn.functional.normalize(embeddings, dim=1)
    return nmi(embeddings, labels), nmi(embeddings, labels, average="arithmetic")


def _paper(data: str, network: str, loss: str, judged: Judged) -> tuple[float, float | None, float] | None:
    known = PAPER.get((data, network, loss))
    if known is None or judged.protocol != "cam-code" or judged.method not in METHODS[:3]:
        return None
    return known[1], known[2], known[0][METHODS.index(judged.method)]


def _quoted(paper: tuple[float, float | None, float] | None) -> str:
    return "" if paper is None else ", ".join("?" if value is None else f"{value}" for value in paper)


# In brackets after a figure: the largest value less the smallest over the seeds.
COLUMNS: Final[tuple[Column[RetrievalRow], ...]] = (
    Column("network", lambda row: row.network),
    Column("loss", lambda row: row.loss),
    Column("method", lambda row: row.method),
    Column("protocol", lambda row: row.protocol),
    Column("NMI (arithmetic)", lambda row: f"{row.nmi}; {row.nmi_arithmetic.mean:.3f}"),
    Column("R@1", lambda row: str(row.recall)),
    Column("LOC", lambda row: str(row.loc)),
    Column("LOC whatever the neighbour", lambda row: str(row.gt_known)),
    Column("paper: NMI, R@1, LOC", lambda row: _quoted(row.paper)),
)
TABLE3: Final = Table("table3", ("cub", "cars"), _test_classes, _entries, COLUMNS, DIGITS_OF["test"])
