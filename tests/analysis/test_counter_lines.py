"""Memory over time: few points, no extreme lost."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import START_NS, TraceBuilder
from tinytrace.analysis.counter_lines import extremes, memory_lines


def test_readings_are_told_by_process_and_from_the_beginning() -> None:
    builder = TraceBuilder()
    for pid in (7, 8):
        builder.process(pid, start_ns=START_NS, end_ns=START_NS + 100)
        series = builder.series("rss_mb", "MB", pid - 7)
        builder.counter(series, START_NS + 10, pid * 10.0)
    other = builder.series("cpu_percent", "%")
    builder.counter(other, START_NS + 10, 99.0)
    lines = memory_lines(builder.build())
    assert [(line.pid, line.name, line.t_ns.tolist(), line.mb.tolist()) for line in lines] == [
        (7, "rss_mb", [10], [70.0]),
        (8, "rss_mb", [10], [80.0]),
    ]


def test_what_is_no_number_is_left_out() -> None:
    builder = TraceBuilder()
    builder.process(7, end_ns=START_NS + 100)
    series = builder.series("array_mb", "MB")
    for n, value in enumerate((1.0, math.nan, math.inf, 2.0)):
        builder.counter(series, START_NS + n, value)
    (line,) = memory_lines(builder.build())
    assert (line.mb.tolist(), line.n_readings) == ([1.0, 2.0], 2)


def test_many_readings_become_few_and_their_number_is_kept() -> None:
    builder = TraceBuilder()
    builder.process(7, end_ns=START_NS + 10_000)
    series = builder.series("rss_mb", "MB")
    for n in range(1000):
        builder.counter(series, START_NS + n, 500.0 if n == 333 else float(n % 7))
    (line,) = memory_lines(builder.build(), most=10)
    assert len(line.mb) <= 20
    assert (line.mb.max(), line.n_readings) == (500.0, 1000)


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.floats(-1e9, 1e9)), min_size=1, max_size=200),
    st.integers(1, 20),
)
def test_least_and_greatest_stay(points: list[tuple[int, float]], most: int) -> None:
    x, y = (np.array(column) for column in zip(*sorted(points), strict=True))
    kept = extremes(x.astype("i8"), y, most)
    assert len(kept) <= 2 * most
    assert (np.diff(kept) > 0).all()
    assert (y[kept].min(), y[kept].max()) == (y.min(), y.max())
