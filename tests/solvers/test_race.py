import pytest
import torch
from tests.support.problems import Bowl

from l2caf import Certificate, QuasiNewton, UnitL2
from l2caf.problem import Constraint, Starts
from l2caf.shapes import Filters, Flags, Losses, Rows
from l2caf.solvers import Race, Solution
from l2caf.solvers.race import Search
from l2caf.solvers.several_starts import Copies


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


class Scripted:
    """A solver whose search does not move, and which writes down when it runs and which rows have been dropped."""

    max_iterations = 50

    def __init__(self, loss: list[float], live: list[bool]) -> None:
        self.loss, self.live = torch.tensor(loss, dtype=torch.float64), torch.tensor(live)
        self.dropped = torch.zeros(len(loss), dtype=torch.bool)
        self.log: list[tuple[int, list[int]]] = []

    def begin(self, problem: Copies, constraint: Constraint, starts: Starts) -> Search:
        del problem, constraint, starts
        return self

    def run(self, limit: int) -> None:
        self.log.append((limit, (~self.dropped).nonzero().flatten().tolist()))

    def drop(self, rows: Flags) -> None:
        self.dropped |= rows

    def solution(self) -> Solution:
        m = len(self.loss)
        return Solution(
            torch.ones(m, 2), self.loss, (Certificate.STOPPED,) * m, self.loss, torch.zeros(m).long(), "scripted"
        )


def test_the_better_half_stays_at_each_lap_and_the_best_alone_after_the_last() -> None:
    # Five starts of two problems, starts major: the losses of problem 0 fall from start to start, those of 1 rise.
    loss = [value for start in range(5) for value in (5.0 - start, 1.0 + start)]
    scripted = Scripted(loss, [True] * 10)
    Race(scripted, laps=(3, 7)).solve(Copies(Bowl(2, 2), 5), UnitL2(), {})
    assert scripted.log == [(3, list(range(10))), (7, [1, 3, 4, 5, 6, 8]), (50, [1, 8])]


def test_a_start_that_cannot_be_left_loses_to_any_other_however_low_its_loss() -> None:
    scripted = Scripted([1.0, 9.0, float("nan")], [False, True, True])
    Race(scripted, laps=(2,)).solve(Copies(Bowl(1, 2), 3), UnitL2(), {})
    assert scripted.log[-1] == (50, [1])
