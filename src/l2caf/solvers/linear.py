"""The global minimum of a linear loss on a sphere.

With weights of both signs it is f = -r g / ||g||, since g.f >= -r ||g||. Where no weight may be negative, it is
f = r max(-g, 0) / ||max(-g, 0)||, since g.f >= -r ||max(-g, 0)|| there. Where no g is negative either, all of the norm
goes to the least g, since g.f >= r min g then.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from l2caf.problem import ClosedForm, Constraint, Linear, Starts
from l2caf.solvers.quadratic import GLOBAL_RTOL
from l2caf.solvers.solution import Certificate, Solution, certified, riemannian_residual
from l2caf.solvers.solver import OnSphere


@dataclass(frozen=True, slots=True)
class LinearExact(OnSphere):
    """The closed solution of `Linear` problems, on a sphere or on the part of it without negative weights."""

    kind: ClassVar[type[ClosedForm]] = Linear
    or_nonnegative: ClassVar[bool] = True

    def solve(self, problem: Linear, constraint: Constraint, starts: Starts) -> Solution:
        """The best filter of each row."""
        del starts
        sphere = self.sphere(constraint)
        down = -problem.gradient.double()
        flat = (down == 0).all(dim=-1)  # every filter is as good
        if sphere.nonnegative:
            least = torch.zeros_like(down).scatter_(-1, down.argmax(dim=-1, keepdim=True), 1.0)
            down = torch.where((down > 0).any(dim=-1, keepdim=True), down.clamp(min=0), least)
        uniform = torch.full_like(down, down.shape[-1] ** -0.5)
        direction = torch.where(flat.unsqueeze(-1), uniform, down / down.norm(dim=-1, keepdim=True).clamp_min(1e-300))
        filters = sphere.radius * direction
        # A weight held at 0 may have a slope: it is no fault of the solution, and is left out of the residual.
        residual = riemannian_residual(filters, torch.where(filters == 0, 0.0, problem.gradient.double()))
        return Solution(
            filters=filters,
            loss=problem.value(filters),
            certificates=certified(residual <= GLOBAL_RTOL, Certificate.GLOBAL, Certificate.STATIONARY),
            residual=residual,
            unique=~flat,
            iterations=torch.zeros(len(filters), dtype=torch.long, device=filters.device),
            solver="exact",
        )
