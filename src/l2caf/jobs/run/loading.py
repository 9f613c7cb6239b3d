"""Batches of prepared pictures, read by worker processes in a fixed order."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from l2caf.data.pictures import Region, prepare
from l2caf.errors import DataError, L2CAFError, RunError
from l2caf.jobs.run.inputs import Source
from l2caf.models import ModelCard

AHEAD: Final = 2  # batches that each worker prepares in advance

Batch = tuple[int, int, int]  # shard, first picture, number of pictures


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture without results, and why."""

    number: int
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A batch as the network takes it.

    Attributes:
        batch: which.
        inputs: (b, 3, h, w) of the pictures that could be read; None where none could.
        numbers: of those pictures in the input.
        paths: their names.
        sizes: their widths and heights.
        regions: the part of each that the network is shown.
        failures: the others.
        fault: why the run cannot go on.
    """

    batch: Batch
    inputs: Tensor | None = None
    numbers: Sequence[int] = ()
    paths: Sequence[str] = ()
    sizes: Sequence[tuple[int, int]] = ()
    regions: Sequence[Region] = ()
    failures: Sequence[Failure] = field(default_factory=tuple)
    fault: str = ""

    def pin_memory(self) -> "Loaded":
        """The same in memory that a GPU can fetch from by itself; what torch's loader calls."""
        return self if self.inputs is None else replace(self, inputs=self.inputs.pin_memory())

    def part(self, place: int) -> "Loaded":
        """One of its pictures as a batch."""
        here = slice(place, place + 1)
        return replace(
            self, inputs=None if self.inputs is None else self.inputs[here], numbers=self.numbers[here],
            paths=self.paths[here], sizes=self.sizes[here], regions=self.regions[here], failures=(),
        )  # fmt: skip


class Batches(Dataset[Loaded]):
    """A list of batches, each read as a whole by one worker."""

    def __init__(self, source: Source, card: ModelCard, batches: Sequence[Batch]) -> None:
        self.source, self.card, self.batches = source, card, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Loaded:
        batch = self.batches[index]
        try:
            return self._read(batch)
        except L2CAFError as error:  # the loader would wrap it in a traceback
            return Loaded(batch, fault=str(error))

    def _read(self, batch: Batch) -> Loaded:
        inputs, rows, failures = [], [], []
        for number in range(batch[1], batch[1] + batch[2]):
            name = self.source.name(number)
            try:
                picture = self.source.picture(number)
            except (DataError, OSError) as error:
                failures.append(Failure(number, name, str(error)))
                continue
            prepared, region = prepare(picture, **self.card.feeding)
            inputs.append(prepared)
            rows.append((number, name, picture.size, region))
        if failures:
            self.source.check()
        if not inputs:
            return Loaded(batch, failures=failures)
        numbers, paths, sizes, regions = zip(*rows, strict=True)
        return Loaded(batch, torch.stack(inputs), numbers, paths, sizes, regions, failures)


def load_batches(
    source: Source, card: ModelCard, batches: Sequence[Batch], *, workers: int, device: torch.device
) -> Iterator[Loaded]:
    """Read batches in order, the next ones while the caller works on one. Reading begins with the call.

    Args:
        source: the pictures.
        card: how the network wants them.
        batches: which to read.
        workers: processes that read; 0 reads in this one.
        device: where `inputs` are to be.

    Returns:
        The batches. Taking one raises `RunError` if the input is gone or a worker died.
    """
    loader = DataLoader(
        Batches(source, card, batches), batch_size=None, num_workers=workers, pin_memory=device.type == "cuda",
        prefetch_factor=AHEAD if workers else None, generator=torch.Generator(),  # else it draws from the caller's
    )  # fmt: skip
    return _on_device(_checked(iter(loader)), device)


@contextmanager
def deaths_wait() -> Iterator[None]:
    """Let a worker that dies be noticed where its batch is taken; to be entered when reading has begun.

    torch's loader would raise in the middle of whatever the main thread does, a network cut open included.

    Yields:
        Nothing.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, earlier or signal.SIG_DFL)


def _checked(batches: Iterator[Loaded]) -> Iterator[Loaded]:
    while True:
        try:
            loaded = next(batches)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            if isinstance(error, RuntimeError) and "worker" not in str(error):
                raise
            raise RunError(
                f"a process that reads pictures died ({' '.join(str(error).split())}), often for lack of memory; what "
                "is written stays valid: run the same command again, perhaps with fewer --workers"
            ) from error
        if loaded.fault:
            raise RunError(loaded.fault)
        yield loaded


def _on_device(batches: Iterator[Loaded], device: torch.device) -> Iterator[Loaded]:
    """Each batch on the device; a GPU fetches the next one while it computes."""
    if device.type != "cuda":
        for loaded in batches:
            yield loaded if loaded.inputs is None else replace(loaded, inputs=loaded.inputs.to(device))
        return
    fetching = torch.cuda.Stream(device)
    waiting: tuple[Loaded, torch.cuda.Event] | None = None
    for loaded in batches:
        with torch.cuda.stream(fetching):
            inputs = None if loaded.inputs is None else loaded.inputs.to(device, non_blocking=True)
        fetched = replace(loaded, inputs=inputs), fetching.record_event()
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = fetched
    if waiting is not None:
        yield _arrived(*waiting)


def _arrived(loaded: Loaded, event: torch.cuda.Event) -> Loaded:
    """Let the computing stream wait for the copy, and keep the memory until that stream is done with it."""
    if loaded.inputs is not None:
        current = torch.cuda.current_stream(loaded.inputs.device)
        current.wait_event(event)
        loaded.inputs.record_stream(current)
    return loaded
