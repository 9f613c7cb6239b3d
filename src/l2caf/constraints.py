"""The set a filter is sought in.

A constraint maps free parameters to filters, so that any first-order method can move in it, and knows the
sphere's radius, so that closed solutions can be scaled to it.
Source: Taha et al., ECCV 2020, Sec. 3.1 (unit L2 norm).
"""

from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

from l2caf.errors import ConstraintError

TINY: Final = 1e-30


@dataclass(frozen=True, slots=True)
class UnitL2:
    """`||f||_2 = radius`; the paper's radius is 1.

    Attributes:
        radius: positive; below sqrt(p), where the all-ones filter would be feasible and there is nothing to find.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ConstraintError(f"radius={self.radius} is not positive; expected a number above 0, 1 in the paper")

    @property
    def name(self) -> str:
        """Such as `l2` or `l2, radius 2`."""
        return "l2" if self.radius == 1 else f"l2, radius {self.radius:g}"

    def check(self, n_positions: int) -> None:
        """See that the radius leaves something to find.

        Args:
            n_positions: weights of a filter, p.

        Raises:
            ConstraintError: if the all-ones filter lies on or inside the sphere.
        """
        if self.radius**2 >= n_positions:
            raise ConstraintError(
                f"radius={self.radius:g} admits the all-ones filter on a grid of {n_positions} positions; "
                f"expected less than sqrt({n_positions}) = {n_positions**0.5:.3g}"
            )

    def filters(self, parameters: Float[Tensor, "m p"]) -> Float[Tensor, "m p"]:
        """Parameters scaled to the sphere, row by row."""
        return parameters * (self.radius / parameters.norm(dim=-1, keepdim=True).clamp_min(TINY))

    @classmethod
    def ensure(cls, value: "str | UnitL2") -> "UnitL2":
        """A constraint from its name or itself.

        Args:
            value: `"l2"` or a constraint.

        Returns:
            The constraint.

        Raises:
            ConstraintError: for any other name.
        """
        if isinstance(value, cls):
            return value
        if value == "l2":
            return cls()
        raise ConstraintError(f"unknown constraint {value!r}; expected 'l2' or UnitL2(radius=...)")
