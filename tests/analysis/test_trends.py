"""Slopes that odd points do not bend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from tinytrace.analysis.trends import MAX_POINTS, MIN_POINTS, theil_sen


@given(st.integers(MIN_POINTS, 60), st.integers(0, 2**32), st.booleans())
@settings(max_examples=60, deadline=None)
def test_slope_and_interval_are_those_of_scipy(n: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.1, 1, n))
    y = rng.integers(0, 4, n).astype("f8") if ties else rng.standard_normal(n)
    ours, theirs = theil_sen(x, y), stats.theilslopes(y, x, 0.95)
    assert ours is not None
    assert ours.estimate == pytest.approx(theirs.slope, abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx((theirs.low_slope, theirs.high_slope), abs=1e-12)


def test_the_interval_holds_the_true_slope_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(1)
    x = np.arange(40.0)
    held = 0
    for _ in range(400):
        slope = theil_sen(x, 3 * x + rng.standard_t(2, 40))
        held += slope is not None and slope.low <= 3 <= slope.high
    assert 0.92 <= held / 400 <= 0.98


def test_a_constant_has_slope_zero_exactly() -> None:
    slope = theil_sen(np.arange(20.0), np.full(20, 7.0))
    assert slope is not None
    assert (slope.estimate, slope.low, slope.high) == (0, 0, 0)


def test_few_points_or_one_and_the_same_x_have_no_slope() -> None:
    assert theil_sen(np.arange(MIN_POINTS - 1.0), np.arange(MIN_POINTS - 1.0)) is None
    assert theil_sen(np.zeros(50), np.arange(50.0)) is None
    assert theil_sen(np.empty(0), np.empty(0)) is None


def test_many_points_are_thinned_out() -> None:
    slope = theil_sen(np.arange(1e5), 2 * np.arange(1e5))
    assert slope is not None
    assert (slope.estimate, slope.points) == (2, MAX_POINTS)
