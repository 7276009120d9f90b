"""Sampled lines of two traces compared."""

from __future__ import annotations

import math

import pytest

from tests.builders import START_NS, TraceBuilder
from tinytrace.analysis.diff import diff
from tinytrace.analysis.diff_values import Verdict
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


def sampled(weights: dict[tuple[str, int], int], n: int = 40) -> Trace:
    """Samples of 1 ms in functions and lines: n times what is given, in turns."""
    builder = TraceBuilder()
    builder.process(100)
    thread = builder.thread(0, 100)
    now_ns = START_NS
    for _ in range(n):
        for (function, line), count in weights.items():
            for _ in range(count):
                now_ns += 10**6
                builder.sample(thread, now_ns, 10**6, [builder.frame(function, "/a/t.py", line)])
    builder.processes[0] = (100, *builder.processes[0][1:3], now_ns + 5 * 10**6, -1)
    return builder.build()


def test_sampled_lines_say_where_the_time_went_without_any_op() -> None:
    found = diff(sampled({("f", 3): 8, ("g", 9): 2}), sampled({("f", 3): 2, ("g", 9): 2}))
    [row] = found.lines
    assert (row.place_before, row.place_after, row.function) == ("t.py:3", "t.py:3", "f")
    assert (row.before_ns, row.after_ns, row.delta_ns) == (320 * 10**6, 80 * 10**6, -240 * 10**6)
    assert row.time is not None
    assert row.time.value == 0.25
    spread = math.exp(1.959964 * math.sqrt(1 / 320 + 1 / 80))
    assert (row.time.low, row.time.high) == pytest.approx((0.25 / spread, 0.25 * spread))
    assert row.verdict is Verdict.FASTER
    assert found.lines_account is not None
    assert found.lines_account.rest_before_ns == 5 * 10**6
    assert found.lines_account.delta_ns == found.lines_account.listed_delta_ns
    assert "the first trace has no operations" in found.notes


def test_lines_of_a_function_that_moved_down_are_the_same_lines() -> None:
    before = sampled({("f", 3): 1, ("f", 4): 2, ("f", 7): 1})
    after = sampled({("f", 13): 1, ("f", 14): 1, ("f", 17): 1})
    [row] = diff(before, after).lines
    assert (row.place_before, row.place_after) == ("t.py:4", "t.py:14")


def test_one_line_alone_is_not_taken_for_another_one() -> None:
    found = diff(sampled({("f", 3): 1}), sampled({("f", 9): 1}))
    assert {(row.place_before, row.place_after) for row in found.lines} == {
        ("t.py:3", None), (None, "t.py:9"),
    }  # fmt: skip


def test_imports_are_in_no_line_and_said_apart() -> None:
    traces = []
    for n in (3, 5):
        builder = TraceBuilder()
        builder.process(1, end_ns=START_NS + 10**8)
        thread = builder.thread(0, 1)
        finder = builder.frame("_find_and_load", "<frozen importlib._bootstrap>", 1176)
        for number in range(n):
            builder.sample(thread, START_NS + (number + 1) * 10**6, 10**6, [finder])
        traces.append(builder.build())
    found = diff(traces[0], traces[1])
    assert found.lines == ()
    assert found.import_delta_ns == 2 * 10**6
    assert found.lines_account is not None
    assert found.lines_account.rest_before_ns == 10**8


def test_per_step_only_samples_in_steps_count() -> None:
    traces = []
    for n in (10, 20):
        builder = TraceBuilder()
        builder.process(1)
        thread = builder.thread(0, 1)
        frame = builder.frame("f", "t.py", 3)
        for number in range(n):
            start_ns = START_NS + number * 5 * 10**6
            builder.span(thread, start_ns, 3 * 10**6, "step", kind=Kind.STEP, step=number)
            for ms in range(1, 6):  # two of five outside of the step
                builder.sample(thread, start_ns + ms * 10**6, 10**6, [frame])
        traces.append(builder.build())
    found = diff(traces[0], traces[1])
    assert found.basis == "step"
    assert found.lines == ()
    assert found.lines_account is not None
    assert (found.lines_account.before_ns, found.lines_account.rest_before_ns) == (3 * 10**6, 0)


def test_a_line_with_too_few_samples_has_no_interval() -> None:
    [row] = diff(sampled({("f", 3): 2}, n=4), sampled({("f", 3): 1}, n=4)).lines
    assert row.time is None
    assert row.verdict is Verdict.INCONCLUSIVE
