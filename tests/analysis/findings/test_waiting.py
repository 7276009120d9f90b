"""Waiting for other threads: what they do meanwhile decides whether that is a finding, and how much it can win."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.analysis.findings.traces import FILE, MS, found
from tests.builders import START_NS, TraceBuilder
from tinytrace.analysis.findings.waiting import NAME
from tinytrace.tracer.trace import Trace

QUEUE, THREADING = "/usr/lib/python3.11/queue.py", "/usr/lib/python3.11/threading.py"
RUN_MS = 100


def run(
    waits_ms: int,
    *,
    workers: int = 1,
    busy: float = 1.0,
    cores: int = 4,
    module: str = QUEUE,
    called: str = "get",
) -> Trace:
    """A main thread that waits for so many ms of 100 and works after, beside others that work while it waits."""
    builder = TraceBuilder()
    builder.process(1, end_ns=START_NS + RUN_MS * MS)
    line, get = builder.frame("train", FILE, 7), builder.frame(called, module, 171)
    wait = builder.frame("Condition.wait", THREADING, 320)
    load, start = builder.frame("load", FILE, 30), builder.frame("Thread.run", THREADING, 982)
    for thread in range(1 + workers):
        builder.thread(0, 1 + thread)
    for number in range(RUN_MS):
        t_ns, waiting = START_NS + (number + 1) * MS, number < waits_ms
        stack = [line, get, wait] if waiting else [line]
        builder.sample(0, t_ns, MS, stack, cpu_ns=0 if waiting else MS)
        for thread in range(1, 1 + workers):
            stack = [start, load] if waiting else [start, get, wait]
            builder.sample(thread, t_ns, MS, stack, cpu_ns=int(busy * MS) if waiting else 0)
    trace = builder.build()
    return replace(trace, meta={**trace.meta, "machine": {"usable_cpus": cores}})


def test_the_line_that_waits_is_named_with_what_it_called() -> None:
    [finding] = found(NAME, run(40, busy=0.0))
    assert (finding.line, finding.function) == (7, "train")
    assert "waits for 40 % of the run in queue.get" in finding.title
    assert finding.ceiling_ns == 40 * MS  # nobody works meanwhile
    assert finding.confidence == "medium"


@pytest.mark.parametrize(("waits_ms", "ceiling_ms"), [(40, 40), (70, 30)])
def test_work_of_others_can_be_hidden_behind_our_own_only(waits_ms: int, ceiling_ms: int) -> None:
    [finding] = found(NAME, run(waits_ms))
    assert finding.ceiling_ns == ceiling_ms * MS
    assert finding.confidence == "low"
    assert "meanwhile 1.0 other threads of the run were at work; 4 cores may be used" in (
        finding.evidence
    )


def test_a_thread_that_shares_its_core_with_other_programs_is_at_work() -> None:
    assert found(NAME, run(70, busy=0.1))[0].ceiling_ns == 30 * MS


def test_a_main_thread_that_lets_another_do_all_of_the_work_cannot_win() -> None:
    assert found(NAME, run(100))[0].ceiling_ns == 0


@pytest.mark.parametrize(("workers", "named"), [(3, True), (4, False)])
def test_where_the_cores_are_at_work_waiting_is_no_finding(workers: int, named: bool) -> None:
    assert bool(found(NAME, run(40, workers=workers))) == named


@pytest.mark.parametrize(("waits_ms", "named"), [(9, False), (10, True)])
def test_a_few_samples_are_let_be(waits_ms: int, named: bool) -> None:
    assert bool(found(NAME, run(waits_ms))) == named


def test_other_libraries_are_no_waiting() -> None:
    trace = run(40, module="/usr/lib/python3.11/heapq.py")
    plain = replace(
        trace,
        strings=tuple(s.replace(THREADING, "/usr/lib/python3.11/bisect.py") for s in trace.strings),
    )
    assert found(NAME, plain) == []


@pytest.mark.parametrize("called", ["start", "Thread.start"])
def test_starting_a_thread_is_no_waiting_for_its_work(called: str) -> None:
    assert found(NAME, run(40, busy=0.0, module=THREADING, called=called)) == []
    assert found(NAME, run(40, busy=0.0, module=THREADING, called="Thread.join")) != []


def test_who_runs_while_in_such_a_module_does_not_wait() -> None:
    trace = run(40)
    samples = replace(trace.samples, cpu_ns=trace.samples.weight_ns)
    assert found(NAME, replace(trace, samples=samples)) == []
