"""Rules that look at the run as a whole: walks, waiting, saving, threads of BLAS, growth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.analysis.findings.traces import FILE, MS, found
from tests.builders import START_NS, TraceBuilder, signature_of, trace_of
from tinytrace.analysis.findings import (
    data_wait,
    memory_growth,
    oversubscribed,
    revisited_graph,
    saving,
)
from tinytrace.tracer.trace import Trace

ADD = signature_of("add", "8:f4,8:f4->8:f4")


def walk(
    ops_inside: int, *, name: str = "Tensor.backward", depth: int = 3, shared: int = 0
) -> Trace:
    """A forward pass of two ops, then a walk that calls itself, with so many ops; sampled every ms.

    A function that both call has ``shared`` ops more; it is seen once in either.
    """
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    main = builder.frame("main", FILE, 1)
    again, leaf = builder.frame(name, FILE, 20), builder.frame("derivative", FILE, 30)
    for number in range(2):
        builder.span(0, START_NS + number * MS, MS, "add", signature=ADD, callsite=main)
        builder.sample(0, START_NS + (number + 1) * MS, MS, [main])
    for number in range(2, 2 + ops_inside):
        at_ns = START_NS + number * MS
        builder.span(0, at_ns, MS, "add", signature=ADD, callsite=leaf)
        builder.sample(0, at_ns + MS, MS, [main, *[again] * depth, leaf])
    both, end_ns = builder.frame("Tensor.__init__", FILE, 40), START_NS + (2 + ops_inside) * MS
    for number in range(shared):
        builder.span(0, end_ns + number, 1, "add", signature=ADD, callsite=both)
    for stack in ([main, both], [main, again, both]) if shared else ():
        builder.sample(0, end_ns + shared, 0, stack)
    return builder.build()


def test_a_walk_with_many_more_ops_than_the_rest_is_named() -> None:
    [finding] = found(revisited_graph.NAME, walk(40))
    assert (finding.line, finding.function) == (20, "Tensor.backward")
    # 40 ops for 2: all but a twentieth of the 40 ms.
    assert finding.ceiling_ns == 38 * MS
    assert "it calls itself 3 deep" in finding.evidence


def test_a_walk_with_as_many_ops_as_a_backward_pass_has_is_let_be() -> None:
    assert found(revisited_graph.NAME, walk(8)) == []


def test_what_does_not_call_itself_is_no_walk() -> None:
    assert found(revisited_graph.NAME, walk(40, depth=1)) == []


def test_layers_in_layers_are_no_walk() -> None:
    assert found(revisited_graph.NAME, walk(40, name="Module.__call__")) == []


def test_what_runs_inside_the_walk_and_outside_counts_for_neither() -> None:
    [finding] = found(revisited_graph.NAME, walk(40, shared=100))
    assert "40 ops inside the walk, 2 elsewhere: 20 times as many" in finding.evidence


@pytest.mark.parametrize(("wait", "named"), [(4, False), (6, True)])
def test_waiting_is_named_from_five_percent_on(wait: int, named: bool) -> None:
    trace = trace_of(f"data:{wait}@train.py:5:loop add:{100 - wait}@train.py:6:loop")
    assert [f.line for f in found(data_wait.NAME, trace)] == ([5] if named else [])


def saved(saving_ms: int, module: str) -> Trace:
    builder = TraceBuilder()
    builder.process(1, end_ns=START_NS + 400 * MS)
    builder.thread(0, 1)
    work, call = builder.frame("work", FILE, 3), builder.frame("epoch", FILE, 9)
    inner = builder.frame("write", module, 700)
    for number in range(400):
        stack = [call, inner] if number < saving_ms else [work]
        builder.sample(0, START_NS + (number + 1) * MS, MS, stack)
    return builder.build()


@pytest.mark.parametrize(
    "module",
    ["/usr/lib/python3.11/logging/__init__.py", "/x/site-packages/numpy/lib/_npyio_impl.py"],
)
def test_the_line_that_logs_or_saves_is_named(module: str) -> None:
    [finding] = found(saving.NAME, saved(21, module))
    assert (finding.file, finding.line, finding.ceiling_ns) == (FILE, 9, 21 * MS)


def test_little_saving_is_let_be() -> None:
    assert found(saving.NAME, saved(19, "/usr/lib/python3.11/logging/__init__.py")) == []


def test_other_libraries_are_no_saving() -> None:
    assert found(saving.NAME, saved(90, "/usr/lib/python3.11/heapq.py")) == []


def products(threads: int, cores: int, us: int = 90_000) -> Trace:
    trace = trace_of(f"matmul[100x100:f4,100x100:f4->100x100:f4]:{us}@m.py:2:forward")
    told = {"numerics": {"threads": threads}, "machine": {"usable_cpus": cores}}
    return replace(trace, meta={**trace.meta, **told})


def test_more_threads_than_cores_are_named() -> None:
    [finding] = found(oversubscribed.NAME, products(8, 2))
    assert (finding.title, finding.line) == ("BLAS runs 8 threads on 2 cores", 2)
    assert finding.ceiling_ns == 90_000_000 - 20_000  # 2 MFLOP at 100 GFLOP/s


@pytest.mark.parametrize(("threads", "cores", "us"), [(2, 2, 90_000), (8, 2, 21)])
def test_as_many_threads_as_cores_or_products_at_their_roof_are_let_be(
    threads: int, cores: int, us: int
) -> None:
    assert found(oversubscribed.NAME, products(threads, cores, us)) == []


def arrays_in_steps(grows_mb: float, steps: int = 40, swing_mb: float = 0) -> Trace:
    builder = TraceBuilder()
    trace = trace_of("step(add:10000@m.py:3:f) " * steps)
    builder.strings = {s: i for i, s in enumerate(trace.strings)}
    for name in ("array_mb", "array_peak_mb"):
        series = builder.series(name, "MB")
        for number in range(steps):
            builder.counter(
                series,
                START_NS + number * 10 * MS + 5 * MS,
                100 + grows_mb * number + swing_mb * (number % 3),
            )
    read = builder.build()
    return replace(trace, strings=read.strings, series=read.series, counters=read.counters)


def test_arrays_that_are_kept_from_step_to_step_are_named_without_a_gain_in_time() -> None:
    [finding] = found(memory_growth.NAME, arrays_in_steps(2.0))
    assert finding.ceiling_ns is None
    assert "live arrays grow by 2 MB per step" in finding.evidence[0]


def test_memory_that_stays_is_let_be() -> None:
    assert found(memory_growth.NAME, arrays_in_steps(0.0)) == []


def test_growth_over_a_few_steps_is_not_known() -> None:
    assert found(memory_growth.NAME, arrays_in_steps(2.0, steps=5)) == []


@pytest.mark.parametrize(("later_ms", "named"), [(0, True), (100, False)])
def test_threads_of_processes_at_one_time_add_up(later_ms: int, named: bool) -> None:
    builder = TraceBuilder()
    product = signature_of("matmul", "100x100:f4,100x100:f4->100x100:f4")
    frame = builder.frame("forward", FILE, 2)
    for number in range(2):
        start_ns = START_NS + number * later_ms * MS
        process = builder.process(10 + number, start_ns=start_ns, end_ns=start_ns + 90 * MS)
        thread = builder.thread(process, 10 + number)
        builder.span(thread, start_ns, 90 * MS, "matmul", signature=product, callsite=frame)
    trace = builder.build()
    told = {"numerics": {"threads": 2}, "machine": {"usable_cpus": 2}}
    findings = found(oversubscribed.NAME, replace(trace, meta={**trace.meta, **told}))
    assert [f.title for f in findings] == (["BLAS runs 4 threads on 2 cores"] if named else [])


def test_memory_that_swings_too_much_to_tell_is_let_be() -> None:
    assert found(memory_growth.NAME, arrays_in_steps(0.0, steps=10, swing_mb=40)) == []


def test_counters_of_a_run_without_steps_tell_no_growth() -> None:
    trace = trace_of("add:9@m.py:3:f")
    builder = TraceBuilder(strings={s: i for i, s in enumerate(trace.strings)})
    builder.counter(builder.series("allocations", "count"), START_NS, 1.0)
    read = builder.build()
    trace = replace(trace, strings=read.strings, series=read.series, counters=read.counters)
    assert found(memory_growth.NAME, trace) == []
