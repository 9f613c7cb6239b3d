"""The learning rate over a run."""

import pytest

from l2caf.training import Options


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.0), (1, 0.9), (7, 0.5), (1000, 0.05)])
def test_the_rate_is_never_zero_rises_to_one_and_then_falls(steps: int, warm_up: float) -> None:
    factors = [Options(steps, warm_up=warm_up).factor(step) for step in range(steps)]
    top = factors.index(max(factors))
    assert max(factors) == 1
    assert min(factors) > 0
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@pytest.mark.parametrize("name", ["steps", "learning_rate", "save_every", "log_every"])
def test_a_number_that_is_not_positive_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}=0(\.0)?: expected more than 0"):
        Options(**{"steps": 5, name: 0.0 if name == "learning_rate" else 0}).checked()  # type: ignore[arg-type]
