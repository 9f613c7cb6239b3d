"""L-BFGS for losses that can only be evaluated: every row of a problem from one start, all in one batch.

Every row has its own curvature history, its own line search and its own stop; one pass through the tail gives every row
that is still searching its next trial. The line search seeks the weak Wolfe conditions by bracketing, which needs no
smoothness: a tail of ReLUs has kinks where strong Wolfe points need not exist.

The parameters are free and the constraint maps them to filters, so the same code serves every constraint. A start at
which the gradient vanishes is abandoned: there a saturated tail sees nothing, which is seldom an optimum and
never called one.

References: Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4; Lewis and Overton, Nonsmooth optimization
via quasi-Newton methods, Math. Program. 141, 2013, algorithm 2.6.
"""

from dataclasses import dataclass
from typing import Final

import torch

from l2caf.problem import Constraint, Smooth, Starts
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers.solution import Certificate, Solution, certified

ARMIJO: Final = 1e-4
CURVATURE: Final = 0.9
FIRST_STEP: Final = 1.0  # of the parameters' norm: as far as a filter of this norm can move
SEARCH_LIMIT: Final = 12  # trials on one line
NOISE: Final = 4  # units in the last place of float32 by which a loss may rise unnoticed
DEAD_RTOL: Final = 1e-7  # share of the output's size below which a gradient counts as none
STATIONARY_RTOL: Final = 1e-2  # residual below which a solution is called stationary, next to rounding in float32


@dataclass(frozen=True, slots=True)
class LBFGS:
    """Options of the search from one start.

    Attributes:
        max_iterations: the search takes at most so many steps on each row.
        memory: the number of pairs of curvature history that each row keeps.
        residual_rtol: a row stops where the constrained gradient is this small beside the free one.
        progress_rtol: a row stops where its last `patience` steps gained less than this share of all that was gained.
        patience: the number of steps over which progress is measured.
        keep_trace: whether the solution holds the filters after every step.
    """

    max_iterations: int = 300
    memory: int = 10
    residual_rtol: float = 1e-4
    progress_rtol: float = 1e-3
    patience: int = 5
    keep_trace: bool = False

    def begin(self, problem: Smooth, constraint: Constraint, starts: Starts) -> "LBFGSSearch":
        """A search that has evaluated its start, and can be run on in parts.

        Args:
            problem: m rows.
            constraint: the feasible set.
            starts: the first of them is where the search starts.

        Returns:
            The search.
        """
        return LBFGSSearch(self, problem, constraint, constraint.parameters(next(iter(starts.values()))))

    def solve(self, problem: Smooth, constraint: Constraint, starts: Starts) -> Solution:
        """Search from the first start."""
        search = self.begin(problem, constraint, starts)
        search.run(self.max_iterations)
        return search.solution()


class LBFGSSearch:
    """The state of all rows; tensors are indexed by row, and `active` names the rows still searching.

    Attributes:
        loss: the losses (m,) of the current filters, in float64.
        live: whether (m,) the gradient did not vanish at the start; a row where it did is abandoned.
    """

    def __init__(self, options: LBFGS, problem: Smooth, constraint: Constraint, begin: Filters) -> None:
        self.options = options
        self.problem = problem
        self.constraint = constraint
        n, device = len(begin), begin.device
        self.x = begin.clone()
        self.loss, self.slope, self.residual, size = self._evaluate(self.x, torch.arange(n, device=device))
        self.first_loss = self.loss.clone()
        dead = ~torch.isfinite(self.loss) | (size <= DEAD_RTOL * self.loss.abs().clamp_min(1e-300))
        self.live: Flags = ~dead
        self.s = self.x.new_zeros(n, options.memory, self.x.shape[1])
        self.y = torch.zeros_like(self.s)
        self.rho = self.x.new_zeros(n, options.memory)
        self.iterations = torch.zeros(n, dtype=torch.long, device=device)
        self.history = self.loss.new_full((n, options.patience), torch.inf)
        self.over = dead | (self.residual <= options.residual_rtol)  # rows that have come to their end
        self.limit, self.active = 0, torch.zeros(0, dtype=torch.long, device=device)
        self.direction = torch.zeros_like(self.x)
        self.step, self.low = torch.ones_like(self.loss), torch.zeros_like(self.loss)
        self.high = torch.full_like(self.loss, torch.inf)
        self.trials = torch.zeros_like(self.iterations)
        self.trace = [(self.x.clone(), self.loss.clone())] if options.keep_trace else []

    def run(self, limit: int) -> None:
        """Go on until every row is over or has taken `limit` steps since the start."""
        self.limit = min(limit, self.options.max_iterations)
        self.active = (~self.over & (self.iterations < self.limit)).nonzero().flatten()
        self._aim(self.active)
        while len(self.active):
            self._tick()

    def drop(self, rows: Flags) -> None:
        """End some of the rows (m,) where they are; `run` goes on with the others."""
        self.over |= rows

    def solution(self) -> Solution:
        """The filters that every row has reached so far."""
        return Solution(
            filters=self.constraint.filters(self.x),
            loss=self.loss,
            certificates=certified((self.residual <= STATIONARY_RTOL) & self.live, Certificate.STATIONARY),
            residual=torch.where(self.live, self.residual, 1.0),
            iterations=self.iterations,
            solver="quasi-newton",
            live=self.live,
            trace=torch.stack([self.constraint.filters(x) for x, _ in self.trace]) if self.trace else None,
            trace_loss=torch.stack([loss for _, loss in self.trace]) if self.trace else None,
        )

    def _evaluate(self, x: Filters, rows: Rows) -> tuple[Losses, Filters, Losses, Losses]:
        """Losses, slopes in the parameters, residuals, and the size of the free gradient."""
        # The tail is differentiated for the filters, and the constraint for its parameters, so that the problem may
        # split its rows into parts that fit into memory.
        with torch.enable_grad():
            parameters = x.detach().requires_grad_()
            filters = self.constraint.filters(parameters)
            loss, gradient = self.problem.value_and_gradient(filters.detach(), rows)
            (slope,) = torch.autograd.grad(filters, parameters, gradient.to(filters.dtype))
        size = gradient.double().norm(dim=-1)
        reach = slope.double().norm(dim=-1) * self.constraint.scale(x.detach()).double()
        return loss.double(), slope, reach / size.clamp_min(1e-300), size

    def _tick(self) -> None:
        """Evaluate one trial on the line of every active row."""
        rows = self.active
        trial = self.x[rows] + self.step[rows, None].to(self.x) * self.direction[rows]
        loss, slope, residual, _ = self._evaluate(trial, rows)
        downhill = (self.slope[rows] * self.direction[rows]).double().sum(-1)
        uphill = (slope * self.direction[rows]).double().sum(-1)
        # Near a minimum the loss changes by less than float32 resolves: without this margin no trial would be accepted.
        noise = NOISE * torch.finfo(torch.float32).eps * self.loss[rows].abs()
        too_far = ~(loss <= self.loss[rows] + ARMIJO * self.step[rows] * downhill + noise)
        too_near = ~too_far & (uphill < CURVATURE * downhill)
        self.trials[rows] += 1
        # A line that is used up still yields its last point if that is lower; if it is not, the row is over.
        exhausted = self.trials[rows] >= SEARCH_LIMIT
        accepted = ~too_far & (~too_near | exhausted)
        self._accept(rows[accepted], trial[accepted], loss[accepted], slope[accepted], residual[accepted])
        self._narrow(rows, loss, downhill, too_far, too_near)
        self.over[rows] = (exhausted & too_far) | (accepted & self._has_converged(rows))
        goes_on = ~self.over[rows] & (self.iterations[rows] < self.limit)
        self._aim(rows[accepted & goes_on])
        if self.trace:
            self.trace.append((self.x.clone(), self.loss.clone()))
        self.active = rows[goes_on]

    def _accept(self, rows: Rows, x: Filters, loss: Losses, slope: Filters, residual: Losses) -> None:
        """Move rows to x, where the other values were measured, and remember the curvature on the way."""
        moved, bent = x - self.x[rows], slope - self.slope[rows]
        curvature = (moved * bent).sum(-1)
        # A pair of no or negative curvature would make the inverse Hessian indefinite: it is stored with weight 0.
        useful = curvature > 1e-10 * moved.norm(dim=-1) * bent.norm(dim=-1)
        for store, new in ((self.s, moved), (self.y, bent)):
            store[rows] = torch.cat([store[rows, 1:], new.unsqueeze(1)], dim=1)
        rho = torch.where(useful, 1 / curvature.clamp_min(1e-30), 0.0)
        self.rho[rows] = torch.cat([self.rho[rows, 1:], rho.unsqueeze(1)], dim=1)
        self.history[rows] = torch.cat([self.history[rows, 1:], self.loss[rows, None]], dim=1)
        self.x[rows], self.loss[rows], self.slope[rows], self.residual[rows] = x, loss, slope, residual
        self.iterations[rows] += 1

    def _narrow(self, rows: Rows, loss: Losses, downhill: Losses, too_far: Flags, too_near: Flags) -> None:
        """Bracket the step: bisect, or jump to the minimum of the parabola through the first trial."""
        step = self.step[rows]
        low, high = torch.where(too_near, step, self.low[rows]), torch.where(too_far, step, self.high[rows])
        # The parabola has the loss and slope at 0 and the loss of this trial; it is kept away from both ends, where it
        # is least to be trusted. Once the bracket has a lower end, only bisection keeps the promise to close it.
        parabola = -downhill * step.square() / (2 * (loss - self.loss[rows] - downhill * step)).clamp_min(1e-300)
        middle = (low + high) / 2
        fits = (low == 0) & torch.isfinite(parabola) & torch.isfinite(loss)
        inside = torch.where(fits, parabola.clamp(0.1 * high, 0.6 * high), middle)
        self.low[rows], self.high[rows] = low, high
        self.step[rows] = torch.where(torch.isfinite(high), inside, 4 * step)

    def _has_converged(self, rows: Rows) -> Flags:
        """Which rows gain too little to go on, or are at a stationary point."""
        options = self.options
        gained = (self.first_loss - self.loss)[rows]
        lately = self.history[rows, 0] - self.loss[rows]
        settled = lately <= options.progress_rtol * gained + 1e-12 * self.loss[rows].abs()
        return settled | (self.residual[rows] <= options.residual_rtol)

    def _aim(self, rows: Rows) -> None:
        """Choose a new line for rows that have moved, by the two-loop recursion."""
        slope, s, y, rho = self.slope[rows], self.s[rows], self.y[rows], self.rho[rows]
        q, alphas = slope.clone(), []
        for i in reversed(range(self.options.memory)):
            alphas.append(rho[:, i] * (s[:, i] * q).sum(-1))
            q -= alphas[-1].unsqueeze(-1) * y[:, i]
        # Without a history the first step has the length of the parameters, since the slope's own scale says nothing.
        has_history = (rho[:, -1] > 0).unsqueeze(-1)
        scale = 1 / (rho[:, -1] * y[:, -1].square().sum(-1)).clamp_min(1e-30)
        first = FIRST_STEP * self.x[rows].norm(dim=-1).clamp_min(1) / slope.norm(dim=-1).clamp_min(1e-30)
        q *= torch.where(has_history, scale.unsqueeze(-1), first.unsqueeze(-1))
        for i, alpha in zip(range(self.options.memory), reversed(alphas), strict=True):
            q += (alpha - rho[:, i] * (y[:, i] * q).sum(-1)).unsqueeze(-1) * s[:, i]
        # Rounding can turn the direction uphill: then steepest descent takes its place.
        falls = (q * slope).sum(-1, keepdim=True) > 0
        self.direction[rows] = -torch.where(falls, q, first.unsqueeze(-1) * slope)
        self.step[rows], self.low[rows], self.high[rows], self.trials[rows] = 1.0, 0.0, torch.inf, 0
