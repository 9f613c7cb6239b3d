"""The paper's own solver: projected gradient descent from a random filter.

f starts uniform in [0, 1]; Adam minimises L(f / ||f||) with a learning rate that decays linearly from 0.5 to 0;
a problem stops when its loss has changed by less than epsilon over d iterations.

Source: Taha et al., ECCV 2020, Sec. 3.2, Technical Details (epsilon = 1e-5, d = 50); optimiser, rate and limit
from the authors' TensorFlow implementation. The best filter met is returned, not the last.
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.problem import Constraint, Smooth
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers.solution import Certificate, Solution, riemannian_residual

BETA1: Final = 0.9
BETA2: Final = 0.999
ADAM_EPSILON: Final = 1e-8
STATIONARY_RTOL: Final = 1e-3  # residual below which a first-order method's filter counts as stationary


@dataclass(frozen=True, slots=True)
class Descent:
    """Options of the paper's descent.

    Attributes:
        max_iterations: at most so many steps.
        learning_rate: at the first step; decays linearly to 0 at `max_iterations`.
        epsilon: stop when the loss changed by less than this over `patience` steps.
        patience: d in the paper.
        seed: of the random start, the same for every problem, so that a batch equals its parts.
        keep_trace: return the filter after every step.
    """

    max_iterations: int = 1000
    learning_rate: float = 0.5
    epsilon: float = 1e-5
    patience: int = 50
    seed: int = 0
    keep_trace: bool = False

    def solve(self, problem: Smooth, constraint: Constraint, like: Tensor) -> Solution:
        """Descend on every problem, each until its own stop.

        Args:
            problem: m rows.
            constraint: where to seek.
            like: gives device and float dtype of the filters.

        Returns:
            The best filters met; `STATIONARY` where the Riemannian gradient is below 1e-3 of the gradient.
        """
        run = _Run(self, problem, constraint, constraint.parameters(self._start(problem, like)))
        for iteration in range(self.max_iterations):
            if not run.step(iteration):
                break
        return run.solution()

    def _start(self, problem: Smooth, like: Tensor) -> Filters:
        generator = torch.Generator().manual_seed(self.seed)
        start = torch.rand(problem.n_positions, generator=generator).to(like)
        return start.repeat(problem.n_problems, 1)


class _Run:
    """The state of one descent: Adam's moments, the loss history, and the best filter of each problem."""

    def __init__(self, options: Descent, problem: Smooth, constraint: Constraint, start: Filters) -> None:
        self.options = options
        self.problem = problem
        self.constraint = constraint
        self.parameters = start
        self.moment1 = torch.zeros_like(start)
        self.moment2 = torch.zeros_like(start)
        n = len(start)
        self.active: Rows = torch.arange(n, device=start.device)
        self.iterations = torch.zeros(n, dtype=torch.long, device=start.device)
        self.best_loss = torch.full((n,), torch.inf, dtype=torch.float64, device=start.device)
        self.best = constraint.filters(start)
        self.best_residual = torch.ones_like(self.best_loss)
        self.history: list[Losses] = []
        self.trace: list[Filters] = []

    def step(self, iteration: int) -> bool:
        """One Adam step on the active problems; False when none is left."""
        rows = self.active
        with torch.enable_grad():
            parameters = self.parameters[rows].requires_grad_()
            filters = self.constraint.filters(parameters)
            loss, gradient = self.problem.value_and_gradient(filters.detach(), rows)
            (slope,) = torch.autograd.grad(filters, parameters, gradient.to(filters.dtype))
        self._keep_best(rows, filters.detach(), loss, gradient)
        self.iterations[rows] += 1
        rate = self.options.learning_rate * (1 - iteration / self.options.max_iterations)
        self._adam(rows, slope, iteration + 1, rate)
        return self._stop(rows, loss)

    def _adam(self, rows: Rows, slope: Filters, t: int, rate: float) -> None:
        self.moment1[rows] = BETA1 * self.moment1[rows] + (1 - BETA1) * slope
        self.moment2[rows] = BETA2 * self.moment2[rows] + (1 - BETA2) * slope.square()
        mean = self.moment1[rows] / (1 - BETA1**t)
        spread = (self.moment2[rows] / (1 - BETA2**t)).sqrt()
        self.parameters[rows] -= rate * mean / (spread + ADAM_EPSILON)

    def _keep_best(self, rows: Rows, filters: Filters, loss: Losses, gradient: Filters) -> None:
        better = loss < self.best_loss[rows]
        chosen = rows[better]
        self.best_loss[chosen] = loss[better].double()
        self.best[chosen] = filters[better]
        self.best_residual[chosen] = riemannian_residual(filters[better], gradient[better])
        if self.options.keep_trace:
            frame = self.trace[-1].clone() if self.trace else self.best.clone()
            frame[rows] = filters
            self.trace.append(frame)

    def _stop(self, rows: Rows, loss: Losses) -> bool:
        """Drop problems whose loss has settled or is no longer finite."""
        everyone = self.history[-1].clone() if self.history else torch.zeros_like(self.best_loss)
        everyone[rows] = loss.double()
        self.history.append(everyone)
        settled: Flags = ~torch.isfinite(loss)
        if len(self.history) > self.options.patience:
            change = (everyone - self.history[-1 - self.options.patience])[rows].abs()
            settled = settled | (change < self.options.epsilon)
        self.active = rows[~settled]
        return len(self.active) > 0

    def solution(self) -> Solution:
        """The best of each problem."""
        stationary = (self.best_residual <= STATIONARY_RTOL).tolist()
        trace: Float[Tensor, "t m p"] | None = torch.stack(self.trace) if self.trace else None
        return Solution(
            filters=self.best,
            loss=self.best_loss,
            certificates=tuple(Certificate.STATIONARY if ok else Certificate.STOPPED for ok in stationary),
            residual=self.best_residual,
            unique=None,
            iterations=self.iterations,
            solver="descent",
            trace=trace,
            trace_loss=torch.stack(self.history) if self.trace else None,
        )
