"""What the filter is to achieve, as a function of the network's output under it.

Class-oblivious (Eq. 1):  L(f)  = ||NT - FT(f)||^2            keep everything the network said
Class-specific  (Eq. 2):  L_c(f) = -FT_c(f) + sum_{i != c} FT_i(f)     say class c, and nothing else

Both are stated once per batch as a `Goal`: the loss of an output, and the little that closed solutions need.
Source: Taha et al., ECCV 2020.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import TargetError
from l2caf.shapes import Outputs, Rows, Targets

Others = Literal["sum", "mean"]


@dataclass(frozen=True, slots=True)
class SquaredGoal:
    """Be near a reference output.

    Attributes:
        reference: NT, one row per problem (m, n).
    """

    reference: Float[Tensor, "m n"]

    def loss(self, outputs: Float[Tensor, "r n"], problems: Rows) -> Float[Tensor, " r"]:
        """Squared distance of outputs to the reference of their problems, in float64."""
        return (outputs.double() - self.reference[problems].double()).square().sum(-1)

    def rounding(
        self, outputs: Float[Tensor, "r n"], problems: Rows, error: Float[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """How much the loss may change when the output changes by `error` (r,) in L2 norm."""
        return 2 * self.loss(outputs, problems).sqrt() * error + error.square()


@dataclass(frozen=True, slots=True)
class LinearGoal:
    """Make a weighted sum of the output small.

    Attributes:
        weights: s, one row per problem (m, n).
    """

    weights: Float[Tensor, "m n"]

    def loss(self, outputs: Float[Tensor, "r n"], problems: Rows) -> Float[Tensor, " r"]:
        """Weighted sums of outputs, in float64."""
        return (outputs.double() * self.weights[problems].double()).sum(-1)

    def rounding(
        self, outputs: Float[Tensor, "r n"], problems: Rows, error: Float[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """How much the loss may change when the output changes by `error` (r,) in L2 norm."""
        del outputs
        return self.weights[problems].double().norm(dim=-1) * error


Goal = SquaredGoal | LinearGoal


@runtime_checkable
class Objective(Protocol):
    """Eq. 1, Eq. 2, or a relative of theirs."""

    def goal(self, reference: Outputs, targets: Targets | None) -> Goal:
        """The goal for each of the b * k problems, inputs major, targets minor."""


@dataclass(frozen=True, slots=True)
class Oblivious:
    """Eq. 1: keep the whole output. One problem per input, no target."""

    def goal(self, reference: Outputs, targets: Targets | None) -> SquaredGoal:
        """Reach the network's own output.

        Args:
            reference: NT (b, n).
            targets: must be None.

        Returns:
            A goal of b problems.

        Raises:
            TargetError: if there are targets.
        """
        if targets is not None:
            raise TargetError("a class-oblivious map takes no target; got some (drop `target`, or use ClassSpecific)")
        return SquaredGoal(reference)


@dataclass(frozen=True, slots=True)
class ClassSpecific:
    """Eq. 2: one class up, the others down.

    Attributes:
        others: `"sum"` adds the other classes up, as printed in the paper; `"mean"` divides that sum by their
            number, so that a thousand small logits do not drown the one asked for.
    """

    others: Others = "sum"

    def __post_init__(self) -> None:
        if self.others not in ("sum", "mean"):
            raise TargetError(f"others={self.others!r} is unknown; expected 'sum' (Eq. 2 as printed) or 'mean'")

    def goal(self, reference: Outputs, targets: Targets | None) -> LinearGoal:
        """Speak for the targets.

        Args:
            reference: NT (b, n).
            targets: classes (b, k), each in [0, n).

        Returns:
            A goal of b * k problems.

        Raises:
            TargetError: if there are no targets, or the output has fewer than two components.
        """
        if targets is None:
            raise TargetError("a class-specific map needs a target; got None")
        n = reference.shape[1]
        if n < 2:
            raise TargetError(f"a class-specific map needs at least two classes; the network's output has {n}")
        share = 1.0 / (n - 1) if self.others == "mean" else 1.0
        classes = targets.reshape(-1, 1)
        weights = torch.full((len(classes), n), share, device=reference.device, dtype=torch.float32)
        return LinearGoal(weights.scatter_(1, classes, -1.0))
