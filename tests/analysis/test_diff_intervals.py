"""Intervals of ratios cover what they promise, and say nothing where little is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinytrace.analysis.diff_intervals import (
    BLOCKS,
    LEAST_CALLS,
    blocks_of,
    log_ratio_spread,
    median_spread,
    weighted_median,
    widening,
)


def test_calls_are_cut_into_blocks_in_order_of_time() -> None:
    row = np.array([1, 0, 1, 1, 0])
    start = np.array([30, 5, 10, 20, 2])
    blocks = blocks_of(row, start, np.array([3, 50, 1, 2, 20]), 3)
    assert blocks.n_blocks.tolist() == [2, 3, 0]
    assert blocks.total_ns[0, :2].tolist() == [20, 50]
    assert blocks.total_ns[1, :3].tolist() == [1, 2, 3]


def test_many_calls_are_in_32_blocks_of_nearly_equally_many() -> None:
    blocks = blocks_of(np.zeros(100, "i8"), np.arange(100), np.ones(100, "i8"), 1)
    assert blocks.n_blocks.tolist() == [BLOCKS]
    assert set(blocks.calls[0].tolist()) == {3.0, 4.0}
    assert blocks.total_ns.sum() == 100


@pytest.mark.parametrize("n_calls", [LEAST_CALLS, 20, 32, 500])
def test_intervals_hold_the_truth_about_95_times_of_100(n_calls: int) -> None:
    # 600 comparisons of times that differ by a factor of 1.3 and vary as real ones do (log-normal). Of 600 at
    # 95 %, more than 545 hold it unless they are of less than 94 %: 570 less 4.7 standard deviations of 5.3.
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(600), n_calls)
    start = np.tile(np.arange(n_calls), 600)
    times = [rng.lognormal(10, 0.4, len(rows)).astype("i8") for _ in range(2)]
    before = blocks_of(rows, start, times[0], 600)
    after = blocks_of(rows, start, (1.3 * times[1]).astype("i8"), 600)
    low, high = log_ratio_spread(before, after)
    means = [blocks.total_ns.sum(1) / n_calls for blocks in (before, after)]
    error = np.log(means[1] / means[0]) - math.log(1.3)
    held = int(((error - low <= 0) & (error + high >= 0)).sum())
    assert 545 < held <= 600


def test_calls_that_are_alike_in_time_are_not_taken_for_many_independent_ones() -> None:
    # A slow half and a fast half: what a busy neighbour does.
    times = np.repeat([1000, 2000], 500)
    one, start = np.zeros(1000, "i8"), np.arange(1000)
    together = blocks_of(one, start, times, 1)
    shuffled = blocks_of(one, start, np.random.default_rng(0).permutation(times), 1)
    wide, _ = log_ratio_spread(together, together)
    narrow, _ = log_ratio_spread(shuffled, shuffled)
    assert wide[0] > 4 * narrow[0]


def test_exchanging_the_sides_exchanges_the_ends() -> None:
    rng = np.random.default_rng(1)
    row, start = np.repeat(np.arange(5), 40), np.arange(200)
    sides = [blocks_of(row, start, rng.integers(1, 1000, 200), 5) for _ in range(2)]
    low, high = log_ratio_spread(sides[0], sides[1])
    high_back, low_back = log_ratio_spread(sides[1], sides[0])
    assert low == pytest.approx(low_back)
    assert high == pytest.approx(high_back)


@pytest.mark.parametrize("times", [[5] * (LEAST_CALLS - 1), [0] * 20, []])
def test_too_few_calls_or_no_time_have_no_interval(times: list[int]) -> None:
    some = blocks_of(np.zeros(20, "i8"), np.arange(20), np.full(20, 5), 1)
    few = blocks_of(np.zeros(len(times), "i8"), np.arange(len(times)), np.array(times, "i8"), 1)
    for pair in ((some, few), (few, some)):
        assert all(math.isnan(end[0]) for end in log_ratio_spread(*pair))


def test_times_of_which_many_are_zero_have_a_finite_interval() -> None:
    times = np.array([0] * 19 + [7])
    blocks = blocks_of(np.zeros(20, "i8"), np.arange(20), times, 1)
    low, high = log_ratio_spread(blocks, blocks)
    assert np.isfinite([low, high]).all()


def test_widening_is_that_of_student() -> None:
    # t(97.5 %, 7) = 2.3646, t(97.5 %, 31) = 2.0395 (tables)
    assert widening(8) == pytest.approx(math.sqrt(8 / 7) * 2.3646 / 1.95996, rel=0.005)
    assert widening(32) == pytest.approx(math.sqrt(32 / 31) * 2.0395 / 1.95996, rel=0.001)


def test_the_weighted_median_counts_weights_and_halves_between_two() -> None:
    values = np.array([9.0, 1.0, 5.0])
    assert weighted_median(values, np.array([1.0, 1.0, 10.0])) == 5
    assert weighted_median(values, np.array([1.0, 1.0, 0.0])) == 5
    assert weighted_median(np.array([3.0]), np.array([2.0])) == 3


@pytest.mark.parametrize("n_steps", [LEAST_CALLS, 33, 3000])
def test_intervals_of_medians_hold_the_truth_about_95_times_of_100(n_steps: int) -> None:
    # Of 200 at 95 %, 190 less 4.7 standard deviations of 3.1.
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        before, after = (rng.lognormal(15, 0.4, n_steps) for _ in range(2))
        medians, low, high = median_spread(before.astype("i8"), (1.3 * after).astype("i8"))
        error = math.log(medians[1] / medians[0] / 1.3)
        held += error - low <= 0 <= error + high
    assert held > 175


def test_a_few_slow_steps_do_not_move_the_median() -> None:
    usual = np.full(100, 1000)
    slow = np.where(np.arange(100) % 10 == 0, 50_000, 1000)
    assert median_spread(usual, slow) == ((1000.0, 1000.0), 0.0, 0.0)


def test_of_medians_exchanging_the_sides_exchanges_the_ends() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.integers(1000, 2000, 50), rng.integers(1000, 3000, 5000)
    _, low, high = median_spread(before, after)
    _, high_back, low_back = median_spread(after, before)
    assert (low, high) == pytest.approx((low_back, high_back))


def test_the_median_of_too_few_steps_has_no_interval() -> None:
    medians, low, high = median_spread(np.full(7, 10), np.full(100, 20))
    assert medians == (10.0, 20.0)
    assert math.isnan(low)
    assert math.isnan(high)
