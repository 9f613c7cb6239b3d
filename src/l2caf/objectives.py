"""What the filter is to achieve, as a function of the network's output under it.

Class-oblivious (Eq. 1):  L(f)  = ||NT - FT(f)||^2            keep everything the network said
Class-specific  (Eq. 2):  L_c(f) = -FT_c(f) + sum_{i != c} FT_i(f)     say class c, and nothing else

Similar, for embeddings:  L(f) = 1 - cos(FT(f), v)  or  -FT(f) . v     be like the partner v

Each objective states a `Goal` for every batch, from the outputs of the untouched network and the targets.
Source of the first two: Taha et al., ECCV 2020.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import TargetError
from l2caf.goals import CosineGoal, Goal, LinearGoal, SquaredGoal
from l2caf.shapes import Outputs, Targets

Others = Literal["sum", "mean"]
Measure = Literal["cosine", "dot"]


@runtime_checkable
class Objective(Protocol):
    """Eq. 1, Eq. 2, `Similar`, or a relative of theirs."""

    def goal(self, reference: Outputs, targets: Targets | None) -> Goal:
        """The goal for each of the b * k problems, inputs major, targets minor."""


@dataclass(frozen=True, slots=True)
class Oblivious:
    """Eq. 1: keep the output. One problem per input, no target.

    Attributes:
        top: the number of largest components of each output that are kept, at least 1. None keeps all, as the paper
            does. Of a thousand logits most belong to classes that nobody asks about.
    """

    top: int | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise TargetError(f"top={self.top} keeps nothing; expected a positive number, or None for all")

    def goal(self, reference: Outputs, targets: Targets | None) -> SquaredGoal:
        """Reach the network's own output.

        Args:
            reference: NT (b, n), the outputs of the untouched network.
            targets: None, since the objective takes no target.

        Returns:
            A goal of b problems.

        Raises:
            TargetError: if there are targets.
        """
        if targets is not None:
            raise TargetError("a class-oblivious map takes no target; got some (drop `target`, or use ClassSpecific)")
        if self.top is None or self.top >= reference.shape[1]:
            return SquaredGoal(reference)
        largest = reference.topk(self.top, dim=1).indices
        return SquaredGoal(reference, torch.zeros_like(reference).scatter_(1, largest, 1.0))


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
            reference: NT (b, n), the outputs of the untouched network.
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


@dataclass(frozen=True, slots=True, eq=False)
class Similar:
    """Be like a partner: which part of a picture makes its embedding similar to another one. Beyond the paper.

    Attributes:
        partners: the embeddings v (b, k, n), k for each input. None takes the network's own output, which gives the
            class-oblivious map of the normalised embedding, since ||v - u||^2 = 2 - 2 v.u on the unit sphere.
        measure: `"cosine"`, or `"dot"` for the product of the embeddings as they are.
    """

    partners: Float[Tensor, "b k n"] | None = None
    measure: Measure = "cosine"

    def __post_init__(self) -> None:
        if self.measure not in ("cosine", "dot"):
            raise TargetError(f"measure={self.measure!r} is unknown; expected 'cosine' or 'dot'")

    def goal(self, reference: Outputs, targets: Targets | None) -> LinearGoal | CosineGoal:
        """Speak for the partners.

        Args:
            reference: NT (b, n), the outputs of the untouched network.
            targets: None, since the objective takes no target.

        Returns:
            A goal of b * k problems.

        Raises:
            TargetError: if there are targets, or the partners do not fit the outputs, are not finite or zero.
        """
        if targets is not None:
            raise TargetError("a map of similarity takes no target; got some (drop `target`)")
        partners = reference.unsqueeze(1) if self.partners is None else self.partners.to(reference.device)
        if (len(partners), partners.shape[2]) != tuple(reference.shape):
            raise TargetError(
                f"partners of shape {tuple(partners.shape)} do not fit embeddings of shape {tuple(reference.shape)}; "
                "expected (b, k, n)"
            )
        norms = partners.double().norm(dim=2)
        if not bool((norms.isfinite() & (norms > 0)).all()):
            raise TargetError("a partner's embedding is zero, NaN or infinite; nothing is similar to it")
        partners = partners.flatten(0, 1)
        return CosineGoal(partners) if self.measure == "cosine" else LinearGoal(-partners)
