"""Sphere minima of problems in which a position's sign chooses its column (`TwoSided`).

Linear loss: position p costs c_p |f_p| with c_p the cheaper of its two sides, so the minimum is
|f| = -r min(c, 0) / ||min(c, 0)||; where every c_p is positive, everything goes to the cheapest position. Global.

Quadratic loss: for given signs the problem is an ordinary quadratic one with a closed solution. Freed of the rule
that one of max(f, 0) and min(f, 0) is 0, it is another one, on the sphere of 2 p coordinates: its minimum bounds every
filter's loss from below and its signs are the ones to start from. Signs that a solution contradicts are flipped; a
position contradicted on both sides has its minimum at 0 and is held there. A solution that contradicts none is
stationary, and global if it reaches the bound.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.problem import ClosedForm, Constraint, Linear, Quadratic, Starts, TwoSided
from l2caf.shapes import Filters, Flags, Losses
from l2caf.solvers.quadratic import best_on_sphere
from l2caf.solvers.solution import Certificate, Solution, certified
from l2caf.solvers.solver import OnSphere

MAX_ROUNDS: Final = 12  # flips of signs; 2 or 3 are usual
STATIONARY_RTOL: Final = 1e-6  # as the exact solver's: these are its conditions, on the positions not held at 0
GLOBAL_RTOL: Final = 1e-9  # of the zero filter's loss, between a loss and its lower bound


@dataclass(frozen=True, slots=True)
class TwoSidedExact(OnSphere):
    """Solutions of `TwoSided` problems: `GLOBAL` for linear losses, mostly `STATIONARY` for quadratic ones."""

    kind: ClassVar[type[ClosedForm]] = TwoSided

    def solve(self, problem: TwoSided, constraint: Constraint, starts: Starts) -> Solution:
        """The best filter of each row that this method knows."""
        del starts
        return _SOLVED[type(problem.unfolded)](problem.unfolded, problem, self.sphere(constraint).radius)


def _linear(unfolded: Linear, problem: TwoSided, radius: float) -> Solution:
    """The cheaper side of every position, weighted by what it gains."""
    above, below = unfolded.gradient.double().chunk(2, dim=-1)
    cost = torch.minimum(above, -below)
    sign = torch.where(above <= -below, 1.0, -1.0).to(cost)
    gain = (-cost).clamp_min(0)
    norm = gain.norm(dim=-1, keepdim=True)
    cheapest = torch.zeros_like(cost).scatter_(1, cost.argmin(dim=-1, keepdim=True), 1.0)
    filters = radius * sign * torch.where(norm > 0, gain / norm.clamp_min(1e-300), cheapest)
    either_sign = ((above == -below) & (filters != 0)).any(dim=-1)
    several = (norm.squeeze(-1) == 0) & ((cost == cost.amin(dim=-1, keepdim=True)).sum(dim=-1) > 1)
    zeros = torch.zeros(len(filters), device=filters.device)
    return Solution(
        filters=filters,
        loss=problem.value(filters),
        certificates=(Certificate.GLOBAL,) * len(filters),
        residual=zeros.double(),
        unique=~(either_sign | several),
        iterations=zeros.long(),
        solver="exact, two-sided",
    )


def _quadratic(unfolded: Quadratic, problem: TwoSided, radius: float) -> Solution:
    """The solution for the signs of the relaxed problem, whose contradicted signs are flipped until none is left."""
    # Relaxed, the two sides of a position are free of each other, so there is no uniform filter to be near to.
    relaxed = best_on_sphere(replace(unfolded, uniform=None), radius)
    above, below = relaxed.filters.chunk(2, dim=-1)
    sign = torch.where(above + below >= 0, 1.0, -1.0).double()
    was_flipped = torch.zeros_like(sign, dtype=torch.bool)
    filters, residual = torch.zeros_like(sign), torch.ones_like(relaxed.loss)
    loss, rounds = torch.full_like(residual, torch.inf), torch.zeros_like(relaxed.iterations)
    settled = torch.zeros_like(residual, dtype=torch.bool)
    for _ in range(MAX_ROUNDS):
        found = best_on_sphere(_for_signs(unfolded, sign), radius)
        real = problem.value(found.filters)
        contradicted = found.filters * sign < 0
        better = ~settled & (real <= loss)
        loss, residual = torch.where(better, real, loss), torch.where(better, found.residual, residual)
        filters = torch.where(better.unsqueeze(-1), found.filters, filters)
        rounds += ~settled
        settled |= better & ~contradicted.any(dim=-1) & _wants_none(unfolded, found.filters, sign)
        if bool(settled.all()):
            break
        # A position contradicted for the second time has been tried on both sides, and is held at 0 from now on.
        sign = torch.where(contradicted, torch.where(was_flipped, 0.0, -sign), sign)
        was_flipped |= contradicted
    stationary = settled & (residual <= STATIONARY_RTOL)
    lowest = stationary & (loss - relaxed.loss <= GLOBAL_RTOL * unfolded.offset)
    proven = zip(certified(stationary, Certificate.STATIONARY), lowest.tolist(), strict=True)
    return Solution(
        filters=filters,
        loss=loss,
        certificates=tuple(Certificate.GLOBAL if is_lowest else own for own, is_lowest in proven),
        residual=residual,
        unique=None,
        iterations=rounds,
        solver="exact per sign pattern",
    )


_SOLVED: Final[dict[type, Callable[[Any, TwoSided, float], Solution]]] = {Linear: _linear, Quadratic: _quadratic}


def _for_signs(unfolded: Quadratic, sign: Float[Tensor, "m p"]) -> Quadratic:
    """The quadratic problem of one sign for each position; those of sign 0 are priced out."""
    p = sign.shape[1]
    column = torch.arange(p, device=sign.device) + p * (sign < 0)
    rows = column.unsqueeze(-1).expand(-1, -1, 2 * p)
    gram = unfolded.gram.gather(1, rows).gather(2, column.unsqueeze(1).expand(-1, p, -1))
    slope = unfolded.slope.gather(1, column)
    free = (sign != 0).to(gram)
    price = gram.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)  # the trace: at least the largest eigenvalue
    held = torch.diag_embed((1 - free) * price)
    return Quadratic(gram * free.unsqueeze(1) * free.unsqueeze(2) + held, slope * free, unfolded.offset)


def _wants_none(unfolded: Quadratic, filters: Filters, sign: Float[Tensor, "m p"]) -> Flags:
    """Whether no position held at 0 would lower the loss by leaving it on either side."""
    both = torch.cat([filters.clamp(min=0), filters.clamp(max=0)], dim=-1)
    gradient = 2 * ((unfolded.gram @ both.unsqueeze(-1)).squeeze(-1) - unfolded.slope)
    above, below = gradient.chunk(2, dim=-1)
    allowed: Losses = STATIONARY_RTOL * gradient.norm(dim=-1, keepdim=True)
    stays = (above >= -allowed) & (below <= allowed)
    return (stays | (sign != 0)).all(dim=-1)
