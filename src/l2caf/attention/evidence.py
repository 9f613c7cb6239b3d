"""How far each map of an `Attention` can be trusted, and the way on which its filter was found.

Tensors and arrays have the axes of the maps: (b, k), or (b, s, k) where each of s runs or frames has its own filter.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from l2caf.attention.following import Locality


@dataclass(frozen=True, slots=True)
class Evidence:
    """How far each map can be trusted.

    Attributes:
        certificate: (b, k) or (b, s, k) members of `Certificate`, as an array of objects.
        residual: how far each filter is from optimality, relative, in [0, 1].
        undecided: where the uniform filter does as well: the map carries no spatial information.
        iterations: steps of the search; 0 for closed forms.
        solver: the solver that found the filters, such as `exact`.
        locality: how well the positions of the layer follow the picture.
        unique: False where another filter is as good; None where that is not known.
        spread: the excess over `loss` of the loss reached from the worst start; None where there was one start.
        start: names of the starts that led to each filter, as an array of strings; None where there was one start.
    """

    certificate: Shaped[np.ndarray, "*maps"]
    residual: Float[Tensor, "*maps"]
    undecided: Bool[Tensor, "*maps"]
    iterations: Int[Tensor, "*maps"]
    solver: str
    locality: Locality
    unique: Bool[Tensor, "*maps"] | None = None
    spread: Float[Tensor, "*maps"] | None = None
    start: Shaped[np.ndarray, "*maps"] | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of each filter from its start, where it was asked for.

    Attributes:
        filter: filters after every iteration, (t, b, k, *grid) or (t, b, s, k, *grid).
        loss: their losses, (t, b, k) or (t, b, s, k).
    """

    filter: Float[Tensor, " t *maps_and_grid"]
    loss: Float[Tensor, " t *maps"]
