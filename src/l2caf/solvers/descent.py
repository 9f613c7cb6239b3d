"""The paper's own solver: projected gradient descent from a random filter.

f starts uniform in [0, 1]; Adam minimises L(f / ||f||) with a learning rate that decays linearly from 0.5 to 0;
a problem stops when its loss has changed by less than epsilon over d iterations.

Source: Taha et al., ECCV 2020, Sec. 3.2, Technical Details (epsilon = 1e-5, d = 50); optimiser, rate and limit
from the authors' TensorFlow implementation. The best filter met is returned, not the last.
"""

from dataclasses import dataclass
from typing import Final

import torch

from l2caf.problem import Constraint, Smooth, Starts
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers.best_so_far import BestSoFar
from l2caf.solvers.solution import Certificate, Solution

BETA1: Final = 0.9
BETA2: Final = 0.999
ADAM_EPSILON: Final = 1e-8
STATIONARY_RTOL: Final = 1e-3  # residual below which a first-order method's filter counts as stationary


@dataclass(frozen=True, slots=True)
class Descent:
    """Options of the paper's descent.

    Attributes:
        max_iterations: the descent takes at most so many steps.
        learning_rate: the rate of the first step; it decays linearly to 0 at `max_iterations`.
        epsilon: a problem stops when its loss changed by less than this over `patience` steps.
        patience: the number of steps over which the loss is compared, d in the paper.
        seed: the seed of the random start, which is the same for every problem, so that a batch equals its parts.
        keep_trace: whether the result holds the filter after every step.
    """

    max_iterations: int = 1000
    learning_rate: float = 0.5
    epsilon: float = 1e-5
    patience: int = 50
    seed: int = 0
    keep_trace: bool = False

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        """Descend on every problem, each until its own stop."""
        return BestSoFar(_Adam(self), STATIONARY_RTOL).solve(problem, constraint, starts)


@dataclass(frozen=True, slots=True)
class _Adam:
    """The descent itself, which returns the last filters."""

    options: Descent

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        generator = torch.Generator().manual_seed(self.options.seed)
        start = torch.rand(problem.n_positions, generator=generator).to(next(iter(starts.values())))
        run = _Run(self.options, problem, constraint, constraint.parameters(start.repeat(problem.n_problems, 1)))
        for iteration in range(self.options.max_iterations):
            if not run.step(iteration):
                break
        return run.solution()


class _Run:
    """The state of one descent: Adam's moments, and the loss of each problem after every step."""

    def __init__(self, options: Descent, problem: Smooth, constraint: Constraint, start: Filters) -> None:
        self.options = options
        self.problem = problem
        self.constraint = constraint
        self.parameters = start
        self.moment1 = torch.zeros_like(start)
        self.moment2 = torch.zeros_like(start)
        self.active: Rows = torch.arange(len(start), device=start.device)
        self.filters = constraint.filters(start)  # the last ones whose loss is known
        self.loss = torch.full((len(start),), torch.inf, dtype=torch.float64, device=start.device)
        self.iterations = torch.zeros_like(self.active)
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
        self.filters[rows], self.loss[rows] = filters.detach(), loss.double()
        self.history.append(self.loss.clone())
        if self.options.keep_trace:  # a problem that has stopped keeps its last filter in every later frame
            self.trace.append(self.filters.clone())
        self.iterations[rows] += 1
        rate = self.options.learning_rate * (1 - iteration / self.options.max_iterations)
        self._adam(rows, slope, iteration + 1, rate)
        self.active = rows[~self._has_settled(rows)]
        return len(self.active) > 0

    def _adam(self, rows: Rows, slope: Filters, t: int, rate: float) -> None:
        self.moment1[rows] = BETA1 * self.moment1[rows] + (1 - BETA1) * slope
        self.moment2[rows] = BETA2 * self.moment2[rows] + (1 - BETA2) * slope.square()
        mean = self.moment1[rows] / (1 - BETA1**t)
        spread = (self.moment2[rows] / (1 - BETA2**t)).sqrt()
        self.parameters[rows] -= rate * mean / (spread + ADAM_EPSILON)

    def _has_settled(self, rows: Rows) -> Flags:
        """Which rows' losses have settled, or are no longer finite."""
        settled: Flags = ~torch.isfinite(self.loss[rows])
        if len(self.history) > self.options.patience:
            change = (self.loss - self.history[-1 - self.options.patience])[rows].abs()
            settled = settled | (change < self.options.epsilon)
        return settled

    def solution(self) -> Solution:
        """The last filter of each problem whose loss is known."""
        return Solution(
            filters=self.filters,
            loss=self.loss,
            certificates=(Certificate.STOPPED,) * len(self.loss),
            residual=torch.ones_like(self.loss),
            iterations=self.iterations,
            solver="descent",
            trace=torch.stack(self.trace) if self.trace else None,
            trace_loss=torch.stack(self.history) if self.trace else None,
        )
