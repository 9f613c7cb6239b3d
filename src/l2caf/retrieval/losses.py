"""The two ranking losses of the paper, from pytorch-metric-learning, with the batches that they need.

triplet   semi-hard triplets (Schroff et al., FaceNet, CVPR 2015) of normalised embeddings, Euclidean, margin 0.2
npair     one pair of every class against all others (Sohn, NIPS 2016), dot products of raw embeddings
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Sampler

from l2caf.errors import DataError, nearest
from l2caf.extras import require

LossName = Literal["triplet", "npair"]
NAMES: Final[tuple[LossName, ...]] = get_args(LossName)
MARGIN: Final = 0.2  # the paper's, supplementary S2


def _metric_learning(module: str) -> ModuleType:
    return require(f"pytorch_metric_learning.{module}", extra="retrieval")


class ClassBatches(Sampler[int]):
    """Pytorch-metric-learning's sampler of m pictures per class, with another order for every epoch.

    The order depends on the seed and on `epoch` alone. A training that is taken up sets `epoch`.
    """

    def __init__(self, labels: Sequence[int], per_class: int, batch_size: int, *, length: int, seed: int) -> None:
        """Make a sampler of `length` indices, less what does not fill a batch; see `RankingLoss.sampler`."""
        self.seed, self.epoch = seed, 0
        self._inner = _metric_learning("samplers").MPerClassSampler(np.asarray(labels), per_class, batch_size, length)

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[int]:
        settings = vars(_metric_learning("utils.common_functions"))
        before = settings["NUMPY_RANDOM"]  # what the library draws from; its own default is numpy's global state
        settings["NUMPY_RANDOM"] = np.random.RandomState(np.random.MT19937([self.seed, self.epoch]))
        try:
            self._inner.labels.sort()  # it shuffles its list of classes in place
            return iter([int(index) for index in self._inner])
        finally:
            settings["NUMPY_RANDOM"] = before


@dataclass(frozen=True, slots=True)
class RankingLoss:
    """A loss of raw embeddings.

    Attributes:
        name: `"triplet"` or `"npair"`.
        loss: The loss of pytorch-metric-learning; it normalises the embeddings if it needs to.
        miner: Chooses the triplets; None if every pair counts.
        is_normalized: Whether the loss sees embeddings of unit length.
        per_class: The number of pictures of one class in a batch.
    """

    name: LossName
    loss: Callable[..., Tensor]
    miner: Callable[..., object] | None
    is_normalized: bool
    per_class: int

    def __call__(self, embeddings: Float[Tensor, "b d"], labels: Int[Tensor, " b"]) -> Tensor:
        """Compute the loss of a batch.

        Args:
            embeddings: The raw embeddings (b, d).
            labels: The classes (b,).

        Returns:
            A scalar to differentiate; 0 if there is nothing to learn from the batch.

        Raises:
            DataError: if an embedding is not finite.
        """
        if not bool(embeddings.isfinite().all()):
            raise DataError("an embedding of the batch is NaN or infinite; a lower learning rate may help")
        return (
            self.loss(embeddings, labels)
            if self.miner is None
            else self.loss(embeddings, labels, self.miner(embeddings, labels))
        )

    def sampler(
        self, labels: Sequence[int] | Int[np.ndarray, " n"], batch_size: int, *, length: int, seed: int = 0
    ) -> ClassBatches:
        """Choose the pictures of each batch: `per_class` of each class that is in the batch.

        Args:
            labels: The class of every picture. Pictures of a class that has fewer than `per_class` are repeated.
            batch_size: The number of pictures in a batch, a multiple of `per_class`.
            length: The number of indices in an epoch.
            seed: The seed of the order.

        Returns:
            A sampler of `length` indices, less what does not fill a batch, to be used with the same batch size.

        Raises:
            DataError: if the batch cannot be filled.
        """
        n_classes = len(np.unique(np.asarray(labels)))
        if batch_size < 2 * self.per_class or batch_size % self.per_class or length < batch_size:
            raise DataError(
                f"batch_size={batch_size}, length={length}: {self.name} wants batches of {self.per_class} pictures of "
                "two classes or more, and one batch at least"
            )
        if batch_size > n_classes * self.per_class:
            raise DataError(
                f"batch_size={batch_size} needs {batch_size // self.per_class} classes; there are {n_classes}: "
                f"expected {n_classes * self.per_class} at most"
            )
        return ClassBatches([int(label) for label in labels], self.per_class, batch_size, length=length, seed=seed)


def loss_named(name: str, *, margin: float = MARGIN, per_class: int | None = None) -> RankingLoss:
    """Make one of the paper's losses.

    Args:
        name: `"triplet"` or `"npair"`.
        margin: The margin of the triplets.
        per_class: The number of pictures of one class in a batch. None is 4 for triplets and 2 for N-pairs, which take
            no other number.

    Returns:
        The loss with its miner.

    Raises:
        DataError: if there is no such loss, or `per_class` does not suit it.
        ExtraMissingError: if pytorch-metric-learning is not installed.

    Source:
        Taha et al., ECCV 2020, supplementary S1 and S2.

    Example:
        >>> loss_named("npair").per_class
        2
    """
    if name not in NAMES:
        raise DataError(f"unknown loss {name!r}{nearest(name, NAMES)}; expected one of {', '.join(NAMES)}")
    if per_class is not None and (per_class < 2 or (name == "npair" and per_class != 2)):
        raise DataError(
            f"per_class={per_class} does not suit {name}; expected 2{'' if name == 'npair' else ' or more'}"
        )
    distances, losses = _metric_learning("distances"), _metric_learning("losses")
    if name == "npair":
        # Their distances normalise unless told not to, N-pairs' included.
        distance = distances.DotProductSimilarity(normalize_embeddings=False)
        return RankingLoss("npair", losses.NPairsLoss(distance=distance), None, is_normalized=False, per_class=2)
    distance = distances.LpDistance(normalize_embeddings=True, p=2, power=1)
    miner = _metric_learning("miners").TripletMarginMiner(margin, "semihard", distance=distance)
    loss = losses.TripletMarginLoss(margin, distance=distance)
    return RankingLoss("triplet", loss, miner, is_normalized=True, per_class=per_class or 4)
