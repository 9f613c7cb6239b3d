"""Batches that depend on the seed and their step alone."""

import pytest
import torch
from torch import Tensor

from l2caf.errors import DataError, TrainingError
from l2caf.training import Feed
from l2caf.training.feed import in_order


class Numbers:
    """The numbers from 0, each with a random one; one of them may be unreadable."""

    def __init__(self, n: int, broken: int | None = None) -> None:
        self.n, self.broken = n, broken

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        if index == self.broken:
            raise DataError(f"item {index} is broken")
        return index, torch.rand(())


def test_every_epoch_shows_every_item_once_in_another_order_and_drawn_anew() -> None:
    feed = Feed(Numbers(6), 2, seed=3)
    batches = list(feed(0, 6))
    epochs = [torch.cat([numbers for numbers, _ in part]).tolist() for part in (batches[:3], batches[3:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(6))
    assert epochs[0] != epochs[1]
    draws = torch.cat([noise for _, noise in batches])
    assert len(set(draws.tolist())) == 12
    for start in range(6):
        for (numbers, noise), (others, again) in zip(feed(start, 6), batches[start:], strict=True):
            assert torch.equal(numbers, others)
            assert torch.equal(noise, again)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_item_that_cannot_be_read_is_named_in_one_line(workers: int) -> None:
    with pytest.raises(DataError, match=r"\Aitem 3 is broken\Z"):
        list(Feed(Numbers(6, broken=3), 2, workers=workers)(0, 3))
    with pytest.raises(DataError, match=r"\Aitem 3 is broken\Z"):
        list(in_order(Numbers(6, broken=3), 2, workers))


def test_more_items_per_batch_than_there_are_is_refused() -> None:
    with pytest.raises(TrainingError, match="batch size 30: expected 1 to the 20 items"):
        _ = Feed(Numbers(20), 30).steps_per_epoch


def test_in_order_every_item_comes_once_and_the_last_batch_is_smaller() -> None:
    assert [numbers.tolist() for numbers, _ in in_order(Numbers(5), 2)] == [[0, 1], [2, 3], [4]]


def test_an_order_of_ones_own_is_followed_epoch_by_epoch() -> None:
    feed = Feed(Numbers(6), 2, order=lambda epoch: [epoch, 5, 0, 1, 2, 3])
    seen = [numbers.tolist() for numbers, _ in feed(2, 5)]  # taken up at the last batch of the first epoch
    assert seen == [[2, 3], [1, 5], [0, 1]]
