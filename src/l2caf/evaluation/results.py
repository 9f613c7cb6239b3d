"""What an evaluation found, and the files that say so: results.json, results.csv, results.md, guesses.csv."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from l2caf import storage

HEADINGS: Final = {"max_box_acc": "MaxBoxAcc (at)", "max_box_acc_v2": "MaxBoxAccV2"}  # others are their own headings
BEST: Final = "best_threshold"  # shown in brackets behind MaxBoxAcc; all other figures are shares


@dataclass(frozen=True, slots=True)
class Judged:
    """One method under one protocol; all figures are shares in [0, 1].

    Attributes:
        method: the name of the method.
        protocol: the name of the box rule.
        threshold: the share of the map's maximum at which boxes were cut.
        gt_known: the share of pictures whose true class's box is right.
        gt_known_low: the lower end of its 95 % bootstrap interval over pictures.
        gt_known_high: the upper end of that interval.
        top1: the share of pictures with the right class first and its box right.
        top5: the share of pictures with the right class among five guesses and its box right.
    """

    method: str
    protocol: str
    threshold: float
    gt_known: float
    gt_known_low: float
    gt_known_high: float
    top1: float
    top5: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run found; all shares are in [0, 1].

    Attributes:
        judged: the figures of boxes, for each method and protocol.
        figures: the figures of maps, by method and by name, such as `figures["l2caf"]["pointing"]`.
        top1: the share of pictures classified rightly.
        top5: the share of pictures whose class is among five guesses.
        n_pictures: the number of pictures that were judged.
        skipped: files that could not be read, with the reason.
        by_neighbours: whether the guesses are the classes of the nearest neighbours in an embedding, so that `top1` is
            Recall@1.
    """

    judged: list[Judged]
    figures: dict[str, dict[str, float]]
    top1: float
    top5: float
    n_pictures: int
    skipped: list[tuple[str, str]]
    by_neighbours: bool = False


def write_results(folder: Path, evaluation: Evaluation) -> None:
    """Write results.json and results.md into a folder."""
    content = {"judged": [asdict(one) for one in evaluation.judged]}
    content["swept"] = [{"method": name, **found} for name, found in evaluation.figures.items() if found]
    names = ("top1", "top5", "n_pictures", "skipped", "by_neighbours")
    told = content | {name: getattr(evaluation, name) for name in names}
    (folder / "results.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    (folder / "results.md").write_text(as_markdown(evaluation), encoding="utf-8")


@contextmanager
def csv_file(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Mapping[str, object]], None]]:
    """A CSV file that appears under its name when it is whole.

    Args:
        path: the file.
        columns: its columns.

    Yields:
        A function that writes one row, given as a mapping from column to value.
    """
    with storage.whole_file(path) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        yield writer.writerow
        stream.detach()  # flushes, and leaves closing to whole_file


def as_markdown(evaluation: Evaluation) -> str:
    """The figures as tables, in percent."""
    right = "nearest neighbour of the same class" if evaluation.by_neighbours else "classified rightly"
    lines = [
        f"{evaluation.n_pictures} pictures; {right}: {evaluation.top1:.1%} (top-5 {evaluation.top5:.1%}).",
        "", "| method | protocol | threshold | GT-known (95 % interval) | Top-1 Loc | Top-5 Loc |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    lines += [
        f"| {one.method} | {one.protocol} | {one.threshold:.2f} | {100 * one.gt_known:.1f} "
        f"({100 * one.gt_known_low:.1f} to {100 * one.gt_known_high:.1f})"
        f" | {100 * one.top1:.1f} | {100 * one.top5:.1f} |"
        for one in evaluation.judged
    ]
    rows = {name: _cells(found) for name, found in evaluation.figures.items() if found}
    if rows:
        headings = list(dict.fromkeys(heading for cells in rows.values() for heading in cells))
        lines += ["", _line(["method", *headings]), _line(["---"] * (1 + len(headings)))]
        lines += [_line([name, *(cells.get(heading, "") for heading in headings)]) for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def _cells(figures: Mapping[str, float]) -> dict[str, str]:
    """What the table shows of one method's figures, by heading."""
    cells = {HEADINGS.get(name, name): f"{100 * value:.1f}" for name, value in figures.items() if name != BEST}
    if BEST in figures:
        cells[HEADINGS["max_box_acc"]] += f" ({figures[BEST]:.2f})"
    return cells


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
