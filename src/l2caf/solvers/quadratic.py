"""The global minimum of a quadratic loss on a sphere, in closed form up to one root in one dimension.

Minimise f.Gf - 2 b.f on ||f|| = r. A filter is a global minimum exactly if, for some multiplier l,

    (G + l I) f = b,  ||f|| = r,  G + l I positive semi-definite,

so in the eigenbasis of G the multiplier is the root of the secular equation
sum_i b_i^2 / (w_i + l)^2 = r^2 on l > -w_0.
Where b has no part in the lowest eigenspace and the sum stays below r^2 there, l = -w_0 and any vector of that
eigenspace fills up the norm (the *hard case*): the minimum is not unique, and the one nearest to the uniform filter is
returned.

Reference: Moré and Sorensen, Computing a trust region step, SIAM J. Sci. Stat. Comput. 4, 1983.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from jaxtyping import Bool
from torch import Tensor

from l2caf.problem import ClosedForm, Constraint, Quadratic, Starts
from l2caf.shapes import Filters, Flags, Losses
from l2caf.solvers.solution import Certificate, Solution, certified, riemannian_residual
from l2caf.solvers.solver import OnSphere

EIGENSPACE_RTOL: Final = 1e-10  # eigenvalues this close (relative to the largest) count as one
HARD_RTOL: Final = 1e-7  # share of b in the lowest eigenspace below which float32 Jacobians cannot tell it from 0
ROOT_RTOL: Final = 1e-14
ROOT_STEPS: Final = 100  # bisection alone needs about 60; Newton's steps about 6
GLOBAL_RTOL: Final = 1e-6  # residual of the optimality conditions beyond which nothing is called proven


@dataclass(frozen=True, slots=True)
class QuadraticExact(OnSphere):
    """The closed solution of `Quadratic` problems on a sphere, `GLOBAL` where its conditions hold numerically."""

    kind: ClassVar[type[ClosedForm]] = Quadratic

    def solve(self, problem: Quadratic, constraint: Constraint, starts: Starts) -> Solution:
        """The best filter of each row, in float64."""
        del starts
        return best_on_sphere(problem, self.sphere(constraint).radius)


def best_on_sphere(problem: Quadratic, radius: float) -> Solution:
    """The filters of norm `radius` (m, p), in float64, that minimise a quadratic problem."""
    eigenvalues, basis = torch.linalg.eigh(problem.gram)
    slope = (basis.mT @ problem.slope.unsqueeze(-1)).squeeze(-1)
    ones = torch.ones_like(problem.slope) if problem.uniform is None else problem.uniform
    uniform = (basis.mT @ ones.unsqueeze(-1)).squeeze(-1)
    coordinates, unique = sphere_minimum(eigenvalues, slope, uniform, radius)
    filters = (basis @ coordinates.unsqueeze(-1)).squeeze(-1)
    filters = filters * (radius / filters.norm(dim=-1, keepdim=True))
    residual = _residual(problem, filters)
    return Solution(
        filters=filters,
        loss=problem.value(filters),
        certificates=certified(residual <= GLOBAL_RTOL, Certificate.GLOBAL, Certificate.STATIONARY),
        residual=residual,
        unique=unique,
        iterations=torch.zeros(len(filters), dtype=torch.long, device=filters.device),
        solver="exact",
    )


def _residual(problem: Quadratic, filters: Filters) -> Losses:
    """Residual of (G + l I) f = b, relative to the sizes of its terms: rounding can neither fake nor hide it."""
    gradient = 2 * ((problem.gram @ filters.unsqueeze(-1)).squeeze(-1) - problem.slope)
    residual = riemannian_residual(filters, gradient) * gradient.norm(dim=-1)
    scale = 2 * (problem.gram.norm(dim=(-2, -1)) * filters.norm(dim=-1) + problem.slope.norm(dim=-1))
    return residual / scale.clamp_min(1e-300)


def sphere_minimum(eigenvalues: Filters, slope: Filters, uniform: Filters, radius: float) -> tuple[Filters, Flags]:
    """The minimum of x.wx - 2 b.x on a sphere, in the eigenbasis of a Gram matrix.

    Args:
        eigenvalues: w (m, p), in rising order, float64.
        slope: b (m, p).
        uniform: the uniform filter (m, p), which the minimum is near to where there are several.
        radius: the radius of the sphere.

    Returns:
        Coordinates (m, p), and whether each minimum is the only one (m,).
    """
    lowest = eigenvalues[:, :1]
    spread = eigenvalues[:, -1:].abs().clamp_min(1e-300)
    bottom = eigenvalues - lowest <= EIGENSPACE_RTOL * spread
    gaps = eigenvalues - lowest
    rest = torch.where(bottom, 0.0, slope / gaps.clamp_min(1e-300))
    in_bottom = torch.where(bottom, slope, 0.0).norm(dim=-1)
    # Without a slope in the lowest eigenspace the norm of the solution is bounded as l falls to -w_0: if that bound is
    # below the radius, the secular equation has no root, and the eigenspace itself has to fill up the norm.
    hard = (in_bottom <= HARD_RTOL * slope.norm(dim=-1)) & (rest.norm(dim=-1) < radius)

    shift = _secular_root(gaps, slope, radius)
    easy_coordinates = slope / (gaps + shift.unsqueeze(-1)).clamp_min(1e-300)
    missing = (radius**2 - rest.square().sum(-1)).clamp_min(0).sqrt()
    hard_coordinates = rest + missing.unsqueeze(-1) * _toward(uniform, bottom)
    return torch.where(hard.unsqueeze(-1), hard_coordinates, easy_coordinates), ~hard


def _toward(uniform: Filters, bottom: Bool[Tensor, "m p"]) -> Filters:
    """Unit vector of the lowest eigenspace nearest to the uniform filter; its first axis if they are orthogonal."""
    inside = torch.where(bottom, uniform, 0.0)
    first = torch.zeros_like(inside)
    first[:, 0] = 1.0
    length = inside.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-9 * uniform.norm(dim=-1, keepdim=True), inside / length.clamp_min(1e-300), first)


def _secular_root(gaps: Filters, slope: Filters, radius: float) -> Losses:
    """The shift s = l + w_0 > 0 at which `||slope / (gaps + s)|| = radius`, (m,)."""
    # Newton's method on the reciprocal norm, which is nearly linear in s (Hebden). A step that leaves the bracket is
    # replaced by bisection, because next to the pole at s = 0 Newton's method overshoots.
    high = slope.norm(dim=-1) / radius
    low = torch.zeros_like(high)
    lowest = slope[:, 0].abs() / radius  # the norm is at least that of the lowest coordinate
    shift = torch.maximum(lowest, high * ROOT_RTOL).clamp_min(1e-300)
    for _ in range(ROOT_STEPS):
        scaled = slope / (gaps + shift.unsqueeze(-1)).clamp_min(1e-300)
        norm = scaled.norm(dim=-1)
        low, high = torch.where(norm >= radius, shift, low), torch.where(norm <= radius, shift, high)
        curved = scaled.square() / (gaps + shift.unsqueeze(-1)).clamp_min(1e-300)
        slope_of_norm = -curved.sum(-1) / norm.clamp_min(1e-300)
        newton = shift - (norm - radius) / slope_of_norm.clamp_max(-1e-300) * (norm / radius)
        inside = (newton > low) & (newton < high)
        shift = torch.where(inside, newton, (low + high) / 2)
        if bool((high - low <= ROOT_RTOL * high).all() | ((norm - radius).abs() <= ROOT_RTOL * radius).all()):
            break
    return shift
