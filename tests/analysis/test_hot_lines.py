"""Hot lines: ops, exact, beside Python, sampled."""

from __future__ import annotations

from hypothesis import given

from tests.builders import START_NS, TraceBuilder, trace_of, traces
from tinytrace.analysis.hot_lines import HotLine, hot_lines_of
from tinytrace.analysis.op_groups import group_ops
from tinytrace.analysis.stack_times import calling_frames
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

US = 1000
NUMPY = "/v/lib/python3.11/site-packages/numpy/_core/_methods.py"


def run() -> Trace:
    """Line 5 calls ops for 30 of the 100 µs that its samples stand for; line 9 computes, then waits."""
    builder = TraceBuilder()
    builder.process(7)
    thread = builder.thread(0, 7)
    main = builder.frame("<module>", "/a/train.py", 50)
    five, nine = (builder.frame("work", "/a/train.py", line) for line in (5, 9))
    inside = builder.frame("_mean", NUMPY, 118)
    finder = builder.frame("_find_and_load", "<frozen importlib._bootstrap>", 1)
    builder.span(thread, START_NS, 20 * US, "add", callsite=five)
    builder.span(thread, START_NS + 50 * US, 10 * US, "exp", callsite=five)
    for number, stack in enumerate(
        [[main, five], [main, five, inside], [main, nine], [main, nine], [main, finder]]
    ):
        t_ns = START_NS + (number + 1) * 50 * US
        builder.sample(thread, t_ns, 50 * US, stack, 0 if number == 3 else 50 * US)
    return builder.build()


def in_us(row: HotLine) -> tuple[object, ...]:
    """What a row says, in µs."""
    return (
        row.place,
        row.function,
        row.op_ns / US,
        row.python_ns / US,
        row.waiting_ns / US,
        row.samples,
    )


def test_lines_have_the_time_of_their_ops_and_of_python_between_them() -> None:
    found = hot_lines_of(run())
    assert [in_us(row) for row in found.lines] == [
        ("train.py:5", "work", 30, 70, 0, 2),  # in NumPy's Python code: the line that called it
        ("train.py:9", "work", 0, 50, 50, 2),
    ]
    assert [row.top_op for row in found.lines] == ["add", None]
    assert [row.op_calls for row in found.lines] == [2, 0]
    assert [row.percent for row in found.lines] == [40, 40]  # of 250 µs
    assert found.n_lines == 2


def test_functions_have_the_sum_of_their_lines() -> None:
    found = hot_lines_of(run())
    assert [in_us(row) for row in found.functions] == [("train.py", "work", 30, 120, 50, 4)]
    assert (found.functions[0].line, found.n_functions) == (None, 1)


def test_folded_ops_are_not_python_as_well() -> None:
    builder = TraceBuilder()
    builder.process(7)
    thread = builder.thread(0, 7)
    line = builder.frame("work", "a.py", 5)
    builder.sample(thread, START_NS + 100 * US, 100 * US, [line], 100 * US)
    row = (builder.string("add"), Kind.OP, thread, -1, line, 9, 9, 70 * US, 70 * US, 1, 9000)
    builder.aggregates.append((*row, START_NS, START_NS + 100 * US))
    assert in_us(hot_lines_of(builder.build()).lines[0]) == ("a.py:5", "work", 70, 30, 0, 1)


def test_without_samples_lines_have_the_time_of_ops() -> None:
    rows = hot_lines_of(trace_of("add:5@a.py:1:f add:3@a.py:2:f")).lines
    assert [in_us(row) for row in rows] == [
        ("a.py:1", "f", 5, 0, 0, 0),
        ("a.py:2", "f", 3, 0, 0, 0),
    ]


def test_a_stack_that_is_all_in_numpy_has_its_innermost_frame() -> None:
    builder = TraceBuilder()
    outer, inner = (builder.frame(name, NUMPY, 1) for name in ("outer", "inner"))
    builder.process(7)
    builder.sample(builder.thread(0, 7), START_NS, 1, [outer, inner])
    trace = builder.build()
    assert calling_frames(trace).tolist() == [outer, inner]


@given(traces())
def test_lines_never_have_more_op_time_than_there_is(trace: Trace) -> None:
    known = sum(row.self_ns for row in group_ops(trace, "callsite"))
    found = hot_lines_of(trace, top=1000)
    assert sum(row.op_ns for row in found.lines) <= known
    assert (
        sum(row.spent_ns for row in found.functions)
        <= sum(row.spent_ns for row in found.lines) + known
    )
