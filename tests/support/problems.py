"""Problems whose solution is known without the solver under test."""

import torch

from l2caf.problem import Quadratic, Smooth
from l2caf.shapes import Filters, Losses, Rows


class Bowl(Smooth):
    """A `Smooth` problem whose minimum on the sphere the exact solver knows."""

    def __init__(self, m: int, p: int) -> None:
        generator = torch.Generator().manual_seed(3)
        jacobian = torch.randn(m, 9, p, generator=generator, dtype=torch.float64)
        wanted = jacobian.sum(-1)
        slope = (jacobian.mT @ wanted.unsqueeze(-1)).squeeze(-1)
        self.quadratic = Quadratic(jacobian.mT @ jacobian, slope, wanted.square().sum(-1))
        self.shape, self.rows_evaluated = (m, p), 0

    @property
    def n_problems(self) -> int:
        return self.shape[0]

    @property
    def n_positions(self) -> int:
        return self.shape[1]

    def value(self, filters: Filters, rows: Rows) -> Losses:
        q = self.quadratic
        return Quadratic(q.gram[rows], q.slope[rows], q.offset[rows]).value(filters)

    def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
        self.rows_evaluated += len(rows)
        bent = (self.quadratic.gram[rows] @ filters.unsqueeze(-1)).squeeze(-1)
        return self.value(filters, rows), 2 * (bent - self.quadratic.slope[rows])
