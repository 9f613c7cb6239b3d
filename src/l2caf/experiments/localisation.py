"""The rows and columns of the tables of classifiers, Tables 1 and 2: one row for each network, method and protocol."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from l2caf.experiments.tables import Column, TableRow, Trial

PaperFigures = Callable[[str, str], tuple[float, ...] | None]


@dataclass(frozen=True, slots=True)
class LocalisationRow(TableRow):
    """One network, method and protocol; figures are means over the seeds, in percent.

    Attributes:
        network: the name of the network.
        method: the name of the method.
        protocol: the name of the box rule.
        cls1: pictures whose class the network gives first.
        cls5: pictures whose class is among the first five that the network gives.
        loc1: Top-1 localisation.
        loc5: Top-5 localisation.
        gt_known: GT-known localisation.
        spread: the largest GT-known localisation over the seeds less the smallest.
        paper: the paper's figures, where it has them: CLS and LOC, Top-1 and Top-5 (Table 1) or Top-1 alone (Table 2).
        max_box_acc: MaxBoxAcc, where thresholds were swept.
    """

    network: str
    method: str
    protocol: str
    cls1: float
    cls5: float
    loc1: float
    loc5: float
    gt_known: float
    spread: float
    paper: tuple[float, ...] | None
    max_box_acc: float | None = None


def rows_of(trials: Sequence[Trial], network: str, paper: PaperFigures) -> Iterator[LocalisationRow]:
    """The rows of one network, from one trial for each seed; `paper` gives its figures for a method and a protocol."""
    runs = [trial.evaluation for trial in trials]
    for number, first in enumerate(runs[0].judged):
        same = [run.judged[number] for run in runs]
        known = [100 * one.gt_known for one in same]
        figures = [run.figures[first.method] for run in runs]
        swept = [100 * found["max_box_acc"] for found in figures if "max_box_acc" in found]
        yield LocalisationRow(
            network, first.method, first.protocol,
            cls1=100 * statistics.fmean(run.top1 for run in runs),
            cls5=100 * statistics.fmean(run.top5 for run in runs),
            loc1=100 * statistics.fmean(one.top1 for one in same),
            loc5=100 * statistics.fmean(one.top5 for one in same),
            gt_known=statistics.fmean(known),
            spread=max(known) - min(known),
            paper=paper(first.method, first.protocol),
            max_box_acc=statistics.fmean(swept) if swept else None,
        )  # fmt: skip


def _quoted(paper: tuple[float, ...] | None) -> str:
    forms = {4: "{} / {}, {} / {}", 2: "{}, {}"}
    return "" if paper is None else forms[len(paper)].format(*paper)


COLUMNS: Final[tuple[Column[LocalisationRow], ...]] = (
    Column("network", lambda row: row.network),
    Column("method", lambda row: row.method),
    Column("protocol", lambda row: row.protocol),
    Column("CLS 1 / 5", lambda row: f"{row.cls1:.1f} / {row.cls5:.1f}"),
    Column("LOC 1 / 5", lambda row: f"{row.loc1:.1f} / {row.loc5:.1f}"),
    Column("GT-known (range)", lambda row: f"{row.gt_known:.1f} ({row.spread:.1f})"),
)
SWEPT: Final[Column[LocalisationRow]] = Column("MaxBoxAcc", lambda row: f"{row.max_box_acc:.1f}")
PAPER_COLUMN: Final[Column[LocalisationRow]] = Column("paper: CLS 1 / 5, LOC 1 / 5", lambda row: _quoted(row.paper))
