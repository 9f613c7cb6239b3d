"""How good an embedding is: whether neighbours share a class, and whether clusters agree with the classes."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from l2caf.errors import DataError
from l2caf.extras import require
from l2caf.retrieval.search import Gallery, Similarity, checked_norms

Average = Literal["geometric", "arithmetic"]
KS: Final = (1, 2, 4, 8)
SAME: Final = 1e-5  # of its length, by which rounding may part two copies of an embedding
RESTARTS: Final = 10  # scikit-learn's for random starts; its k-means++ needs fewer


def recall_at(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    ks: Sequence[int] = KS,
    *,
    metric: Similarity = "cosine",
) -> dict[int, float]:
    """Share of pictures with one of their own class among the k nearest others.

    Args:
        embeddings: The embeddings (n, d).
        labels: The classes (n,). A picture that is alone in its class can be found, but is no query, as in
            pytorch-metric-learning.
        ks: The sizes of the neighbourhood, from 1 to n - 1.
        metric: `"cosine"`, or `"euclidean"`, which is pytorch-metric-learning's default; they agree on normalised
            embeddings.

    Returns:
        Recall@k in [0, 1] for every k.

    Raises:
        DataError: if shapes do not fit, embeddings are not finite or all the same, no class has two pictures, or k is
            out of range.

    Source:
        Jegou, Douze, Schmid, TPAMI 2011, in the form of Oh Song et al., CVPR 2016 (Recall@K, self excluded).

    Example:
        >>> at = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.7, 0.6], [0.1, 1.0]])
        >>> recall_at(at, torch.tensor([0, 0, 1, 1, 2]), ks=(1, 2))
        {1: 0.5, 2: 0.75}
    """
    _check(embeddings, labels)
    if not ks or min(ks) < 1:
        raise DataError(f"ks={tuple(ks)} is out of range; expected numbers of neighbours from 1")
    asking = has_company(labels).nonzero()[:, 0]
    if not len(asking):
        raise DataError(f"none of {len(labels)} pictures has another of its class; recall needs pairs")
    found = Gallery(embeddings, metric).nearest(embeddings[asking], max(ks), own=asking).indices
    same = labels[found] == labels[asking, None]
    return {k: float(same[:, :k].any(dim=1).double().mean()) for k in ks}


def has_company(labels: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Return which pictures are not alone in their class."""
    _, place, counts = labels.unique(return_inverse=True, return_counts=True)
    return counts[place] > 1


def nmi(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    *,
    average: Average = "geometric",
    seed: int = 0,
    restarts: int = RESTARTS,
) -> float:
    """Normalised mutual information of the classes and of as many clusters of the embedding.

    Args:
        embeddings: The embeddings (n, d), which are clustered as they are: normalise them first if the loss did.
        labels: The classes (n,).
        average: How the two entropies are averaged, as in `normalised_information`.
        seed: The seed of k-means.
        restarts: The number of starts of k-means.

    Returns:
        The information, in [0, 1]. Report seed and restarts with it: they change the second decimal.

    Raises:
        DataError: if shapes do not fit, embeddings are not finite or all the same, or fewer of them differ than there
            are classes.

    Source:
        Taha et al., ECCV 2020, supplementary S2; Manning, Raghavan and Schuetze, Introduction to Information
        Retrieval, 2008, section 16.3, which takes the arithmetic mean.
    """
    _check(embeddings, labels)
    assignment = clusters(embeddings, len(labels.unique()), seed=seed, restarts=restarts)
    return normalised_information(labels, assignment, average)


def clusters(
    embeddings: Float[Tensor, "n d"], count: int, *, seed: int = 0, restarts: int = RESTARTS
) -> Int[Tensor, " n"]:
    """Find clusters by k-means (scikit-learn: Lloyd's iterations from k-means++ starts).

    Args:
        embeddings: The embeddings (n, d); they are clustered in float32, or in float64 if they are float64.
        count: The number of clusters.
        seed: The seed of the starts.
        restarts: The number of starts; the result with the least inertia is kept.

    Returns:
        The cluster of each embedding (n,), in [0, count), on the device of `embeddings`.

    Raises:
        DataError: if fewer embeddings differ than there are clusters.
    """
    points = embeddings.detach().to(torch.promote_types(embeddings.dtype, torch.float32)).cpu().numpy()
    n_different = len(np.unique(points, axis=0))
    if n_different < count:
        raise DataError(f"only {n_different} of {len(points)} embeddings differ; {count} clusters cannot be told apart")
    clustering = require("sklearn.cluster", extra="retrieval")
    found = clustering.KMeans(count, n_init=restarts, random_state=seed).fit_predict(points)
    return torch.from_numpy(found.astype(np.int64)).to(embeddings.device)


def normalised_information(
    labels: Int[Tensor, " n"], assignment: Int[Tensor, " n"], average: Average = "geometric"
) -> float:
    """Mutual information of two groupings over an average of their entropies.

    Args:
        labels: One grouping (n,).
        assignment: The other grouping (n,).
        average: `"geometric"` for the paper's I / sqrt(H H'), or `"arithmetic"` for 2 I / (H + H'), the default of
            scikit-learn and of pytorch-metric-learning.

    Returns:
        The information, in [0, 1]; 1 for the same grouping under other names.

    Example:
        >>> normalised_information(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 3, 3]))
        1.0
    """
    score = require("sklearn.metrics", extra="retrieval").normalized_mutual_info_score
    return float(score(labels.cpu().numpy(), assignment.cpu().numpy(), average_method=average))


def is_collapsed(embeddings: Float[Tensor, "n d"]) -> bool:
    """Say whether a network embeds everything alike, up to the rounding that differs with the size of a batch.

    Args:
        embeddings: The embeddings (n, d), n > 0.

    Returns:
        True if all embeddings are the same; embeddings with NaN never are.
    """
    points = embeddings.detach().to(torch.promote_types(embeddings.dtype, torch.float32))
    return bool((points - points[0]).norm(dim=1).max() <= SAME * points.norm(dim=1).max())


def _check(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " m"]) -> None:
    if len(embeddings) != len(labels) or len(labels) < 2:
        raise DataError(
            f"{len(embeddings)} embeddings and {len(labels)} labels; expected as many of both, two at least"
        )
    checked_norms(
        embeddings.detach().to(torch.promote_types(embeddings.dtype, torch.float32)), "embeddings", "euclidean"
    )
    if is_collapsed(embeddings):
        raise DataError(
            f"all {len(embeddings)} embeddings are the same: the network has collapsed, or was fed one picture"
        )
