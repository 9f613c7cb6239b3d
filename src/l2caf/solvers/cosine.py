"""The largest cosine that an affine tail can reach on a sphere, y(f) = c + J f and ||v|| = 1.

Where some filter reaches a positive cosine, the largest one belongs to the least distance of v from the ray through
y(f): min over f and a > 0 of ||v - a y(f)||^2 = 1 - cos^2. With b = 1 / a given, the filter is the sphere minimum of an
ordinary quadratic problem, f.Gf - 2 (b J^T v - J^T c).f, whose eigenbasis serves every b; with f given, b is
||y||^2 / v.y. So b is the root of ||y(f_b)||^2 - b v.y(f_b), positive at b = 0 and negative for large b.

Let l be the sphere's multiplier at the root. The filter is a global maximum if either holds:
    l >= 0: it minimises a convex function, ||v - a c - J g||^2, over the convex cone ||g|| <= r a;
    G + l I with the border J^T c, ||c||^2 - l r^2 is positive semi-definite: it minimises the Lagrangian of all (g, a).
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.problem import ClosedForm, Constraint, Cosine, Starts
from l2caf.shapes import Filters, Flags, Losses
from l2caf.solvers.quadratic import GLOBAL_RTOL, sphere_minimum
from l2caf.solvers.solution import Certificate, Solution, certified, riemannian_residual
from l2caf.solvers.solver import OnSphere

DOUBLINGS: Final = 200  # of b, until the cosine's numerator outweighs the norm
STEPS: Final = 60  # of the root search; bisection alone needs about 50
ROOT_RTOL: Final = 1e-14
PLATEAU: Final = 1e-14  # where y = b v can be reached it can for every smaller b; the largest is the best conditioned
SEMIDEFINITE_RTOL: Final = 1e-12  # of the largest eigenvalue, below which a negative one is rounding


@dataclass(frozen=True, slots=True)
class CosineExact(OnSphere):
    """Solutions of `Cosine` problems up to one root: `GLOBAL` where either condition holds, and `STOPPED` else."""

    kind: ClassVar[type[ClosedForm]] = Cosine

    def solve(self, problem: Cosine, constraint: Constraint, starts: Starts) -> Solution:
        """The best filter of each row."""
        del starts
        radius = self.sphere(constraint).radius
        turned = _Turned.of(problem, radius)
        b, steps = _root(turned)
        coordinates, unique = turned.minimum(b)
        filters = (turned.basis @ coordinates.unsqueeze(-1)).squeeze(-1)
        filters = filters * (radius / filters.norm(dim=-1, keepdim=True))
        residual = _residual(problem, filters)
        proven = (residual <= GLOBAL_RTOL) & turned.is_positive(coordinates) & turned.is_global(coordinates, b)
        return Solution(
            filters=filters,
            loss=problem.value(filters),
            certificates=certified(proven, Certificate.GLOBAL),
            residual=residual,
            unique=unique,
            iterations=torch.full_like(unique, steps, dtype=torch.long),
            solver="exact",
        )


@dataclass(frozen=True, slots=True)
class _Turned:
    """A problem in the eigenbasis of its Gram matrix."""

    eigenvalues: Filters
    basis: Float[Tensor, "m p p"]
    slope: Filters
    cross: Filters
    uniform: Filters
    along: Losses
    square: Losses
    radius: float

    @classmethod
    def of(cls, problem: Cosine, radius: float) -> "_Turned":
        eigenvalues, basis = torch.linalg.eigh(problem.gram)
        ones = torch.ones_like(problem.slope) if problem.uniform is None else problem.uniform
        slope, cross, uniform = (
            (basis.mT @ vector.unsqueeze(-1)).squeeze(-1) for vector in (problem.slope, problem.cross, ones)
        )
        return cls(eigenvalues, basis, slope, cross, uniform, problem.along, problem.square, radius)

    def minimum(self, b: Losses) -> tuple[Filters, Flags]:
        """The filters nearest to b v, in the eigenbasis, and whether each is the only one."""
        return sphere_minimum(self.eigenvalues, b.unsqueeze(-1) * self.slope - self.cross, self.uniform, self.radius)

    def product(self, x: Filters) -> Losses:
        """The product v . y (m,) at the coordinates x."""
        return self.along + (self.slope * x).sum(-1)

    def excess(self, b: Losses) -> Losses:
        """How far ||y||^2 - b v.y is from 0 at the filter for b, relative to its terms; just above 0 where y = b v."""
        x, _ = self.minimum(b)
        square = self.square + ((self.eigenvalues * x + 2 * self.cross) * x).sum(-1)
        return (square - b * self.product(x)) / (self.longest.square() + b.square()) + PLATEAU

    @property
    def longest(self) -> Losses:
        """An upper bound of ||y|| (m,) over the sphere."""
        stretch = self.eigenvalues[:, -1].clamp_min(0).sqrt() * self.radius
        return (self.square.sqrt() + stretch).clamp_min(1e-150)

    def is_positive(self, x: Filters) -> Flags:
        """Whether the cosine at the coordinates x is positive (m,)."""
        return self.product(x) > 0

    def is_global(self, x: Filters, b: Losses) -> Flags:
        """Whether the sphere's multiplier proves that no filter has a larger cosine than x (m,)."""
        pull = b.unsqueeze(-1) * self.slope - self.cross - self.eigenvalues * x
        multiplier = (pull * x).sum(-1) / self.radius**2
        largest = self.eigenvalues[:, -1].abs() + self.square
        arrow = torch.diag_embed(
            torch.cat(
                [
                    self.eigenvalues + multiplier.unsqueeze(-1),
                    (self.square - multiplier * self.radius**2).unsqueeze(-1),
                ],
                dim=-1,
            )
        )
        arrow[:, -1, :-1] = arrow[:, :-1, -1] = self.cross
        lowest = torch.linalg.eigvalsh(arrow)[:, 0]
        allowed = -SEMIDEFINITE_RTOL * largest
        return (multiplier >= allowed) | (lowest >= allowed)


def _root(turned: _Turned) -> tuple[Losses, int]:
    """The b (m,) at which the excess vanishes, by false position (Illinois) and bisection, and the steps it took."""
    # The root lies below ||y|| unless v.y is small against ||y||: then the bracket has to grow first. It never closes
    # where no filter has v.y > 0, so such rows do not hold up the others.
    low = torch.zeros_like(turned.square)
    above = turned.excess(low)
    high = turned.longest
    below = turned.excess(high)
    for _ in range(DOUBLINGS):
        short = (below > 0) & (turned.along + turned.radius * turned.slope.norm(dim=-1) > 0)
        if not bool(short.any()):
            break
        low, above = torch.where(short, high, low), torch.where(short, below, above)
        high = torch.where(short, 2 * high, high)
        below = torch.where(short, turned.excess(high), below)
    last, b = torch.zeros_like(low), high
    for step in range(1, STEPS + 1):
        share = (above / (above - below)).clamp(1e-3, 1 - 1e-3) if step % 3 else torch.full_like(b, 0.5)
        b = low + (high - low) * share
        excess = turned.excess(b)
        side = torch.where(excess > 0, 1.0, -1.0)
        again = side == last  # the same end moved twice: halving the other end's value brings that one in (Illinois)
        below = torch.where(side > 0, torch.where(again, below / 2, below), excess)
        above = torch.where(side < 0, torch.where(again, above / 2, above), excess)
        low, high = torch.where(side > 0, b, low), torch.where(side < 0, b, high)
        last = side
        if bool(((excess == 0) | (high - low <= ROOT_RTOL * high)).all()):
            break
    return low, step


def _residual(problem: Cosine, filters: Filters) -> Losses:
    """Riemannian gradient of the cosine, relative to the sizes of its two terms."""
    bent = (problem.gram @ filters.unsqueeze(-1)).squeeze(-1)
    square = (problem.square + ((bent + 2 * problem.cross) * filters).sum(-1)).clamp_min(1e-300)
    product = problem.along + (problem.slope * filters).sum(-1)
    inward = (product / square).unsqueeze(-1) * (problem.cross + bent)
    gradient = problem.slope - inward
    scale = problem.slope.norm(dim=-1) + inward.norm(dim=-1)
    return riemannian_residual(filters, gradient) * gradient.norm(dim=-1) / scale.clamp_min(1e-300)
