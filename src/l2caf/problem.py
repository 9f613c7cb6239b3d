"""What a solver may ask: the problem, and nothing of the network behind it.

With `y(f)` the tail's output for filter `f`, both losses of the paper are a function of `y` that is
linear (Eq. 2) or squared (Eq. 1). Where the tail is affine, `y(f) = c + J f`, they become

    Linear      offset + g . f                    with g = J^T s
    Quadratic   offset - 2 b . f + f . G f        with G = J^T J, b = J^T (NT - c)

    Cosine      1 - v . y(f) / ||y(f)||        with v of unit length

which have closed solutions on a sphere, the last up to one more root. Where a position answers to negative weights with
another column than to positive ones (a ReLU comes first), `f` is replaced by (max(f, 0), min(f, 0)) of 2 p coordinates,
and the problem is `TwoSided`. Everything else is `Smooth`: values and gradients.
Where the output has far fewer components than the filter has weights, `J f` knows only the part of f in the span of J's
rows, and the problem is `Spanned`: the same one in that many coordinates.
A problem holds m independent rows, each with its own filter of p weights.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.shapes import Filters, Losses, Rows


@dataclass(frozen=True, slots=True)
class Linear:
    """Minimise `offset + gradient . f`.

    Attributes:
        gradient: (m, p), any finite values.
        offset: (m,), the loss of the zero filter.
    """

    gradient: Filters
    offset: Losses

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        return self.offset + (self.gradient * filters).sum(-1)


@dataclass(frozen=True, slots=True)
class Quadratic:
    """Minimise `offset - 2 slope . f + f . gram f`.

    Attributes:
        gram: (m, p, p), symmetric positive semi-definite, float64.
        slope: (m, p), float64.
        offset: (m,), the loss of the zero filter.
        uniform: (m, p), the filter to be near to where several are best; None for the constant one.
    """

    gram: Float[Tensor, "m p p"]
    slope: Filters
    offset: Losses
    uniform: Filters | None = None

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        bent = (self.gram @ filters.unsqueeze(-1)).squeeze(-1)
        return self.offset + ((bent - 2 * self.slope) * filters).sum(-1)


@dataclass(frozen=True, slots=True)
class Cosine:
    """Minimise `1 - v . y / ||y||` with `y = c + J f` and v of unit length.

    Attributes:
        gram: J^T J (m, p, p), float64.
        slope: J^T v (m, p), float64.
        cross: J^T c (m, p), float64.
        along: v . c (m,), float64.
        square: c . c (m,), float64.
        uniform: as that of `Quadratic`.
    """

    gram: Float[Tensor, "m p p"]
    slope: Filters
    cross: Filters
    along: Losses
    square: Losses
    uniform: Filters | None = None

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        bent = (self.gram @ filters.unsqueeze(-1)).squeeze(-1)
        square = self.square + ((bent + 2 * self.cross) * filters).sum(-1)
        return 1 - (self.along + (self.slope * filters).sum(-1)) / square.clamp_min(1e-300).sqrt()


@dataclass(frozen=True, slots=True)
class Spanned:
    """A problem in the coordinates x = basis^T f of a subspace; what is orthogonal to it changes no loss.

    Attributes:
        inner: in q coordinates; the subspace holds a direction that changes none either, so that the norm can be filled
            up inside it and its minima are those of all filters.
        basis: (m, p, q), orthonormal columns, float64.
    """

    inner: Quadratic | Cosine
    basis: Float[Tensor, "m p q"]

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        return self.inner.value((self.basis.mT @ filters.to(self.basis).unsqueeze(-1)).squeeze(-1))

    def filters(self, coordinates: Float[Tensor, "m q"]) -> Filters:
        """Filters (m, p) of the subspace."""
        return (self.basis @ coordinates.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True, slots=True)
class TwoSided:
    """A problem in the coordinates (max(f, 0), min(f, 0)).

    Attributes:
        unfolded: linear or quadratic in 2 p coordinates, float64.
    """

    unfolded: Linear | Quadratic

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        return self.unfolded.value(torch.cat([filters.clamp(min=0), filters.clamp(max=0)], dim=-1))


ClosedForm = Linear | Quadratic | Cosine | Spanned | TwoSided


@runtime_checkable
class Smooth(Protocol):
    """A loss that can only be evaluated, with its gradient."""

    @property
    def n_problems(self) -> int:
        """How many rows there are."""

    @property
    def n_positions(self) -> int:
        """How many weights a filter has."""

    def value(self, filters: Filters, rows: Rows) -> Losses:
        """Losses (m,) of filters (m, p) for the problems numbered `rows` (m,)."""

    def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        """Losses (m,) and their gradients (m, p) for the problems numbered `rows` (m,)."""


@runtime_checkable
class Constraint(Protocol):
    """Where filters are sought: a map from free parameters (m, q) into the feasible set."""

    @property
    def name(self) -> str:
        """Such as `l2` or `gaussian, sigma 1`."""

    def on(self, grid: tuple[int, ...]) -> "Constraint":
        """The constraint on a grid; raises `ConstraintError` where it makes no sense there."""

    def filters(self, parameters: Float[Tensor, "m q"]) -> Filters:
        """Feasible filters (m, p), differentiable in the parameters."""

    def parameters(self, filters: Filters) -> Float[Tensor, "m q"]:
        """Parameters of feasible filters near to given ones (m, p), which need not be feasible."""

    def scale(self, parameters: Float[Tensor, "m q"]) -> Losses:
        """What turns the size of a slope in the parameters into a share of the gradient in the filter."""
