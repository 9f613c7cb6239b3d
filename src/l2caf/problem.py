"""What goals, constraints and solvers may know of each other: the problem, and nothing of the network behind it.

With `y(f)` the tail's output for filter `f`, a goal is a function of `y`. Where the tail is affine, `y(f) = c + J f`,
the goals of this package become

    Linear      offset + g . f                    with g = J^T s
    Quadratic   offset - 2 b . f + f . G f        with G = J^T J, b = J^T (NT - c)
    Cosine      1 - v . y(f) / ||y(f)||           with v of unit length

These have closed solutions on a sphere; the cosine needs one more root. Two more kinds hold one of them in other
coordinates. If a position answers to negative weights with another column than to positive ones (a ReLU comes first),
`f` is replaced by (max(f, 0), min(f, 0)) of 2 p coordinates, and the problem is `TwoSided`. If the output has far
fewer components than the filter has weights, `J f` knows only the part of f in the span of J's rows, and the problem is
`Spanned`: the same one in that many coordinates. Every other problem is `Smooth`: a solver can ask it for losses and
gradients only. A problem holds m independent rows, each with its own filter of p weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.shapes import Filters, Losses, Outputs, Rows

Starts = Mapping[str, Filters]


@runtime_checkable
class Response(Protocol):
    """An affine answer c + J f to filters in q coordinates, of which a goal states its closed problem.

    Members are methods, because an answer is computed when it is asked for and costs passes of the tail.
    """

    def offset(self) -> Outputs:
        """The answer c (b, n) to the zero filter."""

    def reference(self) -> Outputs:
        """The answer NT (b, n) to the filter of ones, which is the output of the untouched network."""

    def ones(self) -> Float[Tensor, "b q"]:
        """The coordinates of the filter of ones, in float64."""

    def jacobian(self) -> Float[Tensor, "b n q"]:
        """The columns J, one for each coordinate."""

    def pullback(self, weights: Float[Tensor, "b k n"]) -> Float[Tensor, "b k q"]:
        """The products J^T s with k weightings s of each output, in float64; no J is needed for them."""


class ClosedForm(ABC):
    """A problem that is known in full, so that its solution can be computed and mostly proven.

    Attributes:
        needs_jacobian: whether problems of this kind are stated from J itself, and not from products with it.
        is_two_sided: whether problems of this kind can also be solved as `TwoSided`.
        needs_proof: whether a solution that is not proven is to be sought again from several starts.
    """

    __slots__ = ()
    needs_jacobian: ClassVar[bool] = True
    is_two_sided: ClassVar[bool] = False
    needs_proof: ClassVar[bool] = False

    @abstractmethod
    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""


@dataclass(frozen=True, slots=True)
class Linear(ClosedForm):
    """Minimise `offset + gradient . f`.

    Attributes:
        gradient: the slopes g (m, p), any finite values.
        offset: the losses (m,) of the zero filter.
    """

    needs_jacobian: ClassVar[bool] = False
    is_two_sided: ClassVar[bool] = True

    gradient: Filters
    offset: Losses

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        return self.offset + (self.gradient * filters).sum(-1)


@dataclass(frozen=True, slots=True)
class Quadratic(ClosedForm):
    """Minimise `offset - 2 slope . f + f . gram f`.

    Attributes:
        gram: the matrices G (m, p, p), symmetric and positive semi-definite, in float64.
        slope: the vectors b (m, p), in float64.
        offset: the losses (m,) of the zero filter.
        uniform: the filters (m, p) that solutions are near to where several are best; None for the constant filter.
    """

    is_two_sided: ClassVar[bool] = True

    gram: Float[Tensor, "m p p"]
    slope: Filters
    offset: Losses
    uniform: Filters | None = None

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        bent = (self.gram @ filters.unsqueeze(-1)).squeeze(-1)
        return self.offset + ((bent - 2 * self.slope) * filters).sum(-1)


@dataclass(frozen=True, slots=True)
class Cosine(ClosedForm):
    """Minimise `1 - v . y / ||y||` with `y = c + J f` and v of unit length.

    Attributes:
        gram: the matrices J^T J (m, p, p), in float64.
        slope: the vectors J^T v (m, p), in float64.
        cross: the vectors J^T c (m, p), in float64.
        along: the products v . c (m,), in float64.
        square: the products c . c (m,), in float64.
        uniform: the filters (m, p) that solutions are near to where several are best; None for the constant filter.
    """

    needs_proof: ClassVar[bool] = True  # a loss with several minima, and not every one of them is recognised

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
class Spanned(ClosedForm):
    """A problem in the coordinates x = basis^T f of a subspace; what is orthogonal to it changes no loss.

    Attributes:
        inner: the problem in q coordinates. The subspace also holds a direction that changes no loss, so that the norm
            can be filled up inside it and its minima are those of all filters.
        basis: the orthonormal columns (m, p, q) that span the subspace, in float64.
    """

    inner: ClosedForm
    basis: Float[Tensor, "m p q"]

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        return self.inner.value((self.basis.mT @ filters.to(self.basis).unsqueeze(-1)).squeeze(-1))

    def filters(self, coordinates: Float[Tensor, "m q"]) -> Filters:
        """Filters (m, p) of the subspace."""
        return (self.basis @ coordinates.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True, slots=True)
class TwoSided(ClosedForm):
    """A problem in the coordinates (max(f, 0), min(f, 0)).

    Attributes:
        unfolded: the problem in 2 p coordinates, of a kind with `is_two_sided`, in float64.
    """

    unfolded: ClosedForm

    def value(self, filters: Filters) -> Losses:
        """Losses (m,) of filters (m, p)."""
        return self.unfolded.value(torch.cat([filters.clamp(min=0), filters.clamp(max=0)], dim=-1))


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


@dataclass(frozen=True, slots=True)
class Sphere:
    """The feasible set of a constraint on which closed solutions are known.

    Attributes:
        radius: the L2 norm of every filter.
        nonnegative: whether weights below 0 are excluded.
    """

    radius: float = 1.0
    nonnegative: bool = False


@runtime_checkable
class Constraint(Protocol):
    """Where filters are sought: a map from free parameters (m, q) into the feasible set.

    A constraint whose feasible set is a sphere, or the part of it without negative weights, may also have a property
    `sphere`, which opens closed solutions to it; `sphere_of` reads it.
    """

    @property
    def name(self) -> str:
        """What messages call the constraint, such as `l2` or `gaussian, sigma 1`."""

    def on(self, grid: tuple[int, ...]) -> "Constraint":
        """The constraint on a grid; raises `ConstraintError` where it makes no sense there."""

    def filters(self, parameters: Float[Tensor, "m q"]) -> Filters:
        """Feasible filters (m, p), differentiable in the parameters."""

    def parameters(self, filters: Filters) -> Float[Tensor, "m q"]:
        """Parameters of feasible filters near to given ones (m, p), which need not be feasible."""

    def scale(self, parameters: Float[Tensor, "m q"]) -> Losses:
        """The factor (m,) by which the norm of a slope in the parameters is compared with a gradient in the filter."""


def sphere_of(constraint: Constraint) -> Sphere | None:
    """The sphere that a constraint is, or None where it is none or does not say."""
    return getattr(constraint, "sphere", None)
