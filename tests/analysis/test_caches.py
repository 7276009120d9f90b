"""Caches: what hardware counters say, by hand; what is modelled beside it; and what is not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from tests.analysis.counted_runs import MS, PER_TICK, TICK_NS, counted_run
from tests.builders import START_NS, TraceBuilder, traces
from tinytrace.analysis.caches import CacheReport, Counted, ProcessCaches, cache_report
from tinytrace.analysis.diff import diff
from tinytrace.analysis.report import report_of
from tinytrace.tracer.trace import Trace


def one(trace: Trace) -> ProcessCaches:
    (process,) = cache_report(trace).processes
    return process


def run(trace: Trace) -> Counted:
    counted = one(trace).run
    assert counted is not None
    return counted


def test_the_figures_of_a_run_are_those_computed_by_hand() -> None:
    assert run(counted_run(20)) == Counted(
        wall_ns=20 * TICK_NS,
        cycles=2e9,
        instructions=3e9,
        l1d_misses=60e6,
        references=60e6,
        misses=15e6,
        instructions_per_cycle=1.5,
        miss_percent=25.0,
        l1d_misses_per_1000=20.0,
        misses_per_1000=5.0,
        fetched_bytes=960e6,
        fetched_gbps=0.96,
    )


def test_a_step_has_what_was_counted_in_it_evenly_between_readings() -> None:
    process = one(counted_run(20))
    assert process.n_steps == 10
    assert process.step is not None
    assert process.step.wall_ns == 2 * TICK_NS - MS
    assert process.step.cycles == pytest.approx(2 * 100e6 * 99 / 100)  # a step is 99 of 100 ms
    assert process.step.instructions_per_cycle == pytest.approx(1.5)
    assert process.page_faults_per_step == pytest.approx(20 * 99 / 100)


def test_steps_that_were_not_read_from_beginning_to_end_are_left_out() -> None:
    trace = counted_run(20)
    late = trace.counters.t_ns >= START_NS + 5 * TICK_NS  # in the middle of step 2
    process = one(replace(trace, counters=trace.counters.take(late)))
    assert process.n_steps == 7
    assert process.step is not None
    assert process.step.cycles == pytest.approx(198e6)
    assert process.run is not None
    assert process.run.cycles == pytest.approx(15 * 100e6)


def test_the_course_shows_when_it_was_slow() -> None:
    builder = TraceBuilder()
    builder.process(7)
    rises = {"cycles": [100] * 20, "instructions": [200] * 10 + [50] * 10}
    for name, each in rises.items():
        series = builder.series(name, "count")
        for tick, total in enumerate(np.cumsum([1, *each]).tolist()):
            builder.counter(series, START_NS + tick * TICK_NS, total)
    builder.meta["hardware_counters"] = {"counted": list(rises)}
    course = one(builder.build()).over_time
    assert [part.instructions_per_cycle for part in course] == pytest.approx([2] * 5 + [0.5] * 5)
    assert sum(part.wall_ns for part in course) == 20 * TICK_NS
    assert sum(part.cycles or 0 for part in course) == pytest.approx(2000)


def test_a_long_run_has_no_more_parts_than_a_line_can_show() -> None:
    assert len(one(counted_run(1000)).over_time) == 48


def test_what_was_not_counted_is_none_and_never_0() -> None:
    counted = run(counted_run(4, {"instructions": 1e6, "llc_misses": 10.0}))
    assert counted.fetched_bytes == 4 * 640
    assert counted.misses_per_1000 == pytest.approx(0.01)
    assert (counted.cycles, counted.references, counted.l1d_misses) == (None, None, None)
    assert (counted.instructions_per_cycle, counted.miss_percent) == (None, None)


def test_the_level_whose_misses_they_are_is_told() -> None:
    assert one(counted_run()).outer == "llc"
    found = one(counted_run(4, {"l2_references": 4.0, "l2_misses": 1.0}))
    assert found.outer == "l2"
    assert found.run is not None
    assert found.run.miss_percent == 25
    assert one(counted_run(4, {"cycles": 1.0})).outer is None


def test_counters_that_took_turns_are_named_with_the_share_of_time_that_they_counted() -> None:
    trace = counted_run(4)
    assert one(trace).scaled == ()
    builder_strings = (*trace.strings, "llc_misses_counted", "%")
    n = len(trace.strings)
    series = trace.series
    more = replace(
        series,
        name_id=np.append(series.name_id, n),
        unit_id=np.append(series.unit_id, n + 1),
        process=np.append(series.process, 0),
    )
    counters = replace(
        trace.counters,
        t_ns=np.append(trace.counters.t_ns, [START_NS, START_NS + TICK_NS]),
        series_id=np.append(trace.counters.series_id, [len(series)] * 2),
        value=np.append(trace.counters.value, [50.0, 62.5]),
    )
    trace = replace(trace, strings=builder_strings, series=more, counters=counters)
    assert one(trace).scaled == (("llc_misses", 62.5),)


def test_measured_and_modelled_agree_or_not() -> None:
    # 10 times two copies of 64 MB; of each at least 32 MB are not in an L3 of 32 MB, at worst nothing is.
    low, high = 10 * (32_000_000 + 32_000_016), 10 * (64_000_000 + 64_000_016)
    for misses, verdict in ((15e6, "agree"), (4.9e6, "less measured"), (41e6, "more measured")):
        found = one(counted_run(20, {"llc_misses": misses / 20})).agreement
        assert found is not None
        assert found.measured_bytes == pytest.approx(64 * misses)
        assert (found.modelled_low_bytes, found.modelled_high_bytes) == (low, high)
        assert found.verdict == verdict


def test_misses_of_the_l2_are_set_beside_what_comes_from_beyond_it() -> None:
    found = one(counted_run(20, {"l2_misses": 1e6})).agreement
    assert found is not None
    assert found.modelled_low_bytes == 10 * (63_000_000 + 63_000_016)  # an L2 of 1 MB
    assert found.modelled_high_bytes == 10 * (64_000_000 + 64_000_016)


def test_without_misses_or_without_roofs_nothing_is_compared() -> None:
    assert one(counted_run(4, {"cycles": 1.0})).agreement is None
    trace = counted_run(4)
    bare = replace(trace, meta={k: v for k, v in trace.meta.items() if k != "peaks"})
    process = one(bare)
    assert (process.modelled.at_worst, process.agreement) == ((), None)
    assert process.modelled.unknown_bytes == 2 * (64_000_000 + 64_000_016)


def test_counters_of_the_program_that_have_the_same_names_are_its_own() -> None:
    trace = counted_run(4)
    meta = {**trace.meta, "hardware_counters": {"counted": [], "missing": {"cycles": "ENOENT"}}}
    assert one(replace(trace, meta=meta)).run is None


def test_each_process_has_its_own() -> None:
    builder = TraceBuilder()
    for pid in (1, 2):
        process = builder.process(pid)
        series = builder.series("cycles", "count", process)
        for tick in range(3):
            builder.counter(series, START_NS + tick * TICK_NS, pid * (1 + tick))
    builder.meta["hardware_counters"] = {"counted": ["cycles"]}
    found = cache_report(builder.build()).processes
    assert [one.run.cycles for one in found if one.run] == [2, 4]


@pytest.mark.parametrize("by", ["op", "layer", "step", "callsite", "thread"])
def test_what_is_modelled_is_the_same_whatever_the_table_of_ops_is_made_by(by: str) -> None:
    trace = counted_run()
    assert report_of(trace, by=by).caches == cache_report(trace)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({}, "the trace has none"),
        ({"refused": "off"}, "they were switched off (--hardware-counters off)"),
        ({"refused": "virtual"}, "in a virtual machine each switch of threads would cost more"),
        ({"refused": "what?"}, "they were not tried"),
        ({"missing": {"cycles": "ENOENT"}}, "this machine's kernel offers no such counters (ENOENT)"),
        ({"missing": {"cycles": "EACCES"}, "paranoid": 4}, "perf_event_paranoid is 4, 2 is needed"),
        ({"missing": {"cycles": "EPERM"}, "paranoid": 2}, "perhaps by a filter of system calls"),
        ({"missing": {"cycles": "ENOSYS"}}, "the kernel does not count them here (ENOSYS)"),
        ({"counted": ["cycles"]}, "they stood still, or the program was too short"),
    ],
)  # fmt: skip
def test_why_nothing_was_measured_is_said(meta: dict[str, object], said: str) -> None:
    report = cache_report(Trace(meta={"hardware_counters": meta}))
    assert said in str(report.why_none)
    assert report.missing == ()


def test_what_is_not_in_the_figures_is_said() -> None:
    found = cache_report(counted_run(missing={"l1d_misses": "ENOENT"}, earlier_threads=3, children=True))  # fmt: skip
    assert found.why_none is None
    assert found.missing == (
        "not counted: L1d misses, since this machine's kernel offers no such counters (ENOENT)",
        "not in them: 3 threads that were there before the recording began",
        "this kernel counts processes that the program forks together with it",
    )


@given(traces())
def test_any_trace_has_an_answer(trace: Trace) -> None:
    assert cache_report(trace).why_none == "the trace has none"


@pytest.mark.parametrize(
    "meta", [7, [], {"counted": 7}, {"missing": [1], "paranoid": "x"}, {"counted": [1, "cycles"]}]
)
def test_whatever_a_trace_tells_of_its_counters_there_is_an_answer(meta: object) -> None:
    found = cache_report(Trace(meta={"hardware_counters": meta}))
    assert isinstance(found, CacheReport)
    assert found.why_none


def test_a_single_reading_is_no_time() -> None:
    assert one(counted_run(0)).run is None
    assert set(PER_TICK) >= {"cycles"}


def test_a_comparison_says_what_was_counted_in_both() -> None:
    slower = {**PER_TICK, "cycles": 150e6, "llc_misses": 1.5e6}
    notes = diff(counted_run(), counted_run(per_tick=slower)).notes
    assert (
        "counters of the CPU, of the whole process: instructions per cycle 1.50 and 1.00; L1d misses per 1,000 "
        "instructions 20.0 and 20.0; LLC misses per 1,000 instructions 5.00 and 10.0; LLC misses, % of its references "
        "25.0 and 50.0; from DRAM, estimated GB/s 0.960 and 1.92"
    ) in notes
    assert "only the first trace has counters of the CPU" in diff(counted_run(), Trace()).notes
    assert "only the second trace has counters of the CPU" in diff(Trace(), counted_run()).notes
    other = counted_run(per_tick={"l2_misses": 1.0})
    assert (
        "counters of the CPU: the misses of different caches were counted"
        in diff(counted_run(), other).notes
    )
    assert not [note for note in diff(Trace(), Trace()).notes if "counters" in note]
