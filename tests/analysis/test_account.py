"""The account of the main thread: every line by hand, and all of them add up to 100 %."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from tests.builders import START_NS, TraceBuilder, random_trace, signature_of, trace_of, traces
from tests.peaks_by_hand import with_peaks
from tinytrace.analysis.account import Account, Where, account_of, main_thread, typical_steps
from tinytrace.analysis.between_ops import between_ops_ns
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

PRODUCT = signature_of("matmul", "100x100,100x100->100x100")  # 40 µs at the roof
US = 1000


def run(*, audit: dict[str, int] | None = None) -> Trace:
    """1,000 µs: an op to 60, waiting for data to 160, samples of 100 µs each up to 900."""
    builder = TraceBuilder()
    builder.process(7, start_ns=START_NS, end_ns=START_NS + 1000 * US)
    builder.thread(0, 99, "worker")
    thread = builder.thread(0, 7)
    main = builder.frame("main", "/a/train.py", 5)
    stacks = {
        "python": [main], "other": [builder.frame("other", "/a/train.py", 9)],
        "import": [main, builder.frame("_find_and_load", "<frozen importlib._bootstrap>", 1)],
        "ours": [main, builder.frame("tick", "/v/tinytrace/tracer/counters.py", 1)],
    }  # fmt: skip
    builder.span(thread, START_NS, 60 * US, "matmul", signature=PRODUCT)
    wait = builder.span(thread, START_NS + 60 * US, 100 * US, "next", kind=Kind.DATA)
    builder.span(thread, START_NS + 100 * US, 20 * US, "matmul", signature=PRODUCT, parent=wait)
    seen = ["python", "python", "other", "python", "import", "ours", "other", "python", "python"]
    for number, what in enumerate(seen):
        cpu_ns = {6: 0, 7: -1}.get(number, 100 * US)
        t_ns = START_NS + (number + 1) * 100 * US
        builder.sample(thread, t_ns, 100 * US, stacks[what], cpu_ns)
    if audit is not None:
        builder.meta["audit"] = audit
    return with_peaks(builder.build())


def spent_us(account: Account | None) -> dict[Where, float]:
    """The lines that have any time, µs."""
    assert account is not None
    return {entry.where: entry.spent_ns / US for entry in account.entries if entry.spent_ns}


def test_each_line_of_the_account_is_what_hand_computation_gives() -> None:
    account = account_of(run())
    assert spent_us(account) == {
        Where.COMPUTE: 60,
        Where.DATA_WAIT: 100,  # the op that loads is part of it
        Where.PYTHON: 40 + 100 + 100 + 100,  # of the first two samples what lies outside of both
        Where.IMPORTS: 100,
        Where.PROFILER: 100,
        Where.BLOCKED: 100,
        Where.NOT_KNOWN_RUNNING: 100,
        Where.UNATTRIBUTED: 100,  # after the last sample
    }
    assert account is not None
    assert account.thread == "MainThread"
    assert [(line.place, line.spent_ns / US) for line in account.python] == [
        ("train.py:5", 240), ("train.py:9", 100),
    ]  # fmt: skip
    assert not account.profiler_known
    assert not account.scaled


def test_what_recording_ops_cost_is_taken_from_python_and_sampling_from_waiting() -> None:
    account = account_of(run(audit={"overhead_ns_per_op": 10 * US, "sampler_busy_ns": 4 * US}))
    found = spent_us(account)
    sampling = 4 * 0.74  # of the 1,000 µs 740 lie outside of ops
    assert found[Where.PROFILER] == pytest.approx(100 + 3 * 10 + sampling)
    assert found[Where.PYTHON] == 340 - 30
    assert found[Where.BLOCKED] == pytest.approx(100 - sampling)
    assert account is not None
    assert sum(line.percent for line in account.python) == pytest.approx(31)
    assert account.profiler_known


def test_the_account_adds_up_to_the_wall_time_exactly() -> None:
    account = account_of(run(audit={"overhead_ns_per_op": 77, "sampler_busy_ns": 13}))
    assert account is not None
    assert sum(entry.spent_ns for entry in account.entries) == account.wall_ns == 1_000_000


@given(traces())
def test_every_account_adds_up_and_has_no_negative_line(trace: Trace) -> None:
    steps = typical_steps(trace)
    for account in (account_of(with_peaks(trace)), steps and account_of(trace, steps)):
        if account is None:
            continue
        assert sum(entry.spent_ns for entry in account.entries) == account.wall_ns
        assert all(entry.spent_ns >= 0 for entry in account.entries)
        assert sum(entry.percent for entry in account.entries) == pytest.approx(100)
        assert {entry.where for entry in account.entries} == set(Where)


def test_without_samples_the_rest_cannot_be_attributed() -> None:
    trace = with_peaks(trace_of("matmul[100x100,100x100->100x100]:60 _:40 mystery:5"))
    assert spent_us(account_of(trace)) == {
        Where.COMPUTE: 60, Where.UNCOUNTED: 5, Where.UNATTRIBUTED: 40,
    }  # fmt: skip


def test_without_peaks_ops_have_no_verdict() -> None:
    trace = trace_of("matmul[100x100,100x100->100x100]:60")
    assert spent_us(account_of(trace)) == {Where.NOT_JUDGED: 60}


def test_a_trace_without_threads_has_no_account() -> None:
    assert account_of(Trace()) is None
    assert main_thread(Trace()) is None


def test_the_main_thread_has_the_id_of_its_process_else_it_is_the_busiest() -> None:
    trace = run()
    assert main_thread(trace) == 1
    processes = trace.processes
    other = replace(processes, pid=np.array([12345]))
    assert main_thread(replace(trace, processes=other)) == 1
    assert main_thread(trace_of("add:1", worker="add:1 add:1")) == 0


def test_folded_ops_take_their_time_from_what_lies_between() -> None:
    builder = TraceBuilder()
    builder.process(7, start_ns=START_NS, end_ns=START_NS + 100 * US)
    thread = builder.thread(0, 7)
    line = [builder.frame("main", "a.py", 1)]
    builder.sample(thread, START_NS + 100 * US, 100 * US, line, 100 * US)
    row = (builder.string("mystery"), Kind.OP, thread, -1, -1, 9, 9, 70 * US, 70 * US, 1, 9000)
    builder.aggregates.append((*row, START_NS, START_NS + 100 * US))
    account = account_of(builder.build())
    assert spent_us(account) == {Where.UNCOUNTED: 70, Where.PYTHON: 30}
    assert account is not None
    assert account.scaled


def test_the_median_step_is_the_mean_of_the_middle_half() -> None:
    steps = " ".join(
        f"step(matmul[100x100,100x100->100x100]:{n} _:10)" for n in (60, 70, 58, 62, 55)
    )
    trace = with_peaks(trace_of(steps))
    windows = typical_steps(trace)
    assert windows is not None
    assert (windows[1] - windows[0]).tolist() == [70_000, 68_000, 72_000]
    account = account_of(trace, windows)
    assert account is not None
    assert (account.wall_ns, account.n_windows) == (70_000, 3)
    assert spent_us(account) == {Where.COMPUTE: 60, Where.UNATTRIBUTED: 10}


def test_time_between_ops_is_what_the_samples_stand_for_less_the_ops() -> None:
    builder = TraceBuilder()
    builder.process(7)
    thread = builder.thread(0, 7)
    line = [builder.frame("main", "a.py", 1)]
    outer = builder.span(thread, START_NS + 10, 20, "mean")
    builder.span(thread, START_NS + 12, 5, "add.reduce", parent=outer)
    builder.span(thread, START_NS + 40, 100, "forward", kind=Kind.SPAN)
    for t_ns, weight_ns in ((20, 20), (50, 30), (60, 20)):  # the last one overlaps by 10
        builder.sample(thread, START_NS + t_ns, weight_ns, line)
    assert between_ops_ns(builder.build()).tolist() == [10, 20, 10]


@given(traces())
def test_time_between_ops_is_never_more_than_the_samples_stand_for(trace: Trace) -> None:
    found = between_ops_ns(trace)
    assert (found >= 0).all()
    assert (found <= trace.samples.weight_ns).all()


def test_stretches_of_time_add_up_to_the_whole() -> None:
    trace = random_trace(3, 40)
    cuts = START_NS + np.arange(-(10**7), 10**9, 10**6)
    whole = between_ops_ns(trace, (cuts[:1], cuts[-1:]))
    parts = sum(
        between_ops_ns(trace, (cuts[i : i + 1], cuts[i + 1 : i + 2])) for i in range(len(cuts) - 1)
    )
    assert np.array_equal(whole, parts)
    assert np.array_equal(whole, between_ops_ns(trace, (cuts[:-1], cuts[1:])))
