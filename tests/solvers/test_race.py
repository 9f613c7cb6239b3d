import pytest
import torch
from tests.support.problems import Bowl

from l2caf import QuasiNewton, UnitL2
from l2caf.shapes import Filters, Losses, Rows


def test_after_the_race_only_the_best_start_goes_on() -> None:
    bowl = Bowl(3, 6)
    starts = {"ones": torch.ones(3, 6).double(), "axis": torch.eye(6)[:3].double()}
    raced = QuasiNewton(race=(2,), seeds=0).solve(bowl, UnitL2(), starts)
    early = QuasiNewton(max_iterations=2, race=(), seeds=0).solve(bowl, UnitL2(), starts)
    assert raced.start == early.start
    assert raced.start is not None
    for row, name in enumerate(raced.start):  # the leader goes on as it would have gone alone
        alone = QuasiNewton(race=(2,), seeds=0).solve(bowl, UnitL2(), {name: starts[name]})
        assert float(raced.loss[row]) == pytest.approx(float(alone.loss[row]), rel=1e-6)
    assert int(raced.iterations.max()) > 2


def test_half_of_the_starts_stay_in_the_race_at_first() -> None:
    seen: list[int] = []

    class Counting(Bowl):
        def value_and_gradient(self, filters: Filters, rows: Rows) -> tuple[Losses, Filters]:
            seen.append(len(rows))
            return super().value_and_gradient(filters, rows)

    starts = {"ones": torch.ones(1, 6).double()}
    QuasiNewton(seeds=4, race=(2, 4), residual_rtol=0.0, progress_rtol=-1.0).solve(Counting(1, 6), UnitL2(), starts)
    assert seen[0] == 5
    assert {count for count in seen[1:] if count <= 3} >= {3, 1}
    assert seen[-1] == 1
