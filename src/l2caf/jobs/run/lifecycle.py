"""Maps of a whole data set: resumable, sharded, by any engine.

    folder/manifest.json           everything that determines the rows, to the bit: the number of threads too
    folder/shards/00000000.parquet rows of the pictures 0 to shard_size - 1
    folder/errors.parquet          pictures without rows, and why; written at the end

A run is cut into shards, a shard into batches, always in the same way. A shard is whole or not there, so a run that
was killed goes on with the shards that are not there and ends with the rows it would have had.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from l2caf.attention import Attention
from l2caf.errors import RunError, StorageError
from l2caf.jobs.run.inputs import PictureSource
from l2caf.jobs.run.options import RunOptions, settings_of
from l2caf.jobs.run.shards import FOLDER, FORMAT, SHARDS, all_failures, finished, n_shards, sweep, write_errors
from l2caf.jobs.run.work import Explainer, Job, probe, write_shards
from l2caf.models import LoadedModel
from l2caf.progress import Report, silent
from l2caf.storage import claimed


@runtime_checkable
class Engine(Protocol):
    """Where the work is done."""

    @property
    def device(self) -> str:
        """The kind of device that computes, such as `cpu` or `cuda`."""

    @property
    def threads(self) -> int | None:
        """CPU threads of each process that computes; None for torch's own choice."""

    def work(self, job: Job, shards: Sequence[int], advance: Callable[[int], None]) -> None:
        """Write shards, in any order, and call `advance` with the number of pictures done since its last call."""


@dataclass(frozen=True, slots=True)
class Local:
    """This machine: one process computes, others read pictures.

    Attributes:
        workers: the number of processes that read pictures; 0 reads them in the process that computes.
        device: the device that computes, by torch's name; the network must be on it.
        threads: the number of CPU threads that compute; None for torch's own choice, which is one a core.
    """

    workers: int = 2
    device: str = "cpu"
    threads: int | None = None

    def work(self, job: Job, shards: Sequence[int], advance: Callable[[int], None]) -> None:
        """Write shards in this process."""
        write_shards(job, shards, workers=self.workers, advance=advance)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes:
        folder: the folder of the results.
        n_pictures: the number of pictures in the input.
        n_failures: the number of pictures without rows, which are listed in `errors.parquet`.
    """

    folder: Path
    n_pictures: int
    n_failures: int


def run(
    source: PictureSource,
    loaded: LoadedModel,
    folder: Path,
    options: RunOptions | None = None,
    *,
    engine: Engine = Local(),
    report: Report = silent,
) -> Outcome:
    """Find the maps of every picture of a source. If the folder holds the beginning of this run, find the rest.

    Args:
        source: the pictures.
        loaded: the network and how to feed it.
        folder: a folder that is new, empty, or left by the same run.
        options: what is asked of every picture.
        engine: where the work is done.
        report: called with the number of pictures done and in all.

    Returns:
        What was done. A picture that cannot be read or explained is listed, and the run goes on.

    Raises:
        StorageError: if the folder holds something else (the difference is named) or cannot be written.
        RunError: if the run cannot be started or go on. What is written stays valid in every case.
        LayerError: if the network has no such layer. Every other error of a call of `L2CAF` is passed on, too.
        DataError: if there is no method of the name `options.compare`.
    """
    options = options or RunOptions()
    _check(options)
    attention, _ = Explainer.made(options, loaded.model)(probe(loaded))
    _check_grid(attention, options)
    settings = settings_of(
        options, loaded, attention.question.layer, attention.question.layout, engine.device.partition(":")[0]
    )
    inputs = {"kind": source.kind, "pictures": len(source), "digest": source.digest()}
    manifest = {
        "format": FORMAT, "settings": settings, "inputs": inputs,
        "given": str(source.given), "grid": list(attention.grid), "input_size": list(attention.question.input_size),
        "labels": list(loaded.card.labels or ()), "threads": engine.threads or torch.get_num_threads(),
    }  # fmt: skip
    with claimed(folder, manifest, what="run of l2caf", results=SHARDS, parts=("settings", "inputs")) as begun:
        (folder / FOLDER).mkdir(exist_ok=True)
        sweep(folder)
        job = Job(source, loaded, options, folder, attention.grid, begun.get("threads", manifest["threads"]))
        _work(job, engine, report)
        return Outcome(folder, len(source), write_errors(folder))


def _work(job: Job, engine: Engine, report: Report) -> None:
    n, size, done_shards = len(job.source), job.options.shard_size, finished(job.folder)
    todo = [shard for shard in range(n_shards(n, size)) if shard not in done_shards]
    done = sum(min(size, n - shard * size) for shard in done_shards)
    deque(all_failures(job.folder), maxlen=0)  # a damaged shard is said now, not after hours
    report(done, n)

    def advance(more: int) -> None:
        nonlocal done
        done += more
        report(done, n)

    try:
        if todo:
            engine.work(job, todo, advance)
    except StorageError as error:
        n_left = len(finished(job.folder))
        raise StorageError(
            f"{error}; the {n_left} shards written so far stay valid: run the same command again to go on"
        ) from error


def _check(options: RunOptions) -> None:
    for name in ("batch_size", "shard_size"):
        if getattr(options, name) < 1:
            raise RunError(f"{name} {getattr(options, name)} is too small; expected at least 1")
    if not 0 <= options.threshold < 1:
        raise RunError(f"threshold {options.threshold} is a share of the map's maximum; expected 0 <= threshold < 1")


def _check_grid(attention: Attention, options: RunOptions) -> None:
    drawn = [name for name in options.what if name != "filter"]
    if drawn and len(attention.grid) != 2:
        raise RunError(
            f"layer {attention.question.layer!r} has a grid of rank {len(attention.grid)}, which gives no "
            f"{', '.join(drawn)}; keep only the filter (--what filter)"
        )
