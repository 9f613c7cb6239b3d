"""What makes pictures similar: attention for a pair of them, and for a group. The paper does not have this.

    pair    max over f of cos(e(A * f), v): one filter on each side, the other side's embedding v left as it is
    group   the same, with v the mean direction of the other pictures' embeddings; as the cosines to all of them have
            that direction's cosine as their mean, up to scale, it is also their best filter for all pairs at once

Under an affine tail both are proven optima (`l2caf.solvers.cosine`). A tail that ends in a normalisation is not affine,
so take the output of the layer before it, with `until=`.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.attention import L2CAF, Attention, Cut
from l2caf.errors import DataError
from l2caf.objectives import Measure, Similar
from l2caf.tail import Tail

ROUNDS: Final = 20  # of alternating sides; a few are usual
SETTLED: Final = 1e-5  # gain of the similarity below which a round is the last


@dataclass(frozen=True)
class PairAttention:
    """Where two sides are alike.

    Attributes:
        query: The filters (b, k) on the queries, one for each match.
        match: The filters (b * k, 1) on the matches; those of the first query come first.
        similarity: The similarity (b, k) of the pictures without filters.
    """

    query: Attention
    match: Attention
    similarity: Float[Tensor, "b k"]


def pair(
    caf: L2CAF, queries: object, matches: object, *, measure: Measure = "cosine", joint: bool = False
) -> PairAttention:
    """Find which part of each query and which part of each match make them similar.

    Args:
        caf: An explainer of an embedding network.
        queries: The b inputs, as the explainer takes them.
        matches: The b * k inputs to compare with, k for each query; those of the first query come first.
        measure: `"cosine"`, or `"dot"` for the inner product of the embeddings.
        joint: Let each side see the other through the other's filter, in turns until neither gains. The parts are then
            like each other; otherwise each part is like the other picture as a whole. No bound is known for both sides
            together, so certificates are then those of one side given the other.

    Returns:
        Filters for both sides.

    Raises:
        DataError: if the number of matches is no multiple of the number of queries.

    Example:
        >>> from torch import nn
        >>> trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        >>> net = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> both = pair(L2CAF(net), torch.rand(1, 3, 16, 16), torch.rand(3, 3, 16, 16))
        >>> both.query.filter.shape, both.match.filter.shape
        (torch.Size([1, 3, 7, 7]), torch.Size([3, 1, 7, 7]))
    """
    with caf.cut(queries) as left, caf.cut(matches) as right:
        seen, found = left.tail.reference, right.tail.reference
        b, m = len(seen), len(found)
        if m % b:
            raise DataError(f"{m} matches for {b} queries; expected as many for each, such as {b} or {2 * b}")
        wanted, given = found.unflatten(0, (b, -1)), seen.repeat_interleave(m // b, dim=0).unsqueeze(1)
        similarity = _similarity(wanted, seen.unsqueeze(1), measure)
        query = caf.on(left, objective=Similar(wanted, measure))
        match = caf.on(right, objective=Similar(given, measure))
        if joint:
            query, match = _alternate(caf, left, right, query, measure)
    return PairAttention(query, match, similarity)


def group(caf: L2CAF, pictures: object, *, measure: Measure = "cosine") -> Attention:
    """Find what each of a set of pictures has in common with the others.

    Args:
        caf: An explainer of an embedding network.
        pictures: Two inputs or more, as the explainer takes them.
        measure: `"cosine"`, or `"dot"` for the inner product of the embeddings.

    Returns:
        One filter for each picture.

    Raises:
        DataError: if there is only one picture, or an embedding is zero.
    """
    with caf.cut(pictures) as cut:
        embeddings = cut.tail.reference.double()
        if len(embeddings) < 2:
            raise DataError("a group of one picture has nothing in common with others; expected two or more")
        if measure == "cosine":
            norms = embeddings.norm(dim=1, keepdim=True)
            if not bool((norms > 0).all()):
                raise DataError("an embedding of the group is zero; it has no direction")
            embeddings = embeddings / norms
        others = (embeddings.sum(0) - embeddings) / (len(embeddings) - 1)
        return caf.on(cut, objective=Similar(others.unsqueeze(1).to(cut.tail.reference.dtype), measure))


def _alternate(caf: L2CAF, left: Cut, right: Cut, query: Attention, measure: Measure) -> tuple[Attention, Attention]:
    """Solve both sides in turns, each for the other as it was last."""
    k = query.filter.shape[1]
    best = float("inf")
    for _ in range(ROUNDS):
        partial = _under(left.tail, query).flatten(0, 1).unsqueeze(1)
        match = caf.on(right, objective=Similar(partial, measure))
        partial = _under(right.tail, match).unflatten(0, (-1, k)).flatten(1, 2)
        query = caf.on(left, objective=Similar(partial, measure))
        loss = float(query.loss.sum())
        if best - loss <= SETTLED * max(abs(loss), 1.0):
            break
        best = loss
    return query, match


def _under(tail: Tail, attention: Attention) -> Float[Tensor, "b k n"]:
    """Return the embeddings under an attention's filters."""
    b, k = attention.filter.shape[:2]
    rows = torch.arange(b, device=attention.filter.device).repeat_interleave(k)
    with torch.no_grad():
        return tail(attention.filter.flatten(2).flatten(0, 1), rows).unflatten(0, (b, k))


def _similarity(a: Float[Tensor, "b k n"], b: Float[Tensor, "b 1 n"], measure: Measure) -> Float[Tensor, "b k"]:
    if measure == "cosine":
        return torch.nn.functional.cosine_similarity(a, b, dim=-1)
    return (a * b).sum(-1)
