"""The driver of the paper's tables: train or load each network, judge its maps, write the rows as JSON and markdown.

A table says which networks it compares by which methods and protocols, and what its columns are. `Table.make` does the
rest, once for every seed, and continues a run that stopped.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar

from l2caf import storage
from l2caf.data.boxed import BoxedSet
from l2caf.data.digits import boxed_digits
from l2caf.errors import DataError
from l2caf.evaluation import PROTOCOLS
from l2caf.evaluation.judge import judge
from l2caf.evaluation.maps import MapOptions, Predictions, write_maps
from l2caf.evaluation.results import Evaluation
from l2caf.methods import methods
from l2caf.models import LoadedModel, load
from l2caf.progress import Report, Reports, all_silent
from l2caf.recipes.recipe import WEIGHTS, Recipe, train
from l2caf.retrieval.search import Similarity, nearest_others
from l2caf.training import Options
from l2caf.training.options import usable

DIGIT_SCENES: Final = 300
SEEDS: Final = (0, 1, 2)  # of training and scenes, where the data are digits


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table; its fields are written to the JSON file."""


Row = TypeVar("Row", bound=TableRow)


@dataclass(frozen=True)  # no slots: Python 3.11 cannot make Column[...](...) of a frozen class with slots
class Column(Generic[Row]):
    """One column of a table's markdown file: its heading, and what it says about a row."""

    heading: str
    cell: Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What a table is made of, where that is not the table's own choice.

    Attributes:
        weights: a folder of weight files or training runs named after networks, such as `vgg16-adl.safetensors` or
            `resnet50-npair/weights.safetensors`; networks whose weights are not there are trained.
        networks: the names of the networks; none for those of the paper, or the digits one.
        losses: the ranking losses of networks for retrieval; none for those of the paper.
        seeds: seeds of the training, for digits also of the scenes; none for 0, and 0, 1, 2 for digits.
        training: the options of the training, except for seed and device; None for the table's own.
        batch_size: pictures per step of the training.
        device: the device on which networks are trained and maps made.
    """

    weights: Path | None = None
    networks: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    training: Options | None = None
    batch_size: int = 32
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which maps are compared, and how they are judged.

    Attributes:
        methods: the names of the methods.
        rules: the names of the protocols.
        metrics: the names of metrics of maps, such as `max-box-acc`, which take longest.
        predictions: the classes whose maps are made, as `write_maps` takes it; `"none"` for embeddings.
        metric: the distance by which embeddings are neighbours.
    """

    methods: Sequence[str]
    rules: Sequence[str]
    metrics: Sequence[str] = ()
    predictions: Predictions = "true"
    metric: Similarity = "cosine"


@dataclass(frozen=True, slots=True)
class Trial:
    """One network, judged on the pictures of one seed.

    Attributes:
        boxed: the pictures with their boxes.
        folder: the folder of the maps.
        evaluation: the figures.
    """

    boxed: BoxedSet
    folder: Path
    evaluation: Evaluation


@dataclass(frozen=True)
class TableEntry(Generic[Row]):
    """One network of a table.

    Attributes:
        label: what its weights and the folders of its maps are called, such as `vgg16-adl`.
        model: the network's name, as `models.load` takes it.
        comparison: methods and protocols.
        rows: makes the rows of the network's trials, one trial for each seed.
        training: trains the network where its weights are not given: the recipe and its usual options, except for seed
            and device. None for a network that comes with its weights.
    """

    label: str
    model: str
    comparison: Comparison
    rows: Callable[[Sequence[Trial]], Iterable[Row]]
    training: tuple[Recipe, Options] | None = None


@dataclass(frozen=True)
class Table(Generic[Row]):
    """One table of the paper.

    Attributes:
        name: the name of its files, such as `table2`.
        known: the names of the data sets besides digits that it is made of; none for any that has boxes.
        read: reads the pictures to judge by.
        entries: the networks, from the data and the plan.
        columns: the columns of the markdown file.
        digits: the classes to judge by where the data are digits.
        maps: the folder of the maps inside the output folder.
    """

    name: str
    known: tuple[str, ...]
    read: Callable[[str], BoxedSet]
    entries: Callable[[str, TablePlan], Iterable[TableEntry[Row]]]
    columns: Sequence[Column[Row]]
    digits: tuple[int, ...] = tuple(range(10))
    maps: str = "maps"

    def make(
        self,
        data: str,
        output: Path,
        plan: TablePlan | None = None,
        *,
        report: Reports = all_silent,
    ) -> list[Row]:
        """Make the table and write its files; a run that stopped is continued.

        Args:
            data: `NAME:ROOT`, as `known` names it, or `digits`, which needs no download.
            output: the folder for trained networks, maps and results.
            plan: what the table is made of; None for what the paper's is made of.
            report: gives, for each training and evaluation by name, what is called with how much is done and in all.

        Returns:
            The rows; the folder holds them as NAME.json and NAME.md.

        Raises:
            DataError: if the data are not `known` or cannot be read, or a network was trained on classes to judge by.
            TrainingError: if the device cannot be used, or a network cannot be trained.
        """
        plan = plan or TablePlan()
        usable(plan.device)
        self._check(data)
        sets = list(self._sets(data, output, plan.seeds))
        rows: list[Row] = []
        for entry in self.entries(data, plan):
            trials = []
            for seed, boxed in sets:
                depends_on_seed = data == "digits" or entry.training is not None
                label = f"{entry.label}-{seed}" if depends_on_seed else entry.label
                weights = given_weights(plan.weights, entry.label)
                if weights is None and entry.training is not None:
                    recipe, usual = entry.training
                    options = replace(plan.training or usual, seed=seed, device=plan.device)
                    folder = output / "training" / label
                    train(recipe, options, folder, resume=True, report=report(f"train {label}"))
                    weights = folder / WEIGHTS
                loaded = load(entry.model, weights=weights)
                loaded.model.to(plan.device)
                _refuse_test_classes(loaded, boxed, weights)
                maps = output / self.maps / label
                found = _judged(boxed, loaded, maps, entry.comparison, report(label))
                trials.append(Trial(boxed, maps, found))
            rows += entry.rows(trials)
            self._write(rows, output)
        return rows

    def _check(self, data: str) -> None:
        name, _, root = data.partition(":")
        if self.known and data != "digits" and (name not in self.known or not root):
            raise DataError(f"data {data!r}: expected {', '.join(f'{one}:ROOT' for one in self.known)}, or digits")

    def _sets(self, data: str, output: Path, seeds: tuple[int, ...]) -> Iterator[tuple[int, BoxedSet]]:
        if data != "digits":
            boxed = self.read(data)
            yield from ((seed, boxed) for seed in seeds or (0,))
            return
        for seed in seeds or SEEDS:
            boxed = boxed_digits(output / f"scenes-{seed}", length=DIGIT_SCENES, seed=seed, digits=self.digits)
            yield seed, replace(boxed, classes=tuple(map(str, self.digits)))

    def _write(self, rows: Sequence[Row], output: Path) -> None:
        cells = [[column.cell(row) for column in self.columns] for row in rows]
        content = json.dumps([asdict(row) for row in rows], indent=1)
        write(output, self.name, content, as_markdown([column.heading for column in self.columns], cells))


def _judged(boxed: BoxedSet, loaded: LoadedModel, folder: Path, comparison: Comparison, report: Report) -> Evaluation:
    """Maps of a data set by several methods, judged by several rules; a run that stopped is continued."""
    chosen = methods(list(comparison.methods), loaded.model)
    workers = 0 if boxed.name == "csv" else 2  # scenes are not worth starting processes for
    options = MapOptions(predictions=comparison.predictions, workers=workers)
    write_maps(boxed, loaded, chosen, folder, options, report)
    rules = [PROTOCOLS[rule] for rule in comparison.rules]
    nearest = partial(nearest_others, metric=comparison.metric)
    return judge(boxed, folder, rules, metrics=comparison.metrics, nearest=nearest)


def given_weights(folder: Path | None, label: str) -> Path | None:
    """The file of a network's weights in a folder of weight files or training runs; None where there is none."""
    places = [] if folder is None else [folder / f"{label}.safetensors", folder / label / WEIGHTS]
    return next((place for place in places if place.is_file()), None)


def _refuse_test_classes(loaded: LoadedModel, boxed: BoxedSet, weights: Path | None) -> None:
    seen = sorted(set(loaded.card.trained_on or ()) & set(boxed.classes))
    if seen:
        raise DataError(
            f"{weights} was trained on {len(seen)} of the {len(boxed.classes)} classes it is to be judged by, such as "
            f"{seen[0]!r}: the wrong half of the split; give weights that were trained on other classes"
        )


def as_markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown.

    Args:
        headings: one for each column.
        rows: the cells of each row, one for each heading.

    Returns:
        The text, with a line for each row and a line break at its end.
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write(folder: Path, name: str, content: str, markdown: str) -> None:
    """Write a table's content (JSON) and its markdown as NAME.json and NAME.md into a folder, which may be new."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("json", content), ("md", markdown)):
        with storage.whole_file(folder / f"{name}.{suffix}") as stream:
            stream.write(text.encode())
