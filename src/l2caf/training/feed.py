"""Endless shuffled batches, each a function of the seed and its step alone.

So a run that is taken up at step s sees from there on what it would have seen, whatever the number of workers: the
order of an epoch depends on the seed and the epoch; whatever is random about an item (torch's generator), on the seed,
the epoch and the item.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from l2caf.errors import DataError, TrainingError

Key = tuple[int, int]  # epoch and index


@runtime_checkable
class Items(Sized, Protocol):
    """A data set of known length."""

    def __getitem__(self, index: int) -> Any:
        """An item: tensors and numbers, as `torch.utils.data.default_collate` takes them."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Batches of a data set.

    Attributes:
        items: the data set; of what it draws, only torch's random state is controlled.
        batch_size: items per batch.
        seed: of order and augmentation.
        workers: processes that read items.
        order: indices of an epoch, by its number, at least `steps_per_epoch * batch_size` of them; None for all items
            once, shuffled.
    """

    items: Items
    batch_size: int
    seed: int = 0
    workers: int = 0
    order: Callable[[int], Sequence[int]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the data set.

        Returns:
            At least 1.

        Raises:
            TrainingError: if there are fewer items than a batch takes.
        """
        if self.batch_size < 1 or len(self.items) < self.batch_size:
            raise TrainingError(f"batch size {self.batch_size}: expected 1 to the {len(self.items)} items there are")
        return len(self.items) // self.batch_size

    def __call__(self, start: int, stop: int) -> Iterator[Any]:
        """Batches of steps from `start` to before `stop`.

        Args:
            start: first step, from 0.
            stop: the step after the last.

        Yields:
            Collated items.
        """
        yield from _batches(self.items, self.seed, _Order(self, start, stop), self.workers)


def in_order(items: Items, batch_size: int, workers: int = 0) -> Iterator[Any]:
    """Every item once, unshuffled, the last batch with what is left.

    Args:
        items: the data set.
        batch_size: items per batch.
        workers: processes that read items.

    Yields:
        Collated items.
    """
    n = len(items)
    order = [[(0, index) for index in range(first, min(first + batch_size, n))] for first in range(0, n, batch_size)]
    yield from _batches(items, 0, order, workers)


def _batches(items: Items, seed: int, order: Iterable[list[Key]], workers: int) -> Iterator[Any]:
    loader: DataLoader[Any] = DataLoader(
        _Seeded(items, seed),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator().manual_seed(seed),  # else it draws from the run's own random state
    )
    for batch in loader:
        if isinstance(batch, str):
            raise DataError(batch)
        yield batch


class _Order(Sampler[list[Key]]):
    """Epoch and index of every item of every batch."""

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


class _Seeded(Dataset[Any]):
    """Items drawn from a random state of their own; what cannot be read comes as its reason."""

    def __init__(self, items: Items, seed: int) -> None:
        self.items, self.seed = items, seed

    def __getitem__(self, key: Key) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(self.seed, *key))
            try:
                return self.items[key[1]]
            except DataError as error:
                return str(error)


def _collate(items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, str)), None) or default_collate(items)


def _mixed(*numbers: int) -> int:
    """One seed of several numbers, so that neighbours give unrelated streams."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
