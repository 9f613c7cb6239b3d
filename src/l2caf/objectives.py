"""What the filter is to achieve, as a function of the network's output under it.

Class-oblivious (Eq. 1):  L(f)  = ||NT - FT(f)||^2            keep everything the network said
Class-specific  (Eq. 2):  L_c(f) = -FT_c(f) + sum_{i != c} FT_i(f)     say class c, and nothing else

Similar, for embeddings:  L(f) = 1 - cos(FT(f), v)  or  -FT(f) . v     be like the partner v

Each objective states a `Goal` for every batch, from the outputs of the untouched network and the targets.
Source of the first two: Taha et al., ECCV 2020.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.errors import TargetError
from l2caf.goals import UNDECIDED_RTOL, Goal, LinearGoal, for_each
from l2caf.problem import ClosedForm, Cosine, Quadratic, Response
from l2caf.shapes import Flags, Losses, Outputs, Rows, Targets

Others = Literal["sum", "mean"]
Measure = Literal["cosine", "dot"]


@runtime_checkable
class Objective(Protocol):
    """Eq. 1, Eq. 2, `Similar`, or a relative of theirs."""

    def goal(self, reference: Outputs, targets: Targets | None) -> Goal:
        """The goal for each of the b * k problems, inputs major, targets minor."""


@dataclass(frozen=True, slots=True)
class SquaredGoal(Goal):
    """Be near a reference output.

    Attributes:
        reference: the outputs v (m, n) to be near to, one row for each problem.
        kept: the weights (m, n), 1 where a component is to be kept and 0 where it does not matter; None keeps all.
    """

    closed: ClassVar[type[ClosedForm]] = Quadratic

    reference: Float[Tensor, "m n"]
    kept: Float[Tensor, "m n"] | None = None

    def loss(self, outputs: Float[Tensor, "r n"], problems: Rows) -> Float[Tensor, " r"]:
        """Squared distances of outputs to the references of their problems, in float64."""
        apart = outputs.double() - self.reference[problems].double()
        return (apart if self.kept is None else apart * self.kept[problems].double()).square().sum(-1)

    def per_input(self, n_inputs: int) -> int:
        """How many references each of `n_inputs` inputs has."""
        return len(self.reference) // n_inputs

    def rounding(
        self, outputs: Float[Tensor, "r n"], problems: Rows, error: Float[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """How much the loss may change when an output changes by `error` (r,) in L2 norm."""
        return 2 * self.loss(outputs, problems).sqrt() * error + error.square()

    def least(self, error: Callable[[], Losses]) -> Losses:
        """The loss (m,) that is 0 but for the rounding of the outputs, which `error` computes."""
        return error().square()

    def undecided(self, loss: Losses, uniform_loss: Losses) -> Flags:
        """Where the uniform filter keeps what was to be kept to 1 %, (m,)."""
        del loss
        kept = self.reference.double() if self.kept is None else self.reference.double() * self.kept.double()
        return uniform_loss <= UNDECIDED_RTOL * kept.square().sum(-1)

    def problem(self, response: Response) -> Quadratic:
        """G = J^T J and b = J^T (NT - c), both without the components that are not kept."""
        k = self.per_input(len(response.offset()))
        columns = for_each(response.jacobian(), k).mT.double()  # positions first, as the tail gives them
        wanted = self.reference.double() - for_each(response.offset(), k).double()
        if self.kept is not None:
            columns, wanted = columns * self.kept.double().unsqueeze(1), wanted * self.kept.double()
        slope = (columns @ wanted.unsqueeze(-1)).squeeze(-1)
        return Quadratic(columns @ columns.mT, slope, wanted.square().sum(-1), for_each(response.ones(), k))


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


@dataclass(frozen=True, slots=True)
class CosineGoal(Goal):
    """Point where a reference points.

    Attributes:
        reference: the directions v (m, n), one row for each problem, none of them zero.
    """

    closed: ClassVar[type[ClosedForm]] = Cosine

    reference: Float[Tensor, "m n"]

    def loss(self, outputs: Float[Tensor, "r n"], problems: Rows) -> Float[Tensor, " r"]:
        """One less the cosine, in [0, 2], in float64; 1 for an output of zero."""
        outputs, wanted = outputs.double(), self.reference[problems].double()
        norms = outputs.norm(dim=-1) * wanted.norm(dim=-1)
        return 1 - (outputs * wanted).sum(-1) / norms.clamp_min(1e-300)

    def per_input(self, n_inputs: int) -> int:
        """How many references each of `n_inputs` inputs has."""
        return len(self.reference) // n_inputs

    def rounding(
        self, outputs: Float[Tensor, "r n"], problems: Rows, error: Float[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """How much the loss may change when an output changes by `error` (r,) in L2 norm."""
        del problems
        return 2 * error / outputs.double().norm(dim=-1).clamp_min(1e-300)

    def direction(self) -> Float[Tensor, "m n"]:
        """The references turned over, since the product with them is to grow."""
        return -self.reference

    def problem(self, response: Response) -> Cosine:
        """G = J^T J, and what c and the reference of unit length have to do with J and with each other."""
        columns, at_zero = response.jacobian().mT.double(), response.offset().double()
        k = self.per_input(len(at_zero))
        wanted = self.reference.double()
        wanted = (wanted / wanted.norm(dim=-1, keepdim=True)).unflatten(0, (-1, k))
        return Cosine(
            gram=for_each(columns @ columns.mT, k),
            slope=(wanted @ columns.mT).flatten(0, 1),
            cross=for_each((columns @ at_zero.unsqueeze(-1)).squeeze(-1), k),
            along=(wanted @ at_zero.unsqueeze(-1)).flatten(),
            square=for_each(at_zero.square().sum(-1), k),
            uniform=for_each(response.ones(), k),
        )


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
