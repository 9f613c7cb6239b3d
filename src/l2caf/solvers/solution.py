"""What a solver returns, and how far it can be trusted."""

from dataclasses import dataclass
from enum import Enum

from jaxtyping import Float
from torch import Tensor

from l2caf.shapes import Filters, Flags, Losses, Rows


class Certificate(Enum):
    """How far a map can be trusted; the value is the sentence to print."""

    GLOBAL = "proven to be the best filter there is: the tail is affine and the optimality conditions hold"
    STATIONARY = "no small change of the filter lowers the loss, but another filter elsewhere might"
    STOPPED = "stopped at its iteration limit; more iterations would still lower the loss"

    @property
    def label(self) -> str:
        """One lower-case word: `global`, `stationary`, `stopped`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Solution:
    """Filters for m problems.

    Attributes:
        filters: (m, p), on the constraint.
        loss: (m,), as the solver sees it, float64.
        certificates: m of them.
        residual: (m,), norm of the Riemannian gradient relative to the loss's gradient, in [0, 1]; 0 at an optimum.
        unique: (m,), False where other filters are as good; None where the solver cannot tell.
        iterations: (m,), passes of the solver's loop; 0 for a closed form.
        solver: its name.
        trace: filters after each iteration (iterations, m, p), where it was asked for.
    """

    filters: Filters
    loss: Losses
    certificates: tuple[Certificate, ...]
    residual: Losses
    unique: Flags | None
    iterations: Rows
    solver: str
    trace: Float[Tensor, "t m p"] | None = None


def riemannian_residual(filters: Filters, gradient: Filters) -> Losses:
    """Share of the gradient that lies along the sphere, in [0, 1].

    Args:
        filters: points on a sphere around 0, (m, p).
        gradient: Euclidean gradients of the loss there, (m, p).

    Returns:
        `||g - (g.u) u|| / ||g||` with u = f / ||f||, (m,), float64; 0 where the gradient vanishes.
    """
    unit = filters.double() / filters.double().norm(dim=-1, keepdim=True)
    gradient = gradient.double()
    along = gradient - (gradient * unit).sum(-1, keepdim=True) * unit
    return along.norm(dim=-1) / gradient.norm(dim=-1).clamp_min(1e-300)
