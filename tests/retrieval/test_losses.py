"""The losses against their formulas, written out."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils import common_functions

from l2caf.errors import DataError
from l2caf.retrieval.losses import loss_named

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def test_triplets_are_semi_hard_and_of_normalised_embeddings() -> None:
    raw = torch.randn(6, 4) * torch.rand(6, 1) * 10
    unit = raw / raw.norm(dim=1, keepdim=True)
    terms = []
    for a in range(6):
        for p in range(6):
            for n in range(6):
                if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]:
                    gap = (unit[a] - unit[n]).norm() - (unit[a] - unit[p]).norm()
                    if 0 < gap < 0.2:
                        terms.append(0.2 - gap)
    assert terms
    loss = loss_named("triplet")
    assert loss.is_normalized
    assert loss(raw, LABELS).item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)
    assert loss(raw * 7, LABELS).item() == pytest.approx(loss(raw, LABELS).item(), rel=1e-4)


def test_n_pairs_are_of_raw_embeddings() -> None:
    raw = torch.randn(6, 4) * 3
    anchors, positives = raw[::2], raw[1::2]
    expected = torch.nn.functional.cross_entropy(anchors @ positives.T, torch.arange(3))
    loss = loss_named("npair")
    assert not loss.is_normalized
    assert loss(raw, LABELS).item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss(raw * 2, LABELS).item() != pytest.approx(expected.item(), rel=1e-2)


@pytest.mark.parametrize("name", ["triplet", "npair"])
def test_a_step_along_the_gradient_lowers_the_loss(name: str) -> None:
    raw = torch.randn(12, 8, requires_grad=True)
    labels = torch.arange(3).repeat_interleave(4)
    loss = loss_named(name)
    before = loss(raw, labels)
    (gradient,) = torch.autograd.grad(before, raw)
    assert loss(raw.detach() - 0.01 * gradient / gradient.norm(), labels) < before


@pytest.mark.parametrize(("name", "each"), [("triplet", 4), ("npair", 2)])
def test_batches_hold_the_same_number_of_each_class(name: str, each: int) -> None:
    labels = np.arange(10).repeat(5)
    order = list(loss_named(name).sampler(labels, 16, length=160, seed=1))
    assert len(order) == 160
    for start in range(0, 160, 16):
        counts = np.unique(labels[order[start : start + 16]], return_counts=True)[1]
        assert counts.tolist() == [each] * (16 // each)


def test_the_order_depends_on_seed_and_epoch_alone_and_no_global_state_is_touched() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = loss_named("npair").sampler(list(range(6)) * 4, 8, length=32, seed=seed)
        list(sampler)
        sampler.epoch = epoch
        return list(sampler)

    state = np.random.get_state()[1].copy()  # noqa: NPY002  (what is looked after)
    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert common_functions.NUMPY_RANDOM is np.random
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_what_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(DataError, match="unknown loss 'triplets'; did you mean 'triplet'"):
        loss_named("triplets")
    with pytest.raises(DataError, match="per_class=3 does not suit npair; expected 2"):
        loss_named("npair", per_class=3)
    with pytest.raises(DataError, match="NaN or infinite"):
        loss_named("npair")(torch.full((2, 2), torch.nan), torch.tensor([0, 0]))
    with pytest.raises(DataError, match="needs 8 classes; there are 3: expected 6 at most"):
        loss_named("npair").sampler([0, 1, 2, 0, 1, 2], 16, length=16)
    for batch_size, length in ((10, 100), (4, 100), (16, 8)):
        with pytest.raises(DataError, match="batches of 4 pictures of two classes"):
            loss_named("triplet").sampler([0, 1, 2, 3], batch_size, length=length)
