"""The statistic that decides whether positions follow the picture, against scipy's and against shuffling."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from l2caf.attention.following import CHANCE, Following, Locality, Verdict, area_under, following, log_ratios, sides


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_the_area_is_the_statistic_of_mann_and_whitney(first: list[int], second: list[int]) -> None:
    area, deviation = area_under(np.array(first, float), np.array(second, float))
    assert area == pytest.approx(mannwhitneyu(first, second).statistic / (len(first) * len(second)))
    assert deviation == pytest.approx(math.sqrt((len(first) + len(second) + 1) / 12 / len(first) / len(second)))


def test_every_position_lies_in_a_half_or_in_the_middle() -> None:
    assert sides((2, 3), 1).tolist() == [1, 0, -1, 1, 0, -1]
    assert sides((2, 3), 0).tolist() == [1, 1, 1, -1, -1, -1]


def test_a_position_that_responds_to_nothing_says_nothing() -> None:
    ratios = log_ratios(np.array([[4.0, 0, 1, 0]]), np.array([[1.0, 0, 1, 2]]))
    assert np.isnan(ratios).tolist() == [[False, True, False, False]]
    assert ratios[0, 0] == pytest.approx(math.log(4))
    assert ratios[0, 3] < -20
    assert not following({0: np.full((1, 4), np.nan)}, (4,)).moves


def test_shuffled_positions_pass_as_seldom_as_is_said() -> None:
    generator = np.random.default_rng(0)
    draws = [following({0: noise[:1], 1: noise[1:]}, (6, 6)) for noise in generator.normal(size=(4000, 2, 36))]
    passed = sum(one.passes(1) for one in draws)
    assert passed <= 4000 * CHANCE + 4 * math.sqrt(4000 * CHANCE)
    scores = [one.locality[0] for one in draws]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.01)
    assert np.mean([one.locality[0] >= one.locality[1] for one in draws]) <= 3 * CHANCE


def test_what_is_known_of_a_map_is_stored_without_nan_and_said_in_a_line() -> None:
    for locality in (Locality(0.98, 0.61, Verdict.FOLLOWS), Locality(math.nan, math.nan, Verdict.UNTOLD)):
        read = Locality.read(locality.stored())
        assert str(read) == str(locality)
        assert None not in locality.stored().values() or math.isnan(locality.score)
    assert str(Locality(0.98, 0.61, Verdict.FOLLOWS)) == "follows 0.98 (chance 0.61)"
    assert Following().total == -math.inf
