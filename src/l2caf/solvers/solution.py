"""What a solver returns, and how far it can be trusted."""

from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.shapes import Filters, Flags, Losses, Rows


class Certificate(Enum):
    """How far a map can be trusted; the value is the sentence to print."""

    GLOBAL = "proven to be the best filter there is: an affine tail's optimality conditions hold, or the loss is 0"
    STATIONARY = "no small change of the filter lowers the loss, but another filter elsewhere might"
    STOPPED = "the best filter met: the search ran out of iterations or of progress, and nothing is proven of it"

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
        trace_loss: losses of those filters (iterations, m).
        start: m names of the starts that led there, where there were several.
        spread: (m,), by how much the worst start's loss exceeds the best one's.
    """

    filters: Filters
    loss: Losses
    certificates: tuple[Certificate, ...]
    residual: Losses
    unique: Flags | None
    iterations: Rows
    solver: str
    trace: Float[Tensor, "t m p"] | None = None
    trace_loss: Float[Tensor, "t m"] | None = None
    start: tuple[str, ...] | None = None
    spread: Losses | None = None

    def rows(self, rows: Rows) -> "Solution":
        """The solutions of some of the problems, without their trace."""
        return Solution(
            filters=self.filters[rows],
            loss=self.loss[rows],
            certificates=tuple(self.certificates[row] for row in rows.tolist()),
            residual=self.residual[rows],
            unique=None if self.unique is None else self.unique[rows],
            iterations=self.iterations[rows],
            solver=self.solver,
            start=None if self.start is None else tuple(self.start[row] for row in rows.tolist()),
            spread=None if self.spread is None else self.spread[rows],
        )


def merged(solution: Solution, other: Solution, rows: Rows) -> Solution:
    """One solver's solutions with another's in the place of some.

    Args:
        solution: of m problems.
        other: of r of them.
        rows: (r,) which.

    Returns:
        A solution of m problems. What `other` cannot tell of uniqueness counts as unique.
    """
    certificates, starts = list(solution.certificates), [solution.solver] * len(solution.loss)
    for place, row in enumerate(rows.tolist()):
        certificates[row] = other.certificates[place]
        starts[row] = other.start[place] if other.start else other.solver
    unique = solution.unique
    if unique is not None:
        known = torch.ones_like(unique[rows]) if other.unique is None else other.unique
        unique = unique.index_copy(0, rows, known)
    return Solution(
        filters=solution.filters.index_copy(0, rows, other.filters.to(solution.filters)),
        loss=solution.loss.index_copy(0, rows, other.loss),
        certificates=tuple(certificates),
        residual=solution.residual.index_copy(0, rows, other.residual),
        unique=unique,
        iterations=solution.iterations.index_copy(0, rows, other.iterations),
        solver=f"{solution.solver}, {other.solver}",
        start=tuple(starts),
        spread=None if other.spread is None else torch.zeros_like(solution.loss).index_copy(0, rows, other.spread),
    )


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
