"""What the tables of localisation share: rows, how they come from evaluations, and how they are written."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from l2caf import storage
from l2caf.data.boxed import BoxedSet
from l2caf.errors import DataError
from l2caf.evaluation import protocol
from l2caf.evaluation.judge import Evaluation, judge
from l2caf.evaluation.maps import Predictions, write_maps
from l2caf.methods.registry import methods
from l2caf.models import LoadedModel
from l2caf.retrieval.search import Similarity
from l2caf.training import Options

WEIGHTS: Final = "weights.safetensors"  # of a training run


@dataclass(frozen=True, slots=True)
class Row:
    """One network and method; figures in percent, mean over seeds, and their range where there are several.

    Attributes:
        network: its name.
        method: its name.
        protocol: the box rule.
        cls1: classified rightly.
        cls5: likewise among five.
        loc1: Top-1 localisation.
        loc5: Top-5 localisation.
        gt_known: GT-known localisation.
        spread: largest minus smallest GT-known over the seeds.
        paper: the paper's figures, where it has them.
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What a table of trained networks is made of.

    Attributes:
        weights: a folder of weight files or training runs named after networks, such as `vgg16-adl.safetensors` or
            `resnet50-npair/weights.safetensors`; what is not there is trained.
        networks: their names; none for the paper's, or the digits one.
        seeds: of training, for digits also of the scenes; none for 0, and 0, 1, 2 for digits.
        training: its options, except for seed and device; None for the table's own.
        batch_size: pictures per step of training.
        device: where networks are trained and maps made.
    """

    weights: Path | None = None
    networks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    training: Options | None = None
    batch_size: int = 32
    device: str = "cpu"

    def options(self, usual: Options, seed: int) -> Options:
        """Of one training run; `usual` ones where the plan names none."""
        return replace(self.training or usual, seed=seed, device=self.device)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        methods: their names.
        rules: protocols.
        sweep: also sweep the threshold (MaxBoxAcc), which takes longest.
        predictions: whose maps are made, as `write_maps` takes it; `"none"` for embeddings.
        metric: by which embeddings are neighbours.
    """

    methods: Sequence[str]
    rules: Sequence[str]
    sweep: bool = False
    predictions: Predictions = "true"
    metric: Similarity = "cosine"


def evaluate(
    boxed: BoxedSet,
    loaded: LoadedModel,
    folder: Path,
    comparison: Comparison,
    report: Callable[[int, int], None],
) -> Evaluation:
    """Maps of a data set by several methods, judged by several rules; a run that stopped is taken up.

    Args:
        boxed: the data set.
        loaded: the network.
        folder: for maps and results.
        comparison: methods and rules.
        report: called with pictures done and in all.

    Returns:
        The figures.
    """
    chosen = methods(list(comparison.methods), loaded.model)
    workers = 0 if boxed.name == "csv" else 2  # scenes are not worth starting processes for
    write_maps(boxed, loaded, chosen, folder, predictions=comparison.predictions, workers=workers, report=report)
    rules = [protocol(rule) for rule in comparison.rules]
    return judge(boxed, folder, rules, sweep=comparison.sweep, metric=comparison.metric)


def rows_of(name: str, runs: Sequence[Evaluation], paper: Callable[[str, str], tuple[float, ...] | None]) -> list[Row]:
    """Rows of one network from its evaluations.

    Args:
        name: of the network.
        runs: one for each seed, of the same methods and protocols.
        paper: the paper's figures for a method and protocol.

    Returns:
        A row per method and protocol.
    """
    rows = []
    for number, first in enumerate(runs[0].judged):
        same = [run.judged[number] for run in runs]
        known = [100 * one.gt_known for one in same]
        swept = [100 * one.max_box_acc for run in runs for one in run.swept if one.method == first.method]
        rows.append(
            Row(
                network=name,
                method=first.method,
                protocol=first.protocol,
                cls1=100 * statistics.fmean(run.top1 for run in runs),
                cls5=100 * statistics.fmean(run.top5 for run in runs),
                loc1=100 * statistics.fmean(one.top1 for one in same),
                loc5=100 * statistics.fmean(one.top5 for one in same),
                gt_known=statistics.fmean(known),
                spread=max(known) - min(known),
                paper=paper(first.method, first.protocol),
                max_box_acc=statistics.fmean(swept) if swept else None,
            )
        )
    return rows


def set_named(data: str, known: Sequence[str]) -> str:
    """Which data set is meant.

    Args:
        data: `NAME:ROOT`, or `digits`, whose number of scenes is the table's.
        known: the names.

    Returns:
        The name.

    Raises:
        DataError: if it is none of them.
    """
    name, _, root = data.partition(":")
    if data != "digits" and (name not in known or not root):
        raise DataError(f"data {data!r}: expected {', '.join(f'{one}:ROOT' for one in known)}, or digits")
    return name


def trained(train: Callable[..., Any], folder: Path, report: Callable[[str, int, int], None]) -> Path:
    """The weights that a training leaves in a folder, where it is taken up if it stopped."""
    train(output=folder, resume=True, report=partial(report, f"train {folder.name}"))
    return folder / WEIGHTS


def given_weights(folder: Path | None, name: str) -> Path | None:
    """The file of a network's weights in a folder of weight files or training runs; None where there is none."""
    places = [] if folder is None else [folder / f"{name}.safetensors", folder / name / WEIGHTS]
    return next((place for place in places if place.is_file()), None)


def write(rows: Sequence[Any], folder: Path, name: str, markdown: str) -> None:
    """Write rows as NAME.json and NAME.md."""
    with storage.whole_file(folder / f"{name}.json") as stream:
        stream.write(json.dumps([asdict(row) for row in rows], indent=1).encode())
    with storage.whole_file(folder / f"{name}.md") as stream:
        stream.write(markdown.encode())


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, the paper's figures beside ours."""
    is_swept = any(row.max_box_acc is not None for row in rows)
    heads = ["network", "method", "protocol", "CLS 1 / 5", "LOC 1 / 5", "GT-known (range)"]
    heads += ["MaxBoxAcc"] * is_swept + ["paper: CLS 1 / 5, LOC 1 / 5"]
    lines = [line(heads), line(["---"] * len(heads))]
    for row in rows:
        figures = [f"{row.cls1:.1f} / {row.cls5:.1f}", f"{row.loc1:.1f} / {row.loc5:.1f}"]
        figures.append(f"{row.gt_known:.1f} ({row.spread:.1f})")
        if row.max_box_acc is not None:
            figures.append(f"{row.max_box_acc:.1f}")
        lines.append(line([row.network, row.method, row.protocol, *figures, _quoted(row.paper)]))
    return "\n".join(lines) + "\n"


def line(cells: Sequence[str]) -> str:
    """Cells as a line of a table."""
    return f"| {' | '.join(cells)} |"


def _quoted(paper: tuple[float, ...] | None) -> str:
    """The paper's figures: four in Table 1, CLS and LOC in Table 2."""
    forms = {4: "{} / {}, {} / {}", 2: "{}, {}"}
    return "" if paper is None else forms[len(paper)].format(*paper)
