"""Intervals of ratios: by hand, against SciPy's exact distribution, and how often they miss."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytrace.analysis.paired import median_interval, ratio_interval, signed_rank_interval


def test_of_three_walsh_averages_the_middle_is_the_estimate() -> None:
    # 1 and 4: Walsh averages 1, 2.5, 4. With two values P(T ≤ 0) = 1/4.
    found = signed_rank_interval([1, 4], alpha=0.5)
    assert (found.estimate, found.low, found.high) == (2.5, 1.0, 4.0)


def test_eight_values_leave_out_three_walsh_averages_at_each_end() -> None:
    # Tables of the signed-rank test: for n = 8, P(T ≤ 3) = 5/256 ≤ 2.5 %, P(T ≤ 4) = 7/256 is more.
    powers = [2.0**i for i in range(8)]
    walsh = sorted((powers[i] + powers[j]) / 2 for i in range(8) for j in range(i, 8))
    found = signed_rank_interval(powers, alpha=0.05)
    assert (found.low, found.high) == (walsh[3], walsh[-4])
    assert found.estimate == (walsh[17] + walsh[18]) / 2


def test_too_few_values_are_said_and_give_no_interval() -> None:
    with pytest.raises(ValueError, match="5 values are too few"):
        signed_rank_interval([1, 2, 3, 4, 5], alpha=0.05)


def test_one_outlier_does_not_move_the_interval_far() -> None:
    quiet = signed_rank_interval([1.0] * 20, alpha=0.05)
    disturbed = signed_rank_interval([1.0] * 19 + [1000.0], alpha=0.05)
    assert disturbed == quiet


def test_the_interval_misses_the_truth_about_as_often_as_it_may() -> None:
    random = np.random.default_rng(0)
    trials = [signed_rank_interval(random.normal(size=15).tolist(), 0.10) for _ in range(1000)]
    missed = sum(not found.low <= 0 <= found.high for found in trials)
    assert 60 <= missed <= 140  # 100 are expected, and the standard deviation is 9.5


@given(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=30))
def test_the_estimate_lies_within_and_turns_with_the_sign(values: list[float]) -> None:
    found = signed_rank_interval(values, alpha=0.05)
    turned = signed_rank_interval([-value for value in values], alpha=0.05)
    assert min(values) <= found.low <= found.estimate <= found.high <= max(values)
    assert math.isclose(turned.low, -found.high, abs_tol=1e-9)
    assert math.isclose(turned.estimate, -found.estimate, abs_tol=1e-9)


def test_what_slows_both_forms_of_a_round_cancels() -> None:
    load = [1.0, 7.0, 2.0, 9.0, 1.0, 3.0, 5.0]
    found = ratio_interval([30 * x for x in load], [10 * x for x in load], alpha=0.05)
    assert [found.estimate, found.low, found.high] == pytest.approx([3.0, 3.0, 3.0])


def test_the_interval_of_a_median_holds_it_whatever_the_shape_and_misses_the_truth_rarely() -> None:
    random = np.random.default_rng(0)
    missed = 0
    for _ in range(1000):
        found = median_interval(list(random.exponential(1.0, 20) ** 3), 0.05)
        assert found.low <= found.estimate <= found.high
        missed += not found.low <= math.log(2) ** 3 <= found.high
    assert missed <= 50  # 41.4 are expected: P(fewer than 6 of 20 heads, or tails) is 0.0414


def test_few_values_have_no_interval_of_their_median() -> None:
    assert median_interval(range(6), 0.05).low == 0
    with pytest.raises(ValueError, match="5 values are too few"):
        median_interval(range(5), 0.05)
