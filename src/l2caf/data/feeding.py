"""The one loop over pictures: numbers in, batches as the network takes them out, or why a picture is not there.

Worker processes read and prepare whole batches, in a fixed order. `explain`, `retrieve`, `run` and `evaluate` read
their pictures here.
"""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from l2caf.data.pictures import Region, prepare, read_picture
from l2caf.errors import DataError, L2CAFError, RunError

AHEAD: Final = 2  # batches that each worker prepares in advance
Preparation = Mapping[str, Any]  # the keywords of `prepare`, as `ModelCard.feeding` gives them


@runtime_checkable
class Numbered(Protocol):
    """Pictures by number, each of which any process can read by itself."""

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """What results call a picture."""

    def picture(self, number: int) -> Image.Image:
        """A picture as upright RGB; raises `DataError` if it cannot be read."""

    def check(self) -> None:
        """Tell one bad picture from an input that is gone, for which it raises `RunError`."""


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Picture files as numbered pictures, each by itself: there is no common place that could be gone."""

    files: Sequence[Path]

    def __len__(self) -> int:
        return len(self.files)

    def name(self, number: int) -> str:
        """The file's path."""
        return str(self.files[number])

    def picture(self, number: int) -> Image.Image:
        """As `Numbered.picture`."""
        return read_picture(self.files[number])

    def check(self) -> None:
        """As `Numbered.check`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture without results, and why."""

    number: int
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some pictures as the network takes them, and those that cannot be had.

    Attributes:
        asked: the numbers of all pictures of the batch.
        inputs: (b, 3, h, w) of the pictures that could be read; b may be 0.
        numbers: their b numbers.
        paths: their names.
        sizes: their widths and heights in pixels.
        regions: the part of each that the network is shown, in pixels.
        pictures: the pictures themselves, where they are asked for.
        failures: the pictures that could not be read, with the reason.
        fault: why no further batch can be read; empty where reading can go on.
    """

    asked: Sequence[int]
    inputs: Float[Tensor, "b 3 h w"] = field(default_factory=lambda: torch.empty(0, 3, 0, 0))
    numbers: Sequence[int] = ()
    paths: Sequence[str] = ()
    sizes: Sequence[tuple[int, int]] = ()
    regions: Sequence[Region] = ()
    pictures: Sequence[Image.Image] = ()
    failures: Sequence[Failure] = ()
    fault: str = ""

    def pin_memory(self) -> "Batch":
        """The same in memory that a GPU can fetch from by itself; torch's loader calls this."""
        return replace(self, inputs=self.inputs.pin_memory())

    def part(self, place: int) -> "Batch":
        """One of its pictures that could be read, as a batch."""
        here = slice(place, place + 1)
        return replace(
            self, inputs=self.inputs[here], numbers=self.numbers[here],
            paths=self.paths[here], sizes=self.sizes[here], regions=self.regions[here], pictures=self.pictures[here],
            failures=(),
        )  # fmt: skip


def in_turn(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    """Numbers in batches of at most `size`, in their order."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


@contextmanager
def fed(
    source: Numbered,
    feeding: Preparation,
    batches: Sequence[Sequence[int]],
    *,
    workers: int = 0,
    device: torch.device | str = "cpu",
    keep_pictures: bool = False,
) -> Iterator[Iterator[Batch]]:
    """Read batches in order, the next ones while the body works on one. Reading begins with the call.

    Args:
        source: the pictures.
        feeding: how the network wants them.
        batches: the numbers of the pictures of each batch.
        workers: how many processes read; 0 reads in this one, a batch at a time.
        device: where `inputs` are to be.
        keep_pictures: whether `Batch.pictures` are wanted.

    Yields:
        The batches. Taking one raises `RunError` if the input is gone or a worker died.
    """
    device = torch.device(device)
    loader = DataLoader(
        _Batches(source, feeding, batches, keep_pictures), batch_size=None, num_workers=workers,
        pin_memory=device.type == "cuda", prefetch_factor=AHEAD if workers else None,
        generator=torch.Generator(),  # else it draws from the caller's
    )  # fmt: skip
    reading = iter(loader)
    with _deaths_wait(workers):
        yield _on_device(_checked(reading), device)


@dataclass(frozen=True)
class _Batches(Dataset[Batch]):
    """A list of batches, each read as a whole by one worker."""

    source: Numbered
    feeding: Preparation
    batches: Sequence[Sequence[int]]
    keep_pictures: bool

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        try:
            return self._read(self.batches[index])
        except L2CAFError as error:  # the loader would wrap it in a traceback
            return Batch(self.batches[index], fault=str(error))

    def _read(self, asked: Sequence[int]) -> Batch:
        rows, pictures, failures = [], [], []
        for number in asked:
            name = self.source.name(number)
            try:
                picture = self.source.picture(number)
            except (DataError, OSError) as error:
                failures.append(Failure(number, name, str(error)))
                continue
            inputs, region = prepare(picture, **self.feeding)
            rows.append((inputs, number, name, picture.size, region))
            if self.keep_pictures:
                pictures.append(picture)
        if failures:
            self.source.check()
        if not rows:
            return Batch(asked, failures=failures)
        every, numbers, paths, sizes, regions = zip(*rows, strict=True)
        return Batch(asked, torch.stack(every), numbers, paths, sizes, regions, pictures, failures)


@contextmanager
def _deaths_wait(workers: int) -> Iterator[None]:
    """Let a worker that dies be noticed where its batch is taken; to be entered when reading has begun.

    torch's loader would raise in the middle of whatever the main thread does, a network cut open included.
    """
    if not workers or not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, earlier or signal.SIG_DFL)


def _checked(batches: Iterator[Batch]) -> Iterator[Batch]:
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if "worker" not in str(error):
                raise
            raise _died(error) from error
        except (OSError, EOFError) as error:
            raise _died(error) from error
        if batch.fault:
            raise RunError(batch.fault)
        yield batch


def _died(error: Exception) -> RunError:
    return RunError(
        f"a process that reads pictures died ({' '.join(str(error).split())}), often for lack of memory; what is "
        "written stays valid: run the same command again, perhaps with fewer --workers"
    )


def _on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Each batch on the device; a GPU fetches the next one while it computes."""
    if device.type != "cuda":
        for batch in batches:
            yield replace(batch, inputs=batch.inputs.to(device))
        return
    fetching = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(fetching):
            fetched = replace(batch, inputs=batch.inputs.to(device, non_blocking=True)), fetching.record_event()
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = fetched
    if waiting is not None:
        yield _arrived(*waiting)


def _arrived(batch: Batch, event: torch.cuda.Event) -> Batch:
    """Let the computing stream wait for the copy, and keep the memory until that stream is done with it."""
    current = torch.cuda.current_stream(batch.inputs.device)
    current.wait_event(event)
    batch.inputs.record_stream(current)
    return batch
