"""Which step is looked at: the one that took as long as steps take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import trace_of
from tinytrace.analysis.median_step import MedianStep, median_step
from tinytrace.analysis.step_finding import Steps


def steps_of(durations_ns: list[int]) -> Steps:
    """Steps of thread 2, numbered from 100, that follow one another."""
    end_ns = np.cumsum(durations_ns, dtype="i8")
    number = np.arange(len(durations_ns)) + 100
    start_ns = end_ns - np.array(durations_ns, "i8")
    return Steps(2, number, start_ns, end_ns, "marks", "certain", "")


def test_the_step_in_the_middle_is_the_median_step() -> None:
    trace = trace_of("step(add:7) step(add:2) step(add:5)")
    step = median_step(trace)
    start_ns = int(trace.spans.start_ns[4])
    assert step == MedianStep(2, 0, start_ns, start_ns + 5_000)


@pytest.mark.parametrize(
    ("durations_ns", "chosen"),
    [
        ([7], 100),
        ([7, 5], 101),  # of two in the middle the shorter one: the mean of both is no step's
        ([9, 5, 7, 3], 101),
        ([5, 9, 7, 7, 1], 102),  # of equal ones the first
        ([0, 0, 0, 4], 103),  # those without a duration are none to look at
        ([90, 30, 10, 11, 13, 12, 10, 11, 10, 10], 102),  # 90 and 30 are warm-up
    ],
)
def test_the_median_step_is_one_of_the_steps(durations_ns: list[int], chosen: int) -> None:
    step = median_step(trace_of("add"), steps_of(durations_ns))
    assert step is not None
    assert step.number == chosen
    assert step.end_ns - step.start_ns == durations_ns[chosen - 100]
    assert step.thread == 2


@pytest.mark.parametrize("durations_ns", [[], [0, 0]])
def test_without_steps_that_take_time_there_is_none(durations_ns: list[int]) -> None:
    assert median_step(trace_of("add"), steps_of(durations_ns)) is None


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=7))
def test_as_many_steps_are_shorter_as_are_longer(durations_ns: list[int]) -> None:
    step = median_step(trace_of("add"), steps_of(durations_ns))
    assert step is not None
    dur_ns = step.end_ns - step.start_ns
    shorter = sum(d < dur_ns for d in durations_ns)
    longer = sum(d > dur_ns for d in durations_ns)
    assert shorter <= len(durations_ns) / 2
    assert longer <= len(durations_ns) / 2
