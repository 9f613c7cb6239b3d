"""What is wanted of the network's output y, and the problem that it becomes under an affine response y = c + J f.

`LinearGoal`, s . y, becomes a `Linear` problem and is shared by several objectives. A goal that one objective alone
states stands beside that objective.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.problem import ClosedForm, Linear, Response
from l2caf.shapes import Flags, Losses, Rows

UNDECIDED_RTOL: Final = 1e-4  # of a squared loss: 1 % of the output


@runtime_checkable
class Goal(Protocol):
    """What is wanted of the output, for m problems: k for each of b inputs, inputs major and targets minor.

    A goal of your own inherits from this class and needs `loss` alone. It is then minimised by a search; one that also
    names its closed form in `closed` and states it in `problem` is solved exactly where the tail is affine.

    Attributes:
        closed: the kind of problem that `problem` returns; None where there is no closed form.
    """

    closed: ClassVar[type[ClosedForm] | None] = None

    @abstractmethod
    def loss(self, outputs: Float[Tensor, "r n"], problems: Rows) -> Float[Tensor, " r"]:
        """Losses of outputs, for the problems numbered `problems` (r,), in float64; differentiable in the outputs."""

    def per_input(self, n_inputs: int) -> int:
        """How many problems k each of `n_inputs` inputs has; one unless the goal says otherwise."""
        del n_inputs
        return 1

    def rounding(
        self, outputs: Float[Tensor, "r n"], problems: Rows, error: Float[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """How much the loss may change when an output changes by `error` (r,) in L2 norm; by default to first order."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.loss(outputs, problems).sum(), outputs)
        return slope.double().norm(dim=-1) * error

    def least(self, error: Callable[[], Losses]) -> Losses | None:
        """The loss (m,) that no filter undercuts but for rounding, which is certified; None where no bound is known.

        Args:
            error: computes the rounding (m,) of the outputs, in L2 norm, and may cost a pass of the tail for it.

        Returns:
            Losses (m,), or None.
        """
        del error
        return None

    def undecided(self, loss: Losses, uniform_loss: Losses) -> Flags:
        """Where the uniform filter does as well as the best one, (m,); by default where that gains under 1e-4 of it."""
        return uniform_loss - loss <= UNDECIDED_RTOL * uniform_loss.abs()

    def direction(self) -> Float[Tensor, "m n"] | None:
        """Weights s of the output for which the filter -J^T s is worth starting from; None where there are none."""
        return None

    def problem(self, response: Response) -> ClosedForm:
        """The problem of kind `closed` that the goal becomes under an affine response."""
        raise NotImplementedError(f"{type(self).__name__}.closed is {self.closed}, but it states no problem")


def for_each(tensor: Tensor, k: int) -> Tensor:
    """What holds for an input, for each of its k problems."""
    return tensor if k == 1 else tensor.repeat_interleave(k, dim=0)  # a Jacobian may fill the memory: no idle copy


@dataclass(frozen=True, slots=True)
class LinearGoal(Goal):
    """Make a weighted sum of the output small.

    Attributes:
        weights: the weights s (m, n) of the sum, one row for each problem.
    """

    closed: ClassVar[type[ClosedForm]] = Linear

    weights: Float[Tensor, "m n"]

    def loss(self, outputs: Float[Tensor, "r n"], problems: Rows) -> Float[Tensor, " r"]:
        """Weighted sums of outputs, in float64."""
        return (outputs.double() * self.weights[problems].double()).sum(-1)

    def per_input(self, n_inputs: int) -> int:
        """How many weightings each of `n_inputs` inputs has."""
        return len(self.weights) // n_inputs

    def rounding(
        self, outputs: Float[Tensor, "r n"], problems: Rows, error: Float[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """How much the loss may change when an output changes by `error` (r,) in L2 norm."""
        del outputs
        return self.weights[problems].double().norm(dim=-1) * error

    def direction(self) -> Float[Tensor, "m n"]:
        """The weights: -J^T s is the filter of Grad-CAM, where the untouched network would go."""
        return self.weights

    def problem(self, response: Response) -> Linear:
        """The tangent of the loss at the filter of ones, g = J^T s."""
        b, k = len(response.reference()), self.per_input(len(response.reference()))
        gradient = response.pullback(self.weights.unflatten(0, (b, k))).flatten(0, 1)
        problems = torch.arange(b * k, device=gradient.device)
        at_ones = self.loss(for_each(response.reference(), k), problems)
        return Linear(gradient, at_ones - (gradient * for_each(response.ones(), k)).sum(-1))
