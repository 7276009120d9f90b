"""Python in several threads: one CPU for all of them is the interpreter's lock."""

from __future__ import annotations

import pytest

from tests.analysis.findings.traces import FILE, MS, found
from tests.builders import START_NS, TraceBuilder
from tinytrace.analysis.findings.taking_turns import NAME
from tinytrace.tracer.trace import Trace

QUEUE = "/usr/lib/python3.11/queue.py"


def run(main_cpu: float, other_cpu: float, *, beside_ms: int = 60, waits: bool = False) -> Trace:
    """Two threads for 100 ms; the other one is in Python for so many of them, and before in an op."""
    builder = TraceBuilder()
    builder.process(1, end_ns=START_NS + 100 * MS)
    builder.thread(0, 1)
    builder.thread(0, 2)
    main, other = builder.frame("train", FILE, 7), builder.frame("load", FILE, 30)
    stack = [other, builder.frame("get", QUEUE, 171)] if waits else [other]
    builder.span(1, START_NS, (100 - beside_ms) * MS, "matmul", callsite=other)
    for number in range(100):
        t_ns = START_NS + (number + 1) * MS
        builder.sample(0, t_ns, MS, [main], cpu_ns=int(main_cpu * MS))
        builder.sample(1, t_ns, MS, stack, cpu_ns=int(other_cpu * MS))
    return builder.build()


def test_two_threads_that_share_one_cpu_are_named() -> None:
    [finding] = found(NAME, run(0.5, 0.5))
    assert (finding.line, finding.function, finding.ceiling_ns) == (7, "train", 30 * MS)
    assert "together they used 1.00 CPUs, the main thread 0.50 of it" in finding.evidence


def test_no_more_can_be_won_than_the_others_ran() -> None:
    [finding] = found(NAME, run(0.6, 0.3))
    assert finding.ceiling_ns == 18 * MS  # and not the 24 ms in which the main thread had no CPU


@pytest.mark.parametrize(
    ("main_cpu", "other_cpu"),
    [(1.0, 1.0), (0.3, 0.3), (1.0, 0.0), (0.95, 0.1)],
    ids=["side by side", "others have the processors", "one sleeps", "one hardly runs"],
)
def test_other_reasons_not_to_run_are_let_be(main_cpu: float, other_cpu: float) -> None:
    assert found(NAME, run(main_cpu, other_cpu)) == []


@pytest.mark.parametrize(("beside_ms", "named"), [(19, False), (20, True)])
def test_time_in_ops_is_no_python(beside_ms: int, named: bool) -> None:
    assert bool(found(NAME, run(0.5, 0.5, beside_ms=beside_ms))) == named


def test_a_thread_that_waits_in_a_queue_takes_no_turns() -> None:
    assert found(NAME, run(0.5, 0.5, waits=True)) == []
