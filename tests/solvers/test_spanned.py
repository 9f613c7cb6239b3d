import torch

from l2caf import Certificate, UnitL2
from l2caf.problem import Quadratic, Spanned
from l2caf.solvers import QuadraticExact, SpannedExact


def test_the_solution_in_a_subspace_is_the_solution_on_the_whole_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(2, 3, 12, generator=generator, dtype=torch.float64)
    wanted = 4 * torch.randn(2, 3, generator=generator, dtype=torch.float64)

    def stated(columns: torch.Tensor) -> Quadratic:
        slope = (columns.mT @ wanted.unsqueeze(-1)).squeeze(-1)
        return Quadratic(columns.mT @ columns, slope, wanted.square().sum(1))

    spare = torch.stack([torch.ones(2, 12), torch.randn(2, 12, generator=generator)], dim=-1).double()
    basis, coordinates = torch.linalg.qr(torch.cat([jacobian.mT, spare], dim=-1))
    problem = Spanned(stated(coordinates[:, :, :3].mT), basis)
    for radius in (0.3, 1.0, 2.0):
        spanned = SpannedExact(QuadraticExact()).solve(problem, UnitL2(radius), {})
        direct = QuadraticExact().solve(stated(jacobian), UnitL2(radius), {})
        assert torch.allclose(spanned.filters.norm(dim=1), torch.full((2,), radius, dtype=torch.float64))
        assert torch.allclose(problem.value(spanned.filters), direct.loss)
        assert set(spanned.certificates) == {Certificate.GLOBAL}
