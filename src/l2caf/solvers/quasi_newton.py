"""L-BFGS for tails that are not affine: all problems and all their starts in one batch.

Every row (one start of one problem) has its own curvature history, its own line search and its own stop; one pass
through the tail gives every row that is still searching its next trial. The line search seeks the weak Wolfe conditions
by bracketing, which needs no smoothness: a tail of ReLUs has kinks where strong Wolfe points need not exist.

The starts race: after two and after four steps each problem goes on from the better half of its starts, after eight
from the best alone, which then mostly stays the best. Fewer starts or a shorter race end in worse minima; more starts
and a longer race cost more and find better ones seldom (`benchmarks/inner.py`).

The parameters are free and the constraint maps them to filters, so the same code serves every constraint. A start at
which the gradient vanishes is abandoned: there a saturated tail sees nothing, which is seldom an optimum and
never called one.

References: Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4; Lewis and Overton, Nonsmooth optimization
via quasi-Newton methods, Math. Program. 141, 2013, algorithm 2.6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from l2caf.problem import Constraint, Smooth
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers.solution import Certificate, Solution

ARMIJO: Final = 1e-4
CURVATURE: Final = 0.9
FIRST_STEP: Final = 1.0  # of the parameters' norm: as far as a filter of this norm can move
SEARCH_LIMIT: Final = 12  # trials on one line
NOISE: Final = 4  # units in the last place of float32 by which a loss may rise unnoticed
DEAD_RTOL: Final = 1e-7  # share of the output's size below which a gradient counts as none
STATIONARY_RTOL: Final = 1e-2  # residual below which a solution is called stationary, next to rounding in float32


@dataclass(frozen=True, slots=True)
class QuasiNewton:
    """Options of the quasi-Newton search.

    Attributes:
        max_iterations: accepted steps per start.
        memory: pairs of curvature history.
        residual_rtol: stop where the constrained gradient is this small beside the free one.
        progress_rtol: stop where the last `patience` steps gained less than this share of all that was gained.
        patience: steps.
        seeds: random starts beside the deterministic ones, by turns of positive weights and of both signs.
        race: steps after each of which a problem goes on from the better half of its starts, and after the last from
            the best alone; empty for all starts to the end.
        keep_trace: return the filter of each problem's winning start after every step.
    """

    max_iterations: int = 300
    memory: int = 10
    residual_rtol: float = 1e-4
    progress_rtol: float = 1e-3
    patience: int = 5
    seeds: int = 2
    race: tuple[int, ...] = (2, 4, 8)
    keep_trace: bool = False

    def solve(self, problem: Smooth, constraint: Constraint, starts: Mapping[str, Float[Tensor, "m p"]]) -> Solution:
        """Search from every start and keep each problem's best.

        Args:
            problem: m rows.
            constraint: where to seek.
            starts: name and filters (m, p) to start from, feasible or not.

        Returns:
            The best filter met for each problem, certified `STATIONARY` where the residual is below 1e-2; the start
            that led there and the spread of losses between starts.
        """
        begin = torch.cat([constraint.parameters(filters) for filters in self._with_seeds(starts).values()])
        search = _Search(self, problem, constraint, begin)
        for steps in self.race:
            search.run(min(steps, self.max_iterations))
            search.keep(1 if steps == self.race[-1] else -(-search.n_starts // 2))
        search.run(self.max_iterations)
        return search.solution(tuple(self._with_seeds(starts)))

    def _with_seeds(self, starts: Mapping[str, Filters]) -> dict[str, Filters]:
        first = next(iter(starts.values()))
        more = {}
        for seed in range(self.seeds):
            draw = (torch.rand, torch.randn)[seed % 2]
            start = draw(first.shape[1], generator=torch.Generator().manual_seed(seed // 2))
            more[f"seed {seed}"] = start.to(first).expand_as(first)
        return {**starts, **more}


class _Search:
    """The state of all rows; tensors are indexed by row, and `active` names the rows still searching."""

    def __init__(self, options: QuasiNewton, problem: Smooth, constraint: Constraint, begin: Filters) -> None:
        self.options = options
        self.problem = problem
        self.constraint = constraint
        n, self.device = len(begin), begin.device
        self.x = begin.clone()
        self.loss, self.slope, self.residual, size = self._evaluate(self.x, torch.arange(n, device=self.device))
        self.first_loss = self.loss.clone()
        self.dead: Flags = ~torch.isfinite(self.loss) | (size <= DEAD_RTOL * self.loss.abs().clamp_min(1e-300))
        self.pairs = options.memory
        self.s = self.x.new_zeros(n, self.pairs, self.x.shape[1])
        self.y = torch.zeros_like(self.s)
        self.rho = self.x.new_zeros(n, self.pairs)
        self.iterations = torch.zeros(n, dtype=torch.long, device=self.device)
        self.history = self.loss.new_full((n, options.patience), torch.inf)
        self.over = self.dead | (self.residual <= options.residual_rtol)  # rows that have come to their end
        self.limit, self.active = 0, torch.zeros(0, dtype=torch.long, device=self.device)
        self.direction = torch.zeros_like(self.x)
        self.step, self.low = torch.ones_like(self.loss), torch.zeros_like(self.loss)
        self.high = torch.full_like(self.loss, torch.inf)
        self.trials = torch.zeros_like(self.iterations)
        self.trace = [(self.x.clone(), self.loss.clone())] if options.keep_trace else []

    def _evaluate(self, x: Filters, rows: Rows) -> tuple[Losses, Filters, Losses, Losses]:
        """Losses, slopes in the parameters, residuals, and the size of the free gradient."""
        with torch.enable_grad():
            parameters = x.detach().requires_grad_()
            filters = self.constraint.filters(parameters)
            loss, gradient = self.problem.value_and_gradient(filters.detach(), rows % self.problem.n_problems)
            (slope,) = torch.autograd.grad(filters, parameters, gradient.to(filters.dtype))
        size = gradient.double().norm(dim=-1)
        reach = slope.double().norm(dim=-1) * self.constraint.scale(x.detach()).double()
        return loss.double(), slope, reach / size.clamp_min(1e-300), size

    def run(self, limit: int) -> None:
        """Go on until every row is over or has taken `limit` steps."""
        self.limit = limit
        self.active = (~self.over & (self.iterations < limit)).nonzero().flatten()
        self._aim(self.active)
        while len(self.active):
            self._tick()

    @property
    def n_starts(self) -> int:
        """Of every problem."""
        return len(self.x) // self.problem.n_problems

    def keep(self, count: int) -> None:
        """End every row that is not among the best `count` of its problem's that are alive."""
        loss = torch.where(self.dead | ~torch.isfinite(self.loss), torch.inf, self.loss)
        rank = loss.view(self.n_starts, -1).argsort(dim=0, stable=True).argsort(dim=0)
        self.over |= (rank >= count).flatten()

    def _tick(self) -> None:
        """One trial on every active row's line."""
        rows = self.active
        trial = self.x[rows] + self.step[rows, None].to(self.x) * self.direction[rows]
        loss, slope, residual, _ = self._evaluate(trial, rows)
        downhill = (self.slope[rows] * self.direction[rows]).double().sum(-1)
        uphill = (slope * self.direction[rows]).double().sum(-1)
        noise = NOISE * torch.finfo(torch.float32).eps * self.loss[rows].abs()
        too_far = ~(loss <= self.loss[rows] + ARMIJO * self.step[rows] * downhill + noise)
        too_near = ~too_far & (uphill < CURVATURE * downhill)
        self.trials[rows] += 1
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
        """Move there and remember the curvature on the way."""
        moved, bent = x - self.x[rows], slope - self.slope[rows]
        curvature = (moved * bent).sum(-1)
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
        parabola = -downhill * step.square() / (2 * (loss - self.loss[rows] - downhill * step)).clamp_min(1e-300)
        middle = (low + high) / 2
        fits = (low == 0) & torch.isfinite(parabola) & torch.isfinite(loss)
        inside = torch.where(fits, parabola.clamp(0.1 * high, 0.6 * high), middle)
        self.low[rows], self.high[rows] = low, high
        self.step[rows] = torch.where(torch.isfinite(high), inside, 4 * step)

    def _has_converged(self, rows: Rows) -> Flags:
        options = self.options
        gained = (self.first_loss - self.loss)[rows]
        lately = self.history[rows, 0] - self.loss[rows]
        settled = lately <= options.progress_rtol * gained + 1e-12 * self.loss[rows].abs()
        return settled | (self.residual[rows] <= options.residual_rtol)

    def _aim(self, rows: Rows) -> None:
        """A new line for rows that have moved: the two-loop recursion."""
        slope, s, y, rho = self.slope[rows], self.s[rows], self.y[rows], self.rho[rows]
        q, alphas = slope.clone(), []
        for i in reversed(range(self.pairs)):
            alphas.append(rho[:, i] * (s[:, i] * q).sum(-1))
            q -= alphas[-1].unsqueeze(-1) * y[:, i]
        has_history = (rho[:, -1] > 0).unsqueeze(-1)
        scale = 1 / (rho[:, -1] * y[:, -1].square().sum(-1)).clamp_min(1e-30)
        first = FIRST_STEP * self.x[rows].norm(dim=-1).clamp_min(1) / slope.norm(dim=-1).clamp_min(1e-30)
        q *= torch.where(has_history, scale.unsqueeze(-1), first.unsqueeze(-1))
        for i, alpha in zip(range(self.pairs), reversed(alphas), strict=True):
            q += (alpha - rho[:, i] * (y[:, i] * q).sum(-1)).unsqueeze(-1) * s[:, i]
        falls = (q * slope).sum(-1, keepdim=True) > 0
        self.direction[rows] = -torch.where(falls, q, first.unsqueeze(-1) * slope)
        self.step[rows], self.low[rows], self.high[rows], self.trials[rows] = 1.0, 0.0, torch.inf, 0

    def _best(self, loss: Float[Tensor, " r"]) -> Rows:
        """The row of least loss of each problem."""
        m = self.problem.n_problems
        finite = torch.where(torch.isfinite(loss), loss, torch.inf).view(-1, m)
        return finite.argmin(dim=0) * m + torch.arange(m, device=self.device)

    def solution(self, names: tuple[str, ...]) -> Solution:
        """What the best start of each problem reached; a dead one only where no other came below it."""
        m = self.problem.n_problems
        rows = self._best(self.loss)
        best = rows // m
        dead = self.dead.view(-1, m)
        stationary = (self.residual[rows] <= STATIONARY_RTOL) & ~self.dead[rows]
        live = torch.where(dead, self.loss.new_full((), torch.nan), self.loss.view(-1, m))
        worst = torch.nan_to_num(live, nan=-torch.inf).amax(dim=0)
        return Solution(
            filters=self.constraint.filters(self.x[rows]),
            loss=self.loss[rows],
            certificates=tuple(Certificate.STATIONARY if ok else Certificate.STOPPED for ok in stationary.tolist()),
            residual=torch.where(self.dead[rows], 1.0, self.residual[rows]),
            unique=None,
            iterations=self.iterations[rows],
            solver="quasi-newton",
            trace=torch.stack([self.constraint.filters(x[rows]) for x, _ in self.trace]) if self.trace else None,
            trace_loss=torch.stack([loss[rows] for _, loss in self.trace]) if self.trace else None,
            start=tuple(names[number] for number in best.tolist()),
            spread=(worst - self.loss[rows]).clamp_min(0),
        )
