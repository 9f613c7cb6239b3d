"""What a solver returns, and how far it can be trusted."""

from dataclasses import dataclass, replace
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

    ELSEWHERE = "no map of the picture: the positions of the layer do not follow it, however well the filter was found"

    @property
    def label(self) -> str:
        """One lower-case word: `global`, `stationary`, `stopped`, `elsewhere`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Solution:
    """Filters for m problems.

    Attributes:
        filters: the filters (m, p), feasible under the constraint.
        loss: their losses (m,) as the solver sees them, in float64.
        certificates: how far each of the m filters can be trusted.
        residual: the norm (m,) of the Riemannian gradient relative to the gradient, in [0, 1]; it is 0 at an optimum.
        iterations: the number (m,) of passes of the solver's loop; it is 0 for a closed form.
        solver: the solver's name.
        unique: whether (m,) no other filter is as good; None if the solver cannot tell.
        live: whether (m,) the search could leave its start, where the gradient may vanish; None if it does not look.
        trace: the filters (iterations, m, p) after each iteration; None unless the solver was asked for them.
        trace_loss: the losses (iterations, m) of the filters in `trace`.
        start: the names of the m starts that led to the filters; None if there was only one.
        spread: the loss (m,) reached from the worst start less that from the best one; None if there was only one.
    """

    filters: Filters
    loss: Losses
    certificates: tuple[Certificate, ...]
    residual: Losses
    iterations: Rows
    solver: str
    unique: Flags | None = None
    live: Flags | None = None
    trace: Float[Tensor, "t m p"] | None = None
    trace_loss: Float[Tensor, "t m"] | None = None
    start: tuple[str, ...] | None = None
    spread: Losses | None = None

    def rows(self, rows: Rows) -> "Solution":
        """The solutions of some of the problems.

        Args:
            rows: (r,) numbers of the problems, in [0, m).

        Returns:
            A solution of r problems.
        """
        numbers = rows.tolist()
        return replace(
            self,
            filters=self.filters[rows],
            loss=self.loss[rows],
            certificates=tuple(self.certificates[number] for number in numbers),
            residual=self.residual[rows],
            iterations=self.iterations[rows],
            unique=None if self.unique is None else self.unique[rows],
            live=None if self.live is None else self.live[rows],
            trace=None if self.trace is None else self.trace[:, rows],
            trace_loss=None if self.trace_loss is None else self.trace_loss[:, rows],
            start=None if self.start is None else tuple(self.start[number] for number in numbers),
            spread=None if self.spread is None else self.spread[rows],
        )


def certified(
    holds: Flags, certificate: Certificate, otherwise: Certificate = Certificate.STOPPED
) -> tuple[Certificate, ...]:
    """One certificate where a condition holds (m,), another one where it does not."""
    return tuple(certificate if ok else otherwise for ok in holds.tolist())


def merged(solution: Solution, other: Solution, rows: Rows) -> Solution:
    """One solver's solutions with another's in the place of some.

    Args:
        solution: the solution of m problems.
        other: another solution of r of these problems.
        rows: (r,) numbers of the problems that `other` solves, in [0, m).

    Returns:
        A solution of m problems, without a trace. A filter whose uniqueness `other` cannot tell counts as unique.
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
        filters: the points (m, p), each on a sphere around 0.
        gradient: the Euclidean gradients (m, p) of the loss at these points.

    Returns:
        `||g - (g.u) u|| / ||g||` with u = f / ||f||, (m,), float64; 0 where the gradient vanishes.
    """
    unit = filters.double() / filters.double().norm(dim=-1, keepdim=True)
    gradient = gradient.double()
    along = gradient - (gradient * unit).sum(-1, keepdim=True) * unit
    return along.norm(dim=-1) / gradient.norm(dim=-1).clamp_min(1e-300)
