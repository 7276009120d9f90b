"""`Covered`, against counting every ns."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinytrace.analysis.intervals import Covered

INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=8)


def points(intervals: list[tuple[int, int]]) -> set[int]:
    return {t for start, length in intervals for t in range(start, start + length)}


def covered(intervals: list[tuple[int, int]]) -> Covered:
    table = np.array(intervals, np.int64).reshape(-1, 2)
    return Covered(table[:, 0], table[:, 0] + table[:, 1])


@given(INTERVALS, st.integers(-2, 45), st.integers(0, 20))
def test_time_within_an_interval_is_that_of_counting_each_ns(
    intervals: list[tuple[int, int]], start: int, length: int
) -> None:
    found = covered(intervals)
    assert found.total_ns == len(points(intervals))
    within = found.within(np.array([start]), np.array([start + length]))
    assert within.tolist() == [len(points(intervals) & set(range(start, start + length)))]


@given(INTERVALS)
def test_what_covers_is_apart_ascending_and_not_empty(intervals: list[tuple[int, int]]) -> None:
    found = covered(intervals)
    assert (found.end_ns > found.start_ns).all()
    assert (found.start_ns[1:] > found.end_ns[:-1]).all()
