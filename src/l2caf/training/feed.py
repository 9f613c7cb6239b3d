"""Endless shuffled batches, each of which depends on the seed and its step alone.

A run that is taken up at step s therefore sees what it would have seen without the interruption, whatever the number of
workers. The order of an epoch depends on the seed and the epoch. What is random about an item (drawn from torch's
generator) depends on the seed, the epoch and the item.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from l2caf.errors import DataError, TrainingError

Key = tuple[int, int]  # epoch and index
Batch = Any  # what `torch.utils.data.default_collate` makes of items: tensors in lists and dicts
READABLE: Final = ""  # in the place of the reason why an item cannot be read


@runtime_checkable
class Items(Sized, Protocol):
    """A data set of known length."""

    def __getitem__(self, index: int) -> object:
        """Return an item: tensors and numbers, as `torch.utils.data.default_collate` takes them."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Batches of a data set.

    Attributes:
        items: The data set. Only what it draws from torch's random state can be repeated.
        batch_size: The number of items in a batch.
        seed: The seed of order and augmentation.
        workers: The number of processes that read items; 0 reads in this process.
        order: Returns the indices of an epoch, given its number, at least `steps_per_epoch * batch_size` of them; None
            for all items once, shuffled.
    """

    items: Items
    batch_size: int
    seed: int = 0
    workers: int = 0
    order: Callable[[int], Sequence[int]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of whole batches in one pass over the data set.

        Returns:
            At least 1.

        Raises:
            TrainingError: if there are fewer items than a batch takes.
        """
        if self.batch_size < 1 or len(self.items) < self.batch_size:
            raise TrainingError(f"batch size {self.batch_size}: expected 1 to the {len(self.items)} items there are")
        return len(self.items) // self.batch_size

    def __call__(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of the steps from `start` to `stop`, without `stop`.

        Args:
            start: The first step, from 0.
            stop: The step after the last.

        Yields:
            The collated items of one step.
        """
        yield from _batches(self.items, self.seed, _Order(self, start, stop), self.workers)


def in_order(items: Items, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Yield every item once in order; the last batch holds what is left.

    Args:
        items: The data set.
        batch_size: The number of items in a batch.
        workers: The number of processes that read items; 0 reads in this process.

    Yields:
        The collated items of one batch.
    """
    n = len(items)
    order = [[(0, index) for index in range(first, min(first + batch_size, n))] for first in range(0, n, batch_size)]
    yield from _batches(items, 0, order, workers)


def _batches(items: Items, seed: int, order: Iterable[list[Key]], workers: int) -> Iterator[Batch]:
    loader = DataLoader(
        _Seeded(items, seed),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator().manual_seed(seed),  # else it draws from the run's own random state
    )
    for batch, reason in loader:
        if reason != READABLE:
            raise DataError(reason)
        yield batch


class _Order(Sampler[list[Key]]):
    """The epoch and index of every item of every batch."""

    def __init__(self, feed: Feed, start: int, stop: int) -> None:
        self.feed, self.start, self.stop = feed, start, stop

    def __iter__(self) -> Iterator[list[Key]]:
        size, per_epoch = self.feed.batch_size, self.feed.steps_per_epoch
        order: Sequence[int] = []
        for step in range(self.start, self.stop):
            epoch, place = divmod(step, per_epoch)
            if not order or place == 0:
                order = (self.feed.order or self._shuffled)(epoch)
            yield [(epoch, index) for index in order[place * size : (place + 1) * size]]

    def __len__(self) -> int:
        return self.stop - self.start

    def _shuffled(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(_mixed(self.feed.seed, epoch))
        return torch.randperm(len(self.feed.items), generator=generator).tolist()


class _Seeded(Dataset[tuple[object, str]]):
    """Items that draw from a random state of their own, each with the reason why it cannot be read.

    An exception in a worker process would arrive as its traceback; the reason arrives as it is.
    """

    def __init__(self, items: Items, seed: int) -> None:
        self.items, self.seed = items, seed

    def __getitem__(self, key: Key) -> tuple[object, str]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(self.seed, *key))
            try:
                return self.items[key[1]], READABLE
            except DataError as error:
                return None, str(error)


def _collate(read: list[tuple[object, str]]) -> tuple[Batch, str]:
    reason = next((reason for _, reason in read if reason != READABLE), READABLE)
    return (default_collate([item for item, _ in read]) if reason == READABLE else None), reason


def _mixed(*numbers: int) -> int:
    """Mix several numbers into one seed, so that neighbouring numbers give unrelated streams."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
