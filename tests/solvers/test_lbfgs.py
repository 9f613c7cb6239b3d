import numpy as np
import torch
from scipy.optimize import minimize
from tests.support.problems import Bowl

from l2caf import Certificate, Softmax, UnitL2
from l2caf.solvers import LBFGS


def start(m: int, p: int) -> torch.Tensor:
    return torch.randn(m, p, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_from_one_start_it_ends_where_a_generic_solver_ends() -> None:
    bowl, x = Bowl(1, 5), start(1, 5)
    found = LBFGS(residual_rtol=1e-8, progress_rtol=0.0).solve(bowl, Softmax(), {"one": x.softmax(1)})

    def loss(free: np.ndarray) -> float:
        return float(bowl.value(torch.as_tensor(free)[None].softmax(1), torch.tensor([0])))

    generic = minimize(loss, x[0].numpy(), method="BFGS", options={"gtol": 1e-9})
    assert abs(float(found.loss) - generic.fun) <= 1e-6 * generic.fun


def test_no_step_raises_the_loss_of_any_row_and_the_trace_says_so() -> None:
    found = LBFGS(keep_trace=True).solve(Bowl(4, 9), UnitL2(), {"one": start(4, 9)})
    assert found.trace is not None
    assert found.trace_loss is not None
    assert bool((found.trace_loss.diff(dim=0) <= 1e-5 * found.trace_loss[:-1].abs()).all())
    assert torch.equal(found.trace[-1], found.filters)
    assert float(found.trace_loss[-1].sum()) < 0.5 * float(found.trace_loss[0].sum())


def test_a_search_that_is_halted_goes_on_as_if_it_had_not_been() -> None:
    whole = LBFGS().solve(Bowl(3, 7), UnitL2(), {"one": start(3, 7)})
    search = LBFGS().begin(Bowl(3, 7), UnitL2(), {"one": start(3, 7)})
    for limit in (1, 2, 5, 300):
        search.run(limit)
        assert int(search.solution().iterations.max()) <= limit
    assert torch.equal(search.solution().filters, whole.filters)
    assert int(whole.iterations.max()) > 5


def test_a_dropped_row_stays_and_the_others_do_not_notice() -> None:
    whole = LBFGS().solve(Bowl(3, 7), UnitL2(), {"one": start(3, 7)})
    search = LBFGS().begin(Bowl(3, 7), UnitL2(), {"one": start(3, 7)})
    search.run(2)
    search.drop(torch.tensor([False, True, False]))
    search.run(300)
    found = search.solution()
    assert int(found.iterations[1]) == 2
    assert torch.equal(found.filters[::2], whole.filters[::2])
    assert set(whole.certificates) == {Certificate.STATIONARY}
