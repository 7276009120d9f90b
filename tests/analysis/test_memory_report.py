"""Peaks, growth and who may be behind them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import tinytrace as tt
from tests.builders import START_NS, TraceBuilder, signature_of, trace_of, traces
from tinytrace.analysis.memory_report import MemoryReport, ProcessMemory, memory_report
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

STEP_NS = 1000
KB = 1000


def run(
    n_steps: int = 40, *, live_mb: dict[int, float] | None = None, before: int = 0
) -> TraceBuilder:
    """Steps of 1 µs that make two arrays of 800 and one of 80 bytes, after `before` arrays of 4,000."""
    builder = TraceBuilder()
    builder.process(100)
    builder.thread(0, 100)
    big, small = signature_of("exp", "100->100"), signature_of("sum", "10x10->10")
    init, train = builder.frame("init", "a.py", 1), builder.frame("train", "a.py", 2)
    for number in range(before):
        at_ns = START_NS - 100 * (before - number)
        builder.span(0, at_ns, 50, "zeros", signature=signature_of("zeros", "->500"), callsite=init)
    for number in range(n_steps):
        at_ns = START_NS + number * STEP_NS
        row = builder.span(0, at_ns, STEP_NS, "step", kind=Kind.STEP, step=number)
        for offset, op, signature in ((100, "exp", big), (300, "exp", big), (500, "sum", small)):
            builder.span(0, at_ns + offset, 100, op, parent=row, signature=signature,
                         callsite=train, step=number)  # fmt: skip
    for name in ("array_mb", "array_peak_mb") if live_mb else ():
        series = builder.series(name, "MB")
        for t_ns, value in (live_mb or {}).items():
            builder.counter(series, START_NS + t_ns, value)
    return builder


def one(trace: Trace) -> ProcessMemory:
    (process,) = memory_report(trace).processes
    return process


# --- measured


def test_the_peak_of_arrays_lies_between_two_readings() -> None:
    peak = one(run(live_mb={100: 1.0, 2100: 5.0, 2900: 2.0}).build()).arrays
    assert peak is not None
    assert (peak.bytes, peak.after_ns - START_NS, peak.before_ns - START_NS) == (
        5_000_000,
        100,
        2100,
    )
    assert peak.step is None  # steps 0, 1 and 2 are possible


def test_the_step_of_the_peak_is_told_where_it_can_only_be_one() -> None:
    peak = one(run(live_mb={100: 1.0, 2100: 2.0, 2900: 5.0}).build()).arrays
    assert peak is not None
    assert peak.step == 2


def test_resident_memory_is_known_when_it_was_read() -> None:
    builder = run(3)
    series = builder.series("rss_mb", "MB")
    for t_ns, value in ((500, 50.0), (1500, 70.0), (2500, 60.0)):
        builder.counter(series, START_NS + t_ns, value)
    process = one(builder.build())
    assert process.arrays is None
    assert process.resident is not None
    assert process.resident.bytes == 70_000_000
    assert process.resident.after_ns == process.resident.before_ns == START_NS + 1500
    assert process.resident.step == 1


def test_the_course_of_memory_has_the_most_in_each_part_of_the_time() -> None:
    readings = {500 * n: float(n // 2) for n in range(193) if not 80 <= n < 100}
    course = one(run(live_mb=readings).build()).arrays_over_time
    assert course is not None
    assert (course.start_ns - START_NS, course.end_ns - START_NS) == (0, 96_000)
    # Four readings in each of 48 parts, and in the last one the very last as well.
    in_mb = [None if b is None else b // 1_000_000 for b in course.most_bytes]
    assert in_mb == [*range(1, 40, 2), None, None, None, None, None, *range(51, 95, 2), 96]


def test_the_course_of_a_single_reading_is_one_part() -> None:
    course = one(run(live_mb={100: 2.0}).build()).arrays_over_time
    assert course is not None
    assert course.most_bytes == (2_000_000,)
    assert one(run(live_mb={100: 2.0}).build()).resident_over_time is None


def test_the_floor_is_the_least_that_was_read_in_the_steps() -> None:
    process = one(run(10, live_mb={-900: 0.1, 500: 3.0, 4500: 2.0, 9500: 3.0, 10_500: 0.2}).build())
    assert process.floor_bytes == 2_000_000


def test_allocations_are_counted_per_step() -> None:
    builder = run(10)
    series = builder.series("allocations", "count")
    for t_ns, value in ((-500, 0), (500, 1000), (9500, 1063), (12_000, 5000)):
        builder.counter(series, START_NS + t_ns, value)
    assert one(builder.build()).allocations_per_step == pytest.approx(7)


@pytest.mark.parametrize(
    ("bytes_per_step", "noise", "verdict"),
    [(10 * KB, 0.0, "growing"), (10 * KB, 0.02, "growing"), (0, 0.0, "flat"), (0, 0.002, "flat"),
     (0, 0.3, "not known"), (20, 0.0, "flat"), (-10 * KB, 0.0, "flat")],
)  # fmt: skip
def test_growth_from_step_to_step(bytes_per_step: int, noise: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    live = {
        500 + i * STEP_NS: 2.0 * (1 + noise * rng.standard_normal()) + i * bytes_per_step / 1e6
        for i in range(40)
    }
    growth = one(run(40, live_mb=live).build()).array_growth
    assert growth.verdict == verdict
    assert growth.slope is not None
    assert (
        growth.slope.low <= bytes_per_step <= growth.slope.high
        or growth.slope.low == pytest.approx(bytes_per_step)
    )
    assert growth.steps == 40


def test_memory_that_rises_once_and_stays_is_not_said_to_grow() -> None:
    live = {500 + i * STEP_NS: 2.0 + min(i, 15) * 0.1 for i in range(40)}
    assert one(run(40, live_mb=live).build()).array_growth.verdict != "growing"


def test_noise_is_seldom_said_to_be_growth() -> None:
    rng = np.random.default_rng(0)
    said = 0
    for _ in range(40):
        live = {500 + i * STEP_NS: 2.0 + 0.2 * rng.standard_normal() for i in range(40)}
        said += one(run(40, live_mb=live).build()).array_growth.verdict == "growing"
    assert said <= 3


def test_few_readings_tell_no_growth() -> None:
    growth = one(run(40, live_mb={500: 1.0, 20_500: 2.0, 39_500: 3.0}).build()).array_growth
    # The peaks of the two times between them.
    assert (growth.slope, growth.verdict, growth.typical_bytes) == (None, "not known", 2_500_000)


def sawtooth(every_ns: int, kept_mb: float = 0.0, n_steps: int = 40) -> Trace:
    """Memory rises from 1 to 11 MB within each step, and falls; it is read at regular times."""
    builder = run(n_steps)
    live, peak = builder.series("array_mb", "MB"), builder.series("array_peak_mb", "MB")

    def mb(t_ns: int) -> float:
        step, within = divmod(t_ns, STEP_NS)
        return 1 + 10 * within / STEP_NS + kept_mb * step

    for t_ns in range(1, n_steps * STEP_NS, every_ns):
        since = range(max(0, t_ns - every_ns + 1), t_ns + 1)
        builder.counter(live, START_NS + t_ns, mb(t_ns))
        builder.counter(peak, START_NS + t_ns, max(map(mb, since)))
    return builder.build()


@pytest.mark.parametrize("every_ns", [90, 400, 501, 975, 1000, 1024, 1990, 3010])
def test_what_rises_within_each_step_does_not_grow_however_it_is_read(every_ns: int) -> None:
    growth = one(sawtooth(every_ns)).array_growth
    assert growth.verdict == "flat"
    assert growth.slope is not None and abs(growth.slope.estimate) < 2 * KB


@pytest.mark.parametrize("every_ns", [90, 400, 501, 975, 1000, 1024, 1990, 3010])
def test_what_is_kept_shows_through_what_rises_within_each_step(every_ns: int) -> None:
    growth = one(sawtooth(every_ns, kept_mb=0.1)).array_growth
    assert growth.verdict == "growing"
    assert growth.slope is not None and growth.slope.estimate == pytest.approx(100 * KB, rel=0.1)


# --- modelled


def test_results_of_the_steps_are_told_by_op_and_line() -> None:
    process = one(run(10, before=3).build())
    exp, total = process.modelled_temporaries
    assert (exp.op, exp.place, exp.calls, exp.bytes, exp.largest_bytes) == (
        "exp",
        "a.py:2",
        20,
        16_000,
        800,
    )
    assert (total.op, total.calls, total.bytes) == ("sum", 10, 800)
    assert (process.modelled_bytes_per_step, process.modelled_results_per_step) == (1680, 3)


def test_at_the_peak_are_results_from_outside_of_steps_and_those_of_its_step() -> None:
    process = one(run(10, before=3, live_mb={2100: 1.0, 2550: 5.0}).build())
    found = [(h.op, h.calls, h.bytes) for h in process.modelled_holders]
    assert found == [("zeros", 3, 12_000), ("exp", 2, 1600)]  # `sum` returned at 2,600


def test_of_many_steps_around_the_peak_one_is_taken() -> None:
    process = one(run(10, before=1, live_mb={100: 1.0, 9_900: 5.0}).build())
    found = [(h.op, h.calls, h.bytes) for h in process.modelled_holders]
    assert found == [("zeros", 1, 4000), ("exp", 2, 1600), ("sum", 1, 80)]


def test_what_was_made_after_the_peak_did_not_hold_it() -> None:
    process = one(run(10, before=3, live_mb={-1000: 1.0, -140: 5.0, 5000: 2.0}).build())
    assert [(h.op, h.calls) for h in process.modelled_holders] == [("zeros", 2)]


def test_without_counters_no_peak_and_no_holder_is_told() -> None:
    process = one(run(10, before=3).build())
    assert (process.arrays, process.resident, process.floor_bytes) == (None, None, None)
    assert process.modelled_holders == ()
    assert process.array_growth.verdict == process.resident_growth.verdict == "not known"


def test_a_trace_without_steps_has_peaks_and_holders() -> None:
    builder = run(0, before=3, live_mb={-1000: 1.0, 100: 5.0})
    process = one(builder.build())
    assert process.arrays is not None
    assert [h.op for h in process.modelled_holders] == ["zeros"]
    assert process.modelled_temporaries == ()
    assert process.modelled_bytes_per_step is None


def test_aggregated_ops_are_counted_and_in_nothing_that_is_modelled() -> None:
    builder = run(4)
    signature = builder.signature(signature_of("exp", "100->100"))
    builder.aggregates.append(
        (
            builder.string("exp"),
            Kind.OP,
            0,
            signature,
            -1,
            40,
            40,
            200,
            0,
            5,
            5,
            START_NS,
            START_NS + 9,
        )
    )
    report = memory_report(builder.build())
    assert report.aggregated_ops == 40
    assert report.processes[0].modelled_results_per_step == 3


def test_an_empty_trace_and_one_without_memory_tell_nothing() -> None:
    assert memory_report(Trace()) == MemoryReport((), 0)
    assert memory_report(trace_of("add:3")).processes == ()


@given(traces())
@settings(max_examples=60, deadline=None)
def test_any_trace_has_a_report(trace: Trace) -> None:
    for process in memory_report(trace).processes:
        for holder in (*process.modelled_holders, *process.modelled_temporaries):
            assert 0 < holder.largest_bytes <= holder.bytes <= holder.calls * holder.largest_bytes


def test_what_a_recorded_program_allocates_is_found() -> None:
    with tt.trace(sampler="none") as recording:
        kept = [np.ones(1000) * 2 for _ in range(3)]
        for _ in range(5):
            with tt.step():
                x = np.exp(kept[0])
                x += 1
    trace = recording.result
    assert trace is not None
    process = one(trace)
    (exp,) = process.modelled_temporaries
    assert (exp.op, exp.calls, exp.bytes) == ("exp", 5, 40_000)
    assert exp.place is not None
    assert exp.place.startswith("test_memory_report.py:")
