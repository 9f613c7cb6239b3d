"""Stage two of an evaluation: boxes and figures, from the maps of stage one, under any protocol.

folder/results.json, results.csv, results.md, worst.png, best.png; and guesses.csv where the network's guesses have
maps: a box for each of them, as ImageNet's localisation challenge asks for
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw

from l2caf import storage
from l2caf.data.boxed import BoxedSet
from l2caf.data.pictures import read_picture
from l2caf.errors import DataError
from l2caf.evaluation import BoxRule, iou
from l2caf.evaluation.maps import GUESSES, MapsOf, read_maps
from l2caf.evaluation.metrics import EnergyPointingGame, MaxBoxAcc, PointingGame
from l2caf.evaluation.protocols import WSOL_SIDE, WsolEvaluation, swept_overlaps, wsol_map
from l2caf.pictures import overlay, resize
from l2caf.retrieval.search import Gallery, Similarity

RESAMPLES: Final = 2000
GALLERY: Final = 12
OVERLAP: Final = 0.5  # from which a box is right


@dataclass(frozen=True, slots=True)
class Judged:
    """One method under one protocol.

    Attributes:
        method: its name.
        protocol: its name, with its threshold.
        threshold: share of the maximum at which boxes were cut.
        gt_known: share of pictures whose true class's box is right.
        gt_known_low: lower end of its 95 % bootstrap interval over pictures.
        gt_known_high: upper end.
        top1: share with the right class first and its box right.
        top5: share with the right class among five and its box right.
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
class Swept:
    """One method by figures that sweep the threshold or need none.

    Attributes:
        method: its name.
        max_box_acc: MaxBoxAcc.
        max_box_acc_v2: MaxBoxAccV2.
        best_threshold: where MaxBoxAcc was reached.
        pointing: pointing game.
        energy: energy pointing game.
    """

    method: str
    max_box_acc: float
    max_box_acc_v2: float
    best_threshold: float
    pointing: float
    energy: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run found.

    Attributes:
        judged: by method and protocol.
        swept: by method.
        top1: share of pictures classified rightly.
        top5: likewise among five guesses.
        n_pictures: how many were judged.
        skipped: files that could not be read, with the reason.
        by_neighbours: whether the guesses are the classes of the nearest neighbours in an embedding, so that top1 is
            Recall@1.
    """

    judged: list[Judged]
    swept: list[Swept]
    top1: float
    top5: float
    n_pictures: int
    skipped: list[tuple[str, str]]
    by_neighbours: bool = False


def judge(
    boxed: BoxedSet, folder: Path, rules: Sequence[BoxRule], *, sweep: bool = True, metric: Similarity = "cosine"
) -> Evaluation:
    """Stage two: figures from the maps of stage one.

    Args:
        boxed: the same data set.
        folder: what stage one wrote.
        rules: protocols to judge by.
        sweep: also MaxBoxAcc, MaxBoxAccV2 and the pointing games, which take longest.
        metric: by which embeddings are near; without meaning for classifiers.

    Returns:
        The figures; they are also written into the folder, with a gallery of the best and worst pictures.

    Raises:
        StorageError: if the folder holds no evaluation.
        DataError: if no picture could be read.
    """
    storage.read_manifest(folder)
    skipped: list[tuple[str, str]] = []
    overlaps: dict[tuple[str, str], list[float]] = {}
    sweeps: dict[str, _Sweep] = {}
    right: list[tuple[bool, bool]] = []
    table: list[dict[str, Any]] = []
    guessed: list[dict[str, Any]] = []
    scores: list[tuple[float, int]] = []
    neighbours = _neighbours(folder, boxed, metric)
    for row in read_maps(folder, boxed, skipped):
        true, guesses = int(row.targets[0]), neighbours.get(row.number, row.targets[1:])
        right.append((bool(guesses[0] == true), bool((guesses == true).any())))
        line: dict[str, Any] = {
            "file": str(row.picture.file),
            "label": row.picture.label,
            "first guess": int(guesses[0]),
        }
        for name, maps in row.maps.items():
            if sweep:
                if name not in sweeps:
                    sweeps[name] = _Sweep(len(boxed.classes))
                sweeps[name].update(row, maps)
            for rule in rules:
                overlaps.setdefault((name, rule.name), []).append(_overlap(rule, row, maps))
                line[f"IoU {name} {rule.name}"] = round(overlaps[name, rule.name][-1], 4)
        table.append(line)
        guessed += _guesses(row, rules[0])
        scores.append((float(np.mean([line[key] for key in line if key.startswith("IoU")])), row.number))
    if not right:
        raise DataError(f"{folder} holds maps of no picture; {len(skipped)} could not be read")
    judged = [_judged(name, rule, overlaps[name, rule.name], right) for name in row.maps for rule in rules]
    shares = np.mean(right, axis=0)
    swept = [sweeps[name].figures(name) for name in sweeps]
    evaluation = Evaluation(
        judged, swept, float(shares[0]), float(shares[1]), len(right), skipped, by_neighbours=bool(neighbours)
    )
    _write(folder, evaluation, table)
    if guessed:
        _write_csv(folder / "guesses.csv", guessed)
    ranked = [number for _, number in sorted(scores)]
    for name, numbers in (("worst", ranked[:GALLERY]), ("best", ranked[::-1][:GALLERY])):
        shown = {row.number: row for row in read_maps(folder, boxed, []) if row.number in numbers}
        _gallery([shown[number] for number in numbers]).save(folder / f"{name}.png")
    return evaluation


def embeddings_of(folder: Path, boxed: BoxedSet) -> dict[int, Float[np.ndarray, " n"]]:
    """What an embedding network said of each picture of a run, by the picture's number; nothing for classifiers."""
    return {row.number: row.output for row in read_maps(folder, boxed, []) if row.output is not None}


def _neighbours(folder: Path, boxed: BoxedSet, metric: Similarity) -> dict[int, Int[np.ndarray, " k"]]:
    """Classes of the pictures nearest to each in an embedding, the nearest first."""
    outputs = embeddings_of(folder, boxed)
    if len(outputs) < 2:
        return {}
    numbers = np.array(list(outputs))
    embeddings = torch.from_numpy(np.stack(list(outputs.values())))
    labels = np.array([boxed.pictures[number].label for number in numbers])
    own = torch.arange(len(numbers))
    found = Gallery(embeddings, metric).nearest(embeddings, min(GUESSES, len(numbers) - 1), own=own)
    return dict(zip(numbers.tolist(), labels[found.indices.numpy()], strict=True))


class _Sweep:
    """Figures that need no protocol, of one method."""

    def __init__(self, n_classes: int) -> None:
        self.v1 = MaxBoxAcc("largest", (0.5,))
        self.v2 = MaxBoxAcc()
        self.pointing = PointingGame(n_classes)
        self.energy = EnergyPointingGame()
        self.rule = WsolEvaluation("swept", "all")

    def update(self, row: MapsOf, heat: Float[np.ndarray, "h w"]) -> None:
        score = wsol_map(heat)
        truth = self.rule.truth(row.picture.boxes, row.frame)
        swept = swept_overlaps(score, truth, self.v1.thresholds)
        self.v1.update(score, truth, swept=swept)
        self.v2.update(score, truth, swept=swept)
        side = (WSOL_SIDE, WSOL_SIDE)
        shown = resize(torch.from_numpy(heat)[None, None], side)[0, 0].numpy().clip(0)
        boxes = row.frame.to_input(row.picture.boxes, side)
        self.pointing.update(shown, boxes, row.picture.label)
        self.energy.update(shown, boxes)

    def figures(self, name: str) -> Swept:
        return Swept(
            name, float(self.v1.compute()), float(self.v2.compute()), self.v1.best_thresholds()[0],
            float(self.pointing.compute()), float(self.energy.compute()),
        )  # fmt: skip


def _guesses(row: MapsOf, rule: BoxRule) -> list[dict[str, Any]]:
    """The first box of each guess's map, in pixels of the rule's frame; empty fields where a map gives none."""
    lines = []
    for name, heats in row.guessed.items():
        for rank, (output, heat) in enumerate(zip(row.targets[1:], heats, strict=False), start=1):
            corners = next(iter(rule.boxes(heat, row.frame).tolist()), [""] * 4)
            line = {"file": str(row.picture.file), "method": name, "rank": rank, "output": int(output)}
            lines.append({**line, **dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)), "rule": rule.name})
    return lines


def _overlap(rule: BoxRule, row: MapsOf, heat: Float[np.ndarray, "h w"]) -> float:
    """Best overlap of the boxes that a protocol counts with an annotated one, in [0, 1]."""
    found = rule.boxes(heat, row.frame)[: rule.counted]
    return float(iou(found, rule.truth(row.picture.boxes, row.frame), inclusive=rule.inclusive).max(initial=0.0))


def _judged(name: str, rule: BoxRule, overlaps: list[float], right: list[tuple[bool, bool]]) -> Judged:
    """A guess is right if its class and that class's box are, so the true class's map decides all."""
    hits = np.array(overlaps) >= OVERLAP
    low, high = bootstrap(hits)
    top1, top5 = ((hits & column).mean() for column in np.array(right).T)
    return Judged(name, rule.name, rule.threshold, float(hits.mean()), low, high, float(top1), float(top5))


def bootstrap(values: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean, by resampling pictures 2000 times (percentiles; a fixed seed)."""
    picks = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _write(folder: Path, evaluation: Evaluation, table: list[dict[str, Any]]) -> None:
    (folder / "results.json").write_text(json.dumps(asdict(evaluation), indent=1), encoding="utf-8")
    _write_csv(folder / "results.csv", table)
    (folder / "results.md").write_text(as_markdown(evaluation), encoding="utf-8")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


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
    if evaluation.swept:
        lines += [
            "",
            "| method | MaxBoxAcc (at) | MaxBoxAccV2 | pointing | energy |",
            "| --- | --- | --- | --- | --- |",
        ]
    lines += [
        f"| {one.method} | {100 * one.max_box_acc:.1f} ({one.best_threshold:.2f}) | {100 * one.max_box_acc_v2:.1f} | "
        f"{100 * one.pointing:.1f} | {100 * one.energy:.1f} |"
        for one in evaluation.swept
    ]
    return "\n".join(lines) + "\n"


def _gallery(rows: list[MapsOf], side: int = 160) -> Image.Image:
    """A row per picture: the picture with its boxes, and the map of every method for its true class."""
    sheet = Image.new("RGB", (side * (1 + len(rows[0].maps)), side * len(rows)), "white")
    for line, row in enumerate(rows):
        picture = read_picture(row.picture.file)
        x0, y0, x1, y1 = row.frame.region
        shown = picture.resize((side, side), Image.Resampling.BILINEAR, box=_inside(picture, (x0, y0, x1, y1)))
        boxed = shown.copy()
        for box in row.frame.to_input(row.picture.boxes, (side, side)):
            corners = [float(value) for value in box]
            ImageDraw.Draw(boxed).rectangle(corners, outline="black", width=4)  # seen on light ground
            ImageDraw.Draw(boxed).rectangle(corners, outline="white", width=2)
        sheet.paste(boxed, (0, line * side))
        for column, maps in enumerate(row.maps.values(), start=1):
            heat = resize(torch.from_numpy(maps)[None, None], (side, side))[0, 0].numpy().clip(0)
            heat = heat / max(float(heat.max()), 1e-12)
            sheet.paste(Image.fromarray(overlay(np.asarray(shown), heat)), (column * side, line * side))
    return sheet


def _inside(picture: Image.Image, region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return max(region[0], 0), max(region[1], 0), min(region[2], picture.width), min(region[3], picture.height)
