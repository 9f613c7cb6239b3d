"""The set a filter is sought in.

A constraint maps free parameters to filters, so that any first-order method can move in it. `UnitL2` is the paper's
(Sec. 3.1); its alternatives in Sec. 4.4 are a softmax, which comes out sparse, and a Gaussian, which assumes one mode.
All work on grids of any rank and size.

    UnitL2     ||f||_2 = radius                         signed, or non-negative
    UnitL1     ||f||_1 = 1                              signed
    Softmax    f >= 0, sum f = 1
    Gaussian   f proportional to a normal density with free mean and given (or bounded) covariance, ||f||_2 = 1
"""

import math
from dataclasses import dataclass, replace
from inspect import isclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import ConstraintError
from l2caf.problem import Constraint, Sphere
from l2caf.registry import Registry
from l2caf.shapes import Filters, Losses

TINY: Final = 1e-30
LEAST_DEVIATION: Final = 0.4  # positions; a narrower Gaussian is a single position
LARGEST_DEVIATION: Final = 0.35  # of the grid's longest side; a wider one is uniform


@dataclass(frozen=True, slots=True)
class UnitL2:
    """`||f||_2 = radius`; the paper's radius is 1.

    Attributes:
        radius: the L2 norm of the filter, above 0. It must be below sqrt(p), because from there on the all-ones filter
            is feasible and there is nothing to find.
        nonnegative: whether weights below 0 are excluded, so that features are damped but never turned over.
    """

    radius: float = 1.0
    nonnegative: bool = False

    def __post_init__(self) -> None:
        if not (self.radius > 0 and math.isfinite(self.radius)):
            raise ConstraintError(f"radius={self.radius} is not positive; expected a number above 0, 1 in the paper")

    @property
    def sphere(self) -> Sphere:
        """The constraint as closed solutions know it."""
        return Sphere(self.radius, self.nonnegative)

    @property
    def name(self) -> str:
        """What messages call the constraint, such as `l2` or `l2, radius 2, nonnegative`."""
        radius = "" if self.radius == 1 else f", radius {self.radius:g}"
        return f"l2{radius}{', nonnegative' if self.nonnegative else ''}"

    def on(self, grid: tuple[int, ...]) -> "UnitL2":
        """The constraint itself, if its radius leaves something to find on the grid.

        Args:
            grid: the sizes of the spatial axes.

        Returns:
            The constraint itself.

        Raises:
            ConstraintError: if the all-ones filter lies on or inside the sphere.
        """
        p = math.prod(grid)
        if self.radius**2 >= p:
            raise ConstraintError(
                f"radius={self.radius:g} admits the all-ones filter on a grid of {p} positions; "
                f"expected less than sqrt({p}) = {p**0.5:.3g}"
            )
        return self

    def filters(self, parameters: Filters) -> Filters:
        """Parameters, squared if no weight may be negative, scaled to the sphere row by row."""
        free = parameters.square() if self.nonnegative else parameters
        return free * (self.radius / free.norm(dim=-1, keepdim=True).clamp_min(TINY))

    def parameters(self, filters: Filters) -> Filters:
        """The filters scaled to norm 1, or the roots of their magnitudes."""
        if self.nonnegative:
            filters = filters.abs().clamp_min(1e-6 * filters.abs().amax(dim=-1, keepdim=True)).sqrt()
        return filters / filters.norm(dim=-1, keepdim=True).clamp_min(TINY)

    def scale(self, parameters: Filters) -> Losses:
        """||x|| / radius: the map is homogeneous of degree 0."""
        return parameters.norm(dim=-1) / self.radius


@dataclass(frozen=True, slots=True)
class UnitL1:
    """`||f||_1 = 1`: sparse, weights of both signs."""

    @property
    def name(self) -> str:
        """`l1`, which messages call the constraint."""
        return "l1"

    def on(self, grid: tuple[int, ...]) -> "UnitL1":
        """The constraint itself: it makes sense on every grid."""
        del grid
        return self

    def filters(self, parameters: Filters) -> Filters:
        """Signed squares x |x| / ||x||^2, which are smooth where a weight passes through 0."""
        return parameters * parameters.abs() / parameters.square().sum(dim=-1, keepdim=True).clamp_min(TINY)

    def parameters(self, filters: Filters) -> Filters:
        """Signed roots, scaled to an L2 norm of 1."""
        root = filters.abs().clamp_min(1e-6 * filters.abs().amax(dim=-1, keepdim=True)).sqrt()
        root = torch.where(filters < 0, -root, root)
        return root / root.norm(dim=-1, keepdim=True).clamp_min(TINY)

    def scale(self, parameters: Filters) -> Losses:
        """||x||: the map is homogeneous of degree 0."""
        return parameters.norm(dim=-1)


@dataclass(frozen=True, slots=True)
class Softmax:
    """Non-negative weights that sum to 1, by a softmax over positions (Sec. 4.4)."""

    @property
    def name(self) -> str:
        """`softmax`, which messages call the constraint."""
        return "softmax"

    def on(self, grid: tuple[int, ...]) -> "Softmax":
        """The constraint itself: it makes sense on every grid."""
        del grid
        return self

    def filters(self, parameters: Filters) -> Filters:
        """Softmax of the parameters."""
        return parameters.softmax(dim=-1)

    def parameters(self, filters: Filters) -> Filters:
        """Logarithms of the magnitudes, of mean 0."""
        magnitude = filters.abs()
        logarithm = magnitude.clamp_min(1e-4 * magnitude.amax(dim=-1, keepdim=True)).clamp_min(TINY).log()
        return logarithm - logarithm.mean(dim=-1, keepdim=True)

    def scale(self, parameters: Filters) -> Losses:
        """1 / max f: no slope is larger than the gradient times the largest weight."""
        return 1 / parameters.softmax(dim=-1).amax(dim=-1)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal density over the grid, scaled to `||f||_2 = 1`: one mode, free mean (Sec. 4.4).

    Attributes:
        sigma: the standard deviation along every axis, in positions; the paper's covariance is the identity.
        fit_covariance: whether the covariance is fitted too. Its deviations stay between 0.4 positions and 0.35 of the
            grid's longest side.
        grid: the sizes of the spatial axes, which `on` sets.
    """

    sigma: float = 1.0
    fit_covariance: bool = False
    grid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ConstraintError(
                f"sigma={self.sigma} is not positive; expected a deviation in positions, 1 in the paper"
            )

    @property
    def name(self) -> str:
        """What messages call the constraint, such as `gaussian, sigma 1`."""
        return "gaussian, fitted covariance" if self.fit_covariance else f"gaussian, sigma {self.sigma:g}"

    def on(self, grid: tuple[int, ...]) -> "Gaussian":
        """The constraint for a grid.

        Args:
            grid: the sizes of the spatial axes.

        Returns:
            A constraint that knows its grid.

        Raises:
            ConstraintError: if the deviation is so large that the filter would be uniform.
        """
        if self.sigma > max(grid):
            raise ConstraintError(
                f"sigma={self.sigma:g} makes the filter uniform on a {'x'.join(map(str, grid))} grid; "
                f"expected at most {max(grid)}"
            )
        return replace(self, grid=grid)

    def filters(self, parameters: Float[Tensor, "m q"]) -> Filters:
        """Densities at the grid's positions, from means and, where fitted, Cholesky factors of the covariance."""
        rank = len(self.grid)
        away = self._positions(parameters) - parameters[:, None, :rank]
        if self.fit_covariance:
            factor = self._factor(parameters[:, rank:])
            away = torch.linalg.solve_triangular(factor, away.mT, upper=False).mT
        else:
            away = away / self.sigma
        exponent = -away.square().sum(dim=-1) / 2
        density = (exponent - exponent.amax(dim=-1, keepdim=True)).exp()  # as near as the grid comes, at any distance
        return density / density.norm(dim=-1, keepdim=True)

    def parameters(self, filters: Filters) -> Float[Tensor, "m q"]:
        """The centroid of the magnitudes, and deviations of about a sixth of the grid."""
        weight = filters.abs() / filters.abs().sum(dim=-1, keepdim=True).clamp_min(TINY)
        mean = (weight.unsqueeze(-1) * self._positions(filters)).sum(dim=1)
        rank = len(self.grid)
        free = rank * (rank + 1) // 2 if self.fit_covariance else 0
        return torch.cat([mean, mean.new_zeros(len(mean), free)], dim=-1)

    def scale(self, parameters: Float[Tensor, "m q"]) -> Losses:
        """The deviation: the filter changes by about its own size when the mean moves so far."""
        return parameters.new_full((len(parameters),), self.sigma)

    def _positions(self, like: Tensor) -> Float[Tensor, "p r"]:
        axes = [torch.arange(n, device=like.device, dtype=like.dtype) for n in self.grid]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)

    def _factor(self, free: Float[Tensor, "m t"]) -> Float[Tensor, "m r r"]:
        """A lower triangular factor whose entries are bounded, and so the covariance away from both degenerations."""
        rank = len(self.grid)
        low = LEAST_DEVIATION
        high = max(low * 1.5, LARGEST_DEVIATION * max(self.grid))
        deviations = low + (high - low) * free[:, :rank].sigmoid()
        factor = torch.diag_embed(deviations)
        rows, columns = torch.tril_indices(rank, rank, offset=-1, device=free.device)
        shear = free.new_zeros(len(free), rank, rank)
        shear[:, rows, columns] = (high - low) / 2 * free[:, rank:].tanh()
        return factor + shear


CONSTRAINTS: Final = Registry[Constraint]("constraint", ConstraintError)
CONSTRAINTS.register("l2")(UnitL2())
CONSTRAINTS.register("l1")(UnitL1())
CONSTRAINTS.register("softmax")(Softmax())
CONSTRAINTS.register("gaussian")(Gaussian())


def named_constraint(value: str | Constraint) -> Constraint:
    """The constraint that a name stands for, or the one that is given.

    Args:
        value: a name in `CONSTRAINTS`, `package.module:name`, or a constraint.

    Returns:
        The constraint, not yet bound to a grid.

    Raises:
        ConstraintError: if there is no such name, or the value does not map parameters to filters.
    """
    constraint = CONSTRAINTS[value] if isinstance(value, str) else value
    if isclass(constraint) or not callable(getattr(constraint, "filters", None)):
        raise ConstraintError(
            f"{constraint!r} is no constraint; expected one of {', '.join(CONSTRAINTS)}, or an object with the methods "
            "of l2caf.problem.Constraint, such as UnitL2(radius=2)"
        )
    return constraint
