from __future__ import annotations

import pytest

from tests.analysis.findings.traces import FILE, MS, found, sampled
from tests.builders import START_NS, TraceBuilder
from tinytrace.analysis.findings.python_loop import NAME


def test_a_function_that_reads_element_after_element_is_named() -> None:
    [finding] = found(NAME, sampled({"conv2d": 80, "main": 3}, elements=1_000_000))
    assert (finding.function, finding.line, finding.ceiling_ns) == ("conv2d", 10, 80 * MS)
    assert finding.confidence == "high"


def test_python_that_reads_no_elements_is_named_with_low_confidence() -> None:
    [finding] = found(NAME, sampled({"parse": 80}))
    assert finding.confidence == "low"


def test_a_function_that_waits_is_let_be() -> None:
    assert found(NAME, sampled({"read": 80}, cpu=0.01)) == []


def test_a_few_samples_say_nothing() -> None:
    assert found(NAME, sampled({"conv2d": 19}, elements=1_000_000)) == []


def test_time_in_a_library_is_that_of_the_line_that_called_it() -> None:
    builder = TraceBuilder()
    builder.process(100, end_ns=START_NS + 50 * MS)
    builder.thread(0, 100)
    stack = [
        builder.frame("load", FILE, 3),
        builder.frame("parse", "/usr/lib/python3.11/csv.py", 9),
    ]
    for number in range(50):
        builder.sample(0, START_NS + (number + 1) * MS, MS, stack)
    [finding] = found(NAME, builder.build())
    assert (finding.file, finding.line, finding.function) == (FILE, 3, "load")


def test_samples_of_a_function_that_is_in_ops_most_of_the_time_are_no_loop() -> None:
    builder = TraceBuilder()
    builder.process(100, end_ns=START_NS + 150 * MS)
    builder.thread(0, 100)
    outer, inner = builder.frame("train", FILE, 3), builder.frame("relu", FILE, 30)
    for number in range(50):  # of each ms 0.9 are in an op that was called elsewhere
        at_ns = START_NS + number * MS
        builder.span(0, at_ns, 9 * MS // 10, "add", callsite=inner)
        builder.sample(0, at_ns + MS, MS, [outer], cpu_ns=MS)
    builder.sample(0, START_NS + 150 * MS, 100 * MS, [outer], cpu_ns=100 * MS)  # held up once
    assert found(NAME, builder.build()) == []


@pytest.mark.parametrize(("running", "named"), [(19, False), (20, True)])
def test_samples_of_a_thread_that_stands_still_are_no_further_observations(
    running: int, named: bool
) -> None:
    builder = TraceBuilder()
    builder.process(100, end_ns=START_NS + 100 * MS)
    builder.thread(0, 100)
    frame = builder.frame("main", FILE, 3)
    for number in range(100):
        builder.sample(
            0, START_NS + (number + 1) * MS, MS, [frame], cpu_ns=MS if number < running else 0
        )
    assert bool(found(NAME, builder.build())) == named
