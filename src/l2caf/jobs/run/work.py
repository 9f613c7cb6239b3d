"""The work itself: shards of the input in, files out. Every engine does it by `write_shards`.

Three things happen at once: worker processes decode, the device computes, and one thread makes rows and writes.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import torch
from torch import nn

from l2caf.attention import L2CAF, Attention
from l2caf.attention.targets import resolve_targets
from l2caf.data.feeding import Batch, Failure, fed
from l2caf.errors import FeatureError, OutputError, RunError
from l2caf.jobs.run.inputs import PictureSource
from l2caf.jobs.run.options import RunOptions
from l2caf.jobs.run.rows import Found, agreement_of, as_table, found_of, schema
from l2caf.jobs.run.shards import batches_of, write_shard
from l2caf.methods.registry import Method
from l2caf.models import LoadedModel

WAITING: Final = 2  # batches that the writer may lag behind


@dataclass(frozen=True)
class Job:
    """All that an engine needs, wherever it works.

    Attributes:
        source: the pictures.
        loaded: the network and how to feed it.
        options: what is asked of every picture.
        folder: the folder of the results.
        grid: the grid of the filters.
        threads: the number of CPU threads that compute in each process. Sums differ in their last bits with it, so a
            run keeps its number.
    """

    source: PictureSource
    loaded: LoadedModel
    options: RunOptions
    folder: Path
    grid: tuple[int, ...]
    threads: int


def probe(loaded: LoadedModel) -> torch.Tensor:
    """A fixed input (1, 3, h, w) of noise on which layers are found, so that no picture decides on them."""
    noise = torch.randn(1, 3, *loaded.card.feeding["size"], generator=torch.Generator().manual_seed(0))
    return noise.to(loaded.device)


@dataclass(frozen=True, slots=True)
class Explainer:
    """What finds the maps of a run: ours, and where it is asked for a second method that they are compared with."""

    ours: L2CAF
    other: Method | None
    targets: str | None

    @classmethod
    def made(cls, options: RunOptions, model: nn.Module) -> "Explainer":
        """The explainer that some options ask for; raises `DataError` if there is no such second method."""
        return cls(options.explainer(model), options.compared(model), options.targets)

    def __call__(self, inputs: torch.Tensor) -> tuple[Attention, torch.Tensor | None]:
        """Maps of b inputs, and their (b, k) agreement with those of the second method."""
        with self.ours.cut(inputs) as cut:
            attention = self.ours.on(cut, self.targets)
            if self.other is None:
                return attention, None
            classes = resolve_targets(self.targets or "top1", attention.output)
            ours = attention.filter.flatten(1, attention.loss.dim() - 1)
            return attention, None if classes is None else agreement_of(
                ours, self.other(cut, classes).reshape(ours.shape)
            )


def write_shards(
    job: Job, shards: Sequence[int], *, workers: int = 0, advance: Callable[[int], None] = lambda _: None
) -> None:
    """Find the maps of some shards and write them.

    Args:
        job: what to do.
        shards: the numbers of the shards, which are written in this order.
        workers: the number of processes that read pictures; 0 reads them in this process.
        advance: called with the number of pictures done since it was last called.

    Raises:
        RunError: if the run cannot go on.
        StorageError: if a shard cannot be written; those before it are.
    """
    options = job.options
    explainer = Explainer.made(options, job.loaded.model)
    batches = [
        batch
        for shard in shards
        for batch in batches_of(shard, len(job.source), options.shard_size, options.batch_size)
    ]
    writing = _Writing(job)
    reading = fed(job.source, job.loaded.card.feeding, batches, workers=workers, device=job.loaded.device)
    with reading as read, _same_kernels(job.threads), _in_background() as later:
        explainer.ours(probe(job.loaded), options.targets)
        for batch in read:
            found, failures = _explain(explainer, batch, options)
            later(writing.add, batch, found, failures)
            advance(len(batch.asked))


@contextmanager
def _same_kernels(threads: int) -> Iterator[None]:
    """Sums in the same order in every run: that many threads on CPUs, convolutions that do not race on a GPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=torch.backends.cudnn.allow_tf32
        ):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _in_background() -> Iterator[Callable[..., None]]:
    """One thread that does what it is handed, in order, until something fails; that error is raised here.

    Yields:
        What to hand work to; it waits while too much is waiting. What was handed over is done in any case.
    """
    waiting: deque[Future[None]] = deque()
    failed = threading.Event()

    def unless_failed(work: Callable[..., None], *arguments: object) -> None:
        if not failed.is_set():  # else rows would be missing from what comes next
            failed.set()
            work(*arguments)
            failed.clear()

    def later(work: Callable[..., None], *arguments: object) -> None:
        waiting.append(thread.submit(unless_failed, work, *arguments))
        while len(waiting) > WAITING:
            waiting.popleft().result()

    with ThreadPoolExecutor(1, "l2caf-writer") as thread:
        try:
            yield later
        finally:
            while waiting:
                waiting.popleft().result()


class _Writing:
    """Rows of the shard under way."""

    def __init__(self, job: Job) -> None:
        self.job, self.columns = job, schema(job.options, job.grid)
        self.tables: list[pa.Table] = []
        self.failures: list[Failure] = []

    def add(self, batch: Batch, found: Sequence[Found], failures: Sequence[Failure]) -> None:
        """Take a batch, and write the shard if it is its last."""
        job, size = self.job, self.job.options.shard_size
        self.failures += failures
        self.tables += [as_table(one, job.options, self.columns, job.loaded.card.feeding) for one in found]
        shard, end = batch.asked[0] // size, batch.asked[-1] + 1
        if end == min(len(job.source), (shard + 1) * size):
            write_shard(job.folder, shard, self.tables, self.columns, sorted(self.failures, key=lambda one: one.number))
            self.tables, self.failures = [], []


def _explain(explainer: Explainer, batch: Batch, options: RunOptions) -> tuple[list[Found], list[Failure]]:
    """Maps of a batch; where a picture spoils it, of one picture at a time."""
    found: list[Found] = []
    failures = list(batch.failures)
    if not batch.numbers:
        return found, failures
    try:
        return [_found(explainer, batch, options)], failures
    except (FeatureError, OutputError):
        pass  # of one of them: which one, each by itself will say
    for place, number in enumerate(batch.numbers):
        try:
            found.append(_found(explainer, batch.part(place), options))
        except (FeatureError, OutputError) as error:
            failures.append(Failure(number, batch.paths[place], str(error)))
    return found, failures


def _found(explainer: Explainer, batch: Batch, options: RunOptions) -> Found:
    try:
        attention, agreement = explainer(batch.inputs)
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"{options.batch_size} pictures at a time do not fit into the device's memory; start anew, in another "
            "folder, with a smaller --batch-size"
        ) from error
    return found_of(batch, attention, agreement, keep_inputs="overlay" in options.what)
