"""Nearest neighbours by looking at every picture of a gallery.

One product of matrices in the embeddings' own precision narrows the gallery down to the pictures that rounding leaves
in question; those are compared again in float64. The answer therefore depends neither on the number of queries at once
nor on the position of a picture in the gallery, and equal scores are ordered by position.

One query among 100,000 x 128 float32 takes 3 ms on one core with a `Gallery` that was made before, and 5 ms with
`nearest`; on two cores that were busy it took 24 and 40 ms. faiss-cpu 1.15 (IndexFlatIP) took 2 and 24 ms, and for 500
queries at once twice as long as this module, so it is not needed.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from l2caf.errors import DataError

Similarity = Literal["cosine", "euclidean"]  # by what embeddings are compared
AT_ONCE: Final = 2**25  # scores or gathered components in flight
COARSE_EPS: Final = 2.0**-7  # of bfloat16, the worst that torch.set_float32_matmul_precision allows products
VANISHING: Final = 2.0**10  # times the least normal number: squares below are too coarse to compare angles by
SPARE: Final = 32  # candidates beyond k that are compared again, unless rounding leaves more in question


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest pictures to each of q queries, the nearest first.

    Attributes:
        indices: The rows of the gallery (q, k).
        scores: Cosine similarities (q, k) in [-1, 1], falling, or Euclidean distances (q, k), rising.
    """

    indices: Int[Tensor, "q k"]
    scores: Float[Tensor, "q k"]


class Gallery:
    """Embeddings to search among, checked and measured once.

    Example:
        >>> gallery = Gallery(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]]))
        >>> gallery.nearest(torch.tensor([[2.0, 1.0]]), k=2).indices
        tensor([[2, 0]])
    """

    def __init__(self, embeddings: Float[Tensor, "g d"], metric: Similarity = "cosine") -> None:
        """Check the embeddings and measure their norms.

        Args:
            embeddings: The embeddings (g, d), g > 0; half precision is converted to float32.
            metric: `"cosine"` or `"euclidean"`.

        Raises:
            DataError: if the gallery is empty or not finite, a row is zero under the cosine, or `metric` is neither.
        """
        if not embeddings.numel():
            raise DataError(f"the gallery is empty: {tuple(embeddings.shape)}; expected (g, d) with g > 0")
        self.metric = similarity_named(metric)
        self.embeddings = _at_least_single(embeddings.detach())
        self.norms = checked_norms(self.embeddings, "the gallery", metric)
        if metric == "euclidean":
            self._half_squares, self._largest = self.norms.square() / 2, float(self.norms.max())

    def __len__(self) -> int:
        return len(self.embeddings)

    def nearest(self, queries: Float[Tensor, "q d"], k: int = 1, *, own: Int[Tensor, " q"] | None = None) -> Neighbours:
        """Find what is nearest to each query.

        Args:
            queries: The queries (q, d), on the gallery's device.
            k: The number of neighbours, from 1 to the size of the gallery.
            own: The row (q,) of each query in the gallery, if the queries are in it; this row is left out, and the
                largest k is smaller by one.

        Returns:
            The neighbours; of equal scores the earlier row comes first.

        Raises:
            DataError: if dimensions differ, a query is not finite or zero under the cosine, or k is out of range.
        """
        limit = len(self) - (own is not None)
        if queries.shape[1] != self.embeddings.shape[1]:
            raise DataError(
                f"queries of {queries.shape[1]} dimensions do not fit a gallery of {self.embeddings.shape[1]}"
            )
        if not 1 <= k <= limit:
            raise DataError(f"k={k} is out of range; expected 1 to {limit}, the pictures there are to find")
        dtype = torch.promote_types(_at_least_single(queries).dtype, self.embeddings.dtype)
        queries = queries.detach().to(self.embeddings.dtype)
        checked_norms(queries, "the queries", self.metric)
        rows = max(1, AT_ONCE // max(len(self), (k + SPARE) * queries.shape[1]))
        owners = [None] * max(1, -(-len(queries) // rows)) if own is None else own.split(rows)
        found = [self._some(some, k, mine) for some, mine in zip(queries.split(rows), owners, strict=True)]
        return Neighbours(torch.cat([i for i, _ in found]), torch.cat([s for _, s in found]).to(dtype))

    def _some(
        self, queries: Float[Tensor, "q d"], k: int, own: Int[Tensor, " q"] | None
    ) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q k"]]:
        """Return rows and float64 scores for as many queries as fit at once."""
        rough = self._rough(queries)
        wanted = k + (own is not None)
        top = rough.topk(min(wanted + SPARE, len(self)))
        floor = top.values[:, wanted - 1] - self._rounding(queries)
        indices, scores = self._exact(queries, top.indices, k, own)
        if top.values.shape[1] < len(self):
            for row in (top.values[:, -1] >= floor).nonzero()[:, 0].tolist():
                candidates = (rough[row] >= floor[row]).nonzero().T
                mine = None if own is None else own[row : row + 1]
                indices[row], scores[row] = (x[0] for x in self._exact(queries[row : row + 1], candidates, k, mine))
        return indices, scores

    def _rough(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q g"]:
        """Return scores that are larger for nearer pictures, up to rounding and to a term that a whole row shares."""
        products = queries @ self.embeddings.T
        return products / self.norms if self.metric == "cosine" else products - self._half_squares

    def _rounding(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, " q"]:
        """Return by how much two rough scores may be wrong together."""
        limits, norms = torch.finfo(queries.dtype), queries.norm(dim=1)
        is_coarse = queries.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
        eps = COARSE_EPS if is_coarse else limits.eps
        scale = norms if self.metric == "cosine" else (norms + self._largest) * self._largest
        return 4 * queries.shape[1] * eps * scale + limits.tiny

    def _exact(
        self, queries: Float[Tensor, "q d"], candidates: Int[Tensor, "q m"], k: int, own: Int[Tensor, " q"] | None
    ) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q k"]]:
        """Return the k best candidates by float64 scores; of equal scores the earlier row comes first."""
        candidates = candidates.sort(dim=1).values
        vectors, wanted = self.embeddings[candidates].double(), queries.double()[:, None]
        if self.metric == "cosine":
            scores = (vectors * wanted).sum(-1) / (vectors.norm(dim=-1) * wanted.norm(dim=-1))
        else:
            scores = -(vectors - wanted).norm(dim=-1)
        if own is not None:
            scores = scores.masked_fill(candidates == own[:, None], -torch.inf)
        best = scores.sort(dim=1, descending=True, stable=True)
        sign = 1 if self.metric == "cosine" else -1
        return candidates.gather(1, best.indices[:, :k]), sign * best.values[:, :k]


def nearest(
    queries: Float[Tensor, "q d"], gallery: Float[Tensor, "g d"], k: int = 1, metric: Similarity = "cosine"
) -> Neighbours:
    """Find what of a gallery is nearest to each query; for several calls a `Gallery` is faster.

    Args:
        queries: The queries (q, d).
        gallery: The embeddings to search among (g, d), on the same device.
        k: The number of neighbours, from 1 to g.
        metric: `"cosine"` or `"euclidean"`.

    Returns:
        The neighbours; of equal scores the earlier row of the gallery comes first.

    Raises:
        DataError: if the gallery is empty, dimensions differ, an embedding is not finite or zero under the cosine, k is
            out of range, or `metric` is neither of the two.
    """
    return Gallery(gallery, metric).nearest(queries, k)


def nearest_others(embeddings: Float[Tensor, "n d"], k: int, metric: Similarity = "cosine") -> Int[Tensor, "n k"]:
    """Which k other rows are nearest to each row, the nearest first.

    Args:
        embeddings: the embeddings (n, d), n > 1.
        k: the number of neighbours, from 1 to n - 1.
        metric: `"cosine"` or `"euclidean"`.

    Returns:
        Rows (n, k); of equal scores the earlier row comes first.

    Raises:
        DataError: as `Gallery` and its `nearest` do.
    """
    own = torch.arange(len(embeddings), device=embeddings.device)
    return Gallery(embeddings, metric).nearest(embeddings, k, own=own).indices


def similarity_named(name: str) -> Similarity:
    """Return the name of a similarity; DataError is raised if there is none of this name."""
    for metric in get_args(Similarity):
        if metric == name:
            return metric
    raise DataError(f"unknown metric {name!r}; expected one of {', '.join(get_args(Similarity))}")


def checked_norms(embeddings: Float[Tensor, "n d"], what: str, metric: Similarity) -> Float[Tensor, " n"]:
    """Compute the norms of embeddings, and check that they can be compared.

    Args:
        embeddings: The embeddings (n, d), float32 or float64.
        what: What the embeddings are called in the message, such as `the gallery`.
        metric: The similarity by which they are to be compared.

    Returns:
        The norms (n,), in the embeddings' precision.

    Raises:
        DataError: if an embedding is not finite, the square of its norm overflows, or, under the cosine, it is zero or
            the square of its norm vanishes.
    """
    norms = embeddings.norm(dim=1)
    if not len(norms):
        return norms
    least, largest = (float(bound) for bound in norms.aminmax())  # NaN if one is
    limits = torch.finfo(norms.dtype)
    if not largest**2 <= limits.max:
        bad = (~(norms.double().square() <= limits.max)).nonzero()
        raise DataError(
            f"{what}: {len(bad)} of {len(norms)} embeddings are NaN, infinite or huge, first row {int(bad[0])}"
        )
    if metric == "cosine" and least**2 < VANISHING * limits.tiny:
        zero = (norms.double().square() < VANISHING * limits.tiny).nonzero()
        raise DataError(
            f"{what}: {len(zero)} of {len(norms)} embeddings are zero, first row {int(zero[0])}; they have no cosine"
        )
    return norms


def comparable(embeddings: Float[Tensor, "n d"], metric: Similarity) -> Bool[Tensor, " n"]:
    """Say which embeddings `checked_norms` accepts: those that are finite, not huge, and not zero under the cosine.

    Args:
        embeddings: The embeddings (n, d), float32 or float64.
        metric: The similarity by which they are to be compared.

    Returns:
        A boolean for each embedding (n,).
    """
    squares, limits = embeddings.norm(dim=1).double().square(), torch.finfo(embeddings.dtype)
    return (squares <= limits.max) & ((squares >= VANISHING * limits.tiny) | (metric != "cosine"))


def _at_least_single(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
