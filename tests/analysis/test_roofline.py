"""Verdicts, against roofs of round numbers: 50 GFLOP/s, 5 G additions/s, 100 GB/s up to 1 MB, then 10 GB/s."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import START_NS, TraceBuilder, signature_of, trace_of, traces
from tests.peaks_by_hand import PEAKS, exact, level, with_peaks
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.roofline import IMPOSSIBLE, Judgement, Verdict, judge
from tinytrace.tracer.records import Flag
from tinytrace.tracer.trace import Trace

TWO_LEVELS = replace(PEAKS, levels=(level("L2", 1_000_000, 100.0), level("DRAM", None, 10.0)))
PRODUCT = "100x100,100x100->100x100"  # 2·10⁶ FLOPs: 40 µs; 240 kB: 2.4 µs
SUM = "4000,4000->4000"  # 4,000 FLOPs: 800 ns; 96 kB: 960 ns


def verdict_of(op: str, shapes: str, dur_us: float, peaks: Peaks = TWO_LEVELS) -> Judgement:
    """The judgement of one call."""
    return judged(trace_of(f"{op}[{shapes}]:{dur_us}"), peaks)


def judged(trace: Trace, peaks: Peaks | None = TWO_LEVELS, group: int = 0) -> Judgement:
    """The judgement of one group of a trace."""
    _, found = judge(count_trace(trace if peaks is None else with_peaks(trace, peaks)))
    return found[group]


@pytest.mark.parametrize(
    ("op", "shapes", "dur_us", "label", "percent"),
    [
        ("matmul", PRODUCT, 60, "compute-bound", 66.67),
        ("matmul", PRODUCT, 50, "saturated (compute)", 80),
        ("matmul", PRODUCT, 100, "latency", 40),
        ("add", SUM, 1.667, "latency", 57.59),
        ("add", "1000000,1000000->1000000", 3000, "memory-bound (DRAM)", 77),
        ("copy", "50000->50000", 12, "memory-bound (L2)", 66.67),  # 800 kB: 8 µs
        ("exp", "40000->40000", 60, "compute-bound", 66.67),  # 40,000 evaluations: 40 µs
        ("sqrt", "40000->40000", 22, "saturated (compute)", 90.91),  # 20 µs: a roof of its own
    ],
)
def test_verdicts_are_those_computed_by_hand(
    op: str, shapes: str, dur_us: float, label: str, percent: float
) -> None:
    found = verdict_of(op, shapes, dur_us)
    assert found.label == label
    assert found.roof_percent == pytest.approx(percent, rel=1e-3)


def test_two_roofs_that_are_close_to_each_other_are_balanced() -> None:
    slower = replace(TWO_LEVELS, vector_gflops={"float64": exact(4.5)})
    found = verdict_of("add", SUM, 1.334, slower)  # 66.6 % and 72.0 %
    assert found.verdict is Verdict.BALANCED
    assert found.bound is None


def test_a_floor_of_more_than_half_of_the_time_is_overhead() -> None:
    assert verdict_of("add", "10,10->10", 0.799).verdict is Verdict.OVERHEAD
    found = verdict_of("add", "10,10->10", 0.8)
    assert found.verdict is Verdict.LATENCY
    assert found.overhead_percent == 50


def test_an_op_that_does_no_work_is_overhead_however_long_it_takes() -> None:
    found = verdict_of("add", "0x4,0x4->0x4", 30)
    assert (found.verdict, found.overhead_percent, found.roof_ns) == (Verdict.OVERHEAD, 100, 0)


def test_faster_than_a_roof_is_no_result_and_that_goes_before_overhead() -> None:
    found = verdict_of("add", SUM, 0.7)  # the floor is 57 % of it
    assert found.verdict is Verdict.VIOLATION
    assert (found.roof_percent, found.roof_ns) == (None, None)
    assert found.violation_ns == 700
    assert verdict_of("matmul", PRODUCT, 38.2).label == "saturated (compute)"  # 104.7 %
    assert verdict_of("matmul", PRODUCT, 38.0).verdict is Verdict.VIOLATION  # 105.3 %


def test_a_level_that_is_not_resolvable_is_no_roof() -> None:
    bare = replace(TWO_LEVELS, levels=(level("L1", 32_000, 200.0, resolvable=False),), floor_ns={})
    fast, slow = (verdict_of("copy", "1000->1000", dur_us, bare) for dur_us in (0.05, 1.0))
    assert (
        fast.verdict is Verdict.NO_PEAKS
    )  # 160 % of the lower bound: neither violation nor result
    assert fast.roof_percent is None
    assert slow.verdict is Verdict.LATENCY  # memory takes at most 8 % of it
    assert slow.memory_percent is None
    assert verdict_of("matmul", "10x10,10x10->10x10", 0.06, bare).label == "compute-bound"


def test_what_moves_fewer_elements_per_flop_may_be_faster_than_a_sum_of_two_arrays() -> None:
    found = verdict_of("square", "30000->30000", 6.0)  # 30,000 FLOPs, two of three elements: 4 µs
    assert found.compute_percent == pytest.approx(66.67, rel=1e-3)


def test_an_op_without_a_formula_is_uncounted_and_one_without_a_roof_has_no_peaks() -> None:
    assert verdict_of("mystery", "8->8", 50).verdict is Verdict.UNCOUNTED
    assert verdict_of("add", "4000:f2,4000:f2->4000:f2", 50).verdict is Verdict.NO_PEAKS
    assert judged(trace_of(f"add[{SUM}]:5"), None).verdict is Verdict.NO_PEAKS
    assert judged(trace_of(f"add[{SUM}]:5!")).verdict is Verdict.UNCOUNTED


def test_an_op_around_others_is_overhead_by_itself() -> None:
    trace = with_peaks(trace_of("mean[8->.]:9(add.reduce[8->.]:2)"), TWO_LEVELS)
    grouping, found = judge(count_trace(trace))
    labels = [grouping.rows(grouping.largest([1, 0], 2))[i].op for i in range(2)]
    assert sorted(labels) == ["add.reduce", "mean"]
    outer = next(i for i in range(2) if grouping.parts.outer[grouping.parts_of(i)[0]])
    assert found[outer].verdict is Verdict.OVERHEAD
    assert found[outer].overhead_percent == 100


def test_impossible_calls_are_left_out_of_their_group() -> None:
    found = judged(trace_of(f"matmul[{PRODUCT}]:60 matmul[200x200,200x200->200x200]:50"))
    assert found.label == "compute-bound"  # 16·10⁶ FLOPs take 320 µs
    assert (found.judged_ns, found.violation_ns) == (60_000, 50_000)
    assert found.roof_percent == pytest.approx(66.67, rel=1e-3)
    most = judged(trace_of(f"matmul[{PRODUCT}]:60 matmul[200x200,200x200->200x200]:70"))
    assert most.verdict is Verdict.VIOLATION


def test_declared_figures_have_no_roof_since_their_dtype_is_not_known() -> None:
    builder = TraceBuilder()
    builder.process(1)
    builder.span(builder.thread(0, 1), START_NS, 9000, "mine", args={"flops": 1000, "bytes": 8})
    assert judged(builder.build()).verdict is Verdict.NO_PEAKS


def test_folded_calls_are_judged_like_others() -> None:
    builder = TraceBuilder()
    builder.process(1)
    thread = builder.thread(0, 1)
    product = builder.signature(signature_of("matmul", PRODUCT))
    row = (builder.string("matmul"), 0, thread, product, -1, 10, 10, 600_000, 600_000, 1, 90_000)
    builder.aggregates.append((*row, START_NS, START_NS + 10**6))
    assert judged(builder.build()).compute_percent == pytest.approx(66.67, rel=1e-3)


@given(traces())
def test_no_result_is_above_a_roof(trace: Trace) -> None:
    grouping, found = judge(count_trace(with_peaks(trace)))
    for i in range(grouping.count):
        one = found[i]
        shares = (one.compute_percent, one.transcendental_percent, one.memory_percent)
        assert all(0 <= share <= IMPOSSIBLE + 1e-6 for share in shares if share is not None)
        assert one.overhead_percent is None or 0 <= one.overhead_percent <= 100
        assert (
            one.judged_ns + one.violation_ns + one.uncounted_ns + one.no_roof_ns
            <= grouping.sum(grouping.parts.self_ns)[i]
        )


@given(st.sampled_from(["matmul", "add", "exp"]), st.integers(1, 10**6), st.integers(0, 10**6))
def test_the_longer_it_took_the_farther_from_its_roof(op: str, dur_ns: int, more_ns: int) -> None:
    shapes = {"matmul": PRODUCT, "add": SUM, "exp": "4000->4000"}[op]
    shares = []
    for ns in (dur_ns, dur_ns + more_ns):
        found = verdict_of(op, shapes, ns / 1000)
        shares.append(IMPOSSIBLE if found.verdict is Verdict.VIOLATION else found.roof_percent)
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[0] >= shares[1]


def test_raised_calls_are_no_work() -> None:
    trace = trace_of(f"matmul[{PRODUCT}]:60 matmul[{PRODUCT}]:20!")
    assert trace.spans.flags.tolist() == [0, Flag.RAISED]
    found = judged(trace)
    assert (found.judged_ns, found.uncounted_ns) == (60_000, 20_000)
