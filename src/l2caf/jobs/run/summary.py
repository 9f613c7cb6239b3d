"""One pass over the rows of a run: counts, the distribution of losses, and which rows to show.

Memory is bounded by what is shown. Which rows are shown follows from their numbers and figures alone, so the same run
gives the same page.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from l2caf.jobs.run.reading import Results
from l2caf.jobs.run.shards import readable

BINS: Final = 40
ROWS_AT_ONCE: Final = 1 << 16


@dataclass
class Smallest:
    """The numbers of the rows with the smallest keys met so far; ties go to the row that comes first.

    Attributes:
        size: how many rows are kept at most.
        keys: the keys of the rows that are kept, ascending.
        rows: the numbers of these rows.
    """

    size: int
    keys: Float[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0))
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, keys: Float[np.ndarray, " m"], rows: np.ndarray) -> None:
        """Take rows in; those whose key is NaN are left out."""
        known = ~np.isnan(keys)
        keys, rows = np.concatenate([self.keys, keys[known]]), np.concatenate([self.rows, rows[known]])
        order = np.lexsort((rows, keys))[: self.size]
        self.keys, self.rows = keys[order], rows[order]


@dataclass
class RunSummary:
    """The figures of all rows of a run.

    Attributes:
        n_rows: the number of rows.
        n_pictures: the number of pictures that the rows are of.
        certificates: how often each word of a certificate occurs.
        classes: how often each class occurs.
        edges: the edges of the histogram of losses.
        counts: the counts of that histogram.
        undecided: the number of rows whose map carries no spatial information.
        largest_loss: the numbers of the rows with the largest losses, the largest first.
        lowest_agreement: the numbers of the rows with the lowest agreement, the lowest first; empty where no second
            method was asked for.
        sample: the numbers of rows drawn evenly from all, in the order of the draw.
    """

    n_rows: int
    n_pictures: int
    certificates: Counter[str]
    classes: Counter[int]
    edges: Float[np.ndarray, " n"]
    counts: np.ndarray
    undecided: int
    largest_loss: list[int]
    lowest_agreement: list[int]
    sample: list[int]


def relative(rows: dict[str, np.ndarray]) -> Float[np.ndarray, " n"]:
    """What rows are put in order by: the share of the uniform filter's loss that is left, or Eq. 2's loss itself."""
    if not len(rows["loss"]) or not np.isnan(rows["target"]).all():
        return rows["loss"]
    uniform = rows["uniform_loss"]
    return np.where(uniform > 0, rows["loss"] / np.where(uniform > 0, uniform, 1), np.nan)


def summarize(results: Results, n_listed: int, n_sampled: int) -> RunSummary:
    """Read all rows once for their figures, and once more for their histogram.

    Args:
        results: the results of a run.
        n_listed: how many rows with the largest loss, and how many with the lowest agreement, are listed.
        n_sampled: how many rows are drawn from all.

    Returns:
        The summary.
    """
    loss, agreement, drawn = Smallest(n_listed), Smallest(n_listed), Smallest(n_sampled)
    certificates: Counter[str] = Counter()
    classes: Counter[int] = Counter()
    n_pictures, undecided, low, high = 0, 0, np.inf, -np.inf
    for numbers, rows in _chunks(results):
        measure = relative(rows)
        loss.add(-measure, numbers)
        drawn.add(_scattered(numbers), numbers)
        if "agreement" in rows:
            agreement.add(rows["agreement"].astype(np.float64), numbers)
        certificates.update(rows["certificate"].tolist())
        classes.update(np.where(np.isnan(rows["target"]), rows["prediction"], rows["target"]).astype(int).tolist())
        n_pictures += int((rows["rank"] == 0).sum())
        undecided += int(rows["undecided"].sum())
        finite = measure[np.isfinite(measure)]
        low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1) if np.isfinite(low) else np.linspace(0, 1, 2)
    counts = sum((np.histogram(relative(rows), edges)[0] for _, rows in _chunks(results)), np.zeros(len(edges) - 1))
    n_rows = sum(certificates.values())
    return RunSummary(
        n_rows, n_pictures, certificates, classes, edges, np.asarray(counts), undecided,
        loss.rows.tolist(), agreement.rows.tolist(), drawn.rows.tolist(),
    )  # fmt: skip


def _chunks(results: Results) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    wanted = ["loss", "uniform_loss", "target", "prediction", "certificate", "rank", "undecided", "agreement"]
    start = 0
    for batch in (batch for file in results.files for batch in _batches(file, wanted)):
        rows = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
        rows["target"] = rows["target"].astype(np.float64)  # NaN where there is none
        yield np.arange(start, start + len(batch)), rows
        start += len(batch)


def _batches(file: Path, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with readable(file), pq.ParquetFile(file) as shard:
        columns = [name for name in wanted if name in shard.schema_arrow.names]
        yield from shard.iter_batches(ROWS_AT_ONCE, columns=columns)


def _scattered(numbers: np.ndarray) -> Float[np.ndarray, " n"]:
    """Row numbers to evenly scattered ones in [0, 1), the same in every run (the finaliser of SplitMix64)."""
    mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) / 2.0**64
