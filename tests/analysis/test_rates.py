"""Rates over time: nothing lost, nothing invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import START_NS, TraceBuilder, big_trace, signature_of, trace_of, traces
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.rates import MAX_POINTS, RateCounter, rate_counters
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

MATMUL = "matmul[2x3,3x4->2x4]"  # 48 FLOPs, 8·(6+12+8) bytes


def _named(trace: Trace, name: str, bin_ns: int | None = None) -> RateCounter:
    (found,) = [rate for rate in rate_counters(trace, bin_ns) if rate.name == name]
    return found


def test_the_work_of_an_op_is_spread_evenly_over_its_duration() -> None:
    rate = _named(trace_of(f"_:2 {MATMUL}:4"), "gflops", bin_ns=1000)
    assert (rate.t_ns - START_NS).tolist() == [2000, 3000, 4000, 5000, 6000, 7000]
    assert rate.value.tolist() == pytest.approx([0.012, 0.012, 0.012, 0.012, 0, 0])
    assert (rate.unit, rate.process) == ("GFLOP/s", 0)


def test_bins_that_an_op_covers_in_part_get_their_part() -> None:
    rate = _named(trace_of(f"{MATMUL}:3"), "gflops", bin_ns=2000)
    assert (rate.value * 2000).tolist() == pytest.approx([32, 16, 0])


def test_bytes_are_read_and_written_ones() -> None:
    rate = _named(trace_of(f"{MATMUL}:1"), "gbps", bin_ns=1000)
    assert rate.value[0] * 1000 == pytest.approx(8 * (6 + 12 + 8))
    assert rate.unit == "GB/s"


def test_an_op_with_ops_inside_counts_nothing_twice() -> None:
    rate = _named(trace_of(f"{MATMUL}:4({MATMUL}:1 {MATMUL}:1)"), "gflops", bin_ns=10_000)
    assert rate.value.sum() * 10_000 == pytest.approx(96)


def test_an_op_without_duration_keeps_its_work() -> None:
    rate = _named(trace_of(f"{MATMUL}:0"), "gflops", bin_ns=1000)
    assert rate.value.tolist() == pytest.approx([0.048, 0])


def test_uncounted_ops_give_no_rate() -> None:
    assert rate_counters(trace_of("mystery[8->8]:5 mystery:3")) == []


def test_idle_time_between_large_and_small_ops_is_exactly_zero() -> None:
    huge = "matmul[3333x777,777x3333->3333x3333]"
    rate = _named(trace_of(f"{huge}:3.3 _:50 {MATMUL}:2.7 _:50 {huge}:7.7"), "gflops", bin_ns=1000)
    assert (rate.value[5:52] == 0).all()
    assert (rate.value >= 0).all()


def test_each_process_has_rates_of_its_own() -> None:
    builder = TraceBuilder()
    signature = signature_of("add", "10,10->10")
    for pid, calls in ((1, 1), (2, 3)):
        thread = builder.thread(builder.process(pid), pid)
        for call in range(calls):
            builder.span(thread, START_NS + call * 1000, 1000, "add", signature=signature)
    rates = [r for r in rate_counters(builder.build(), 10_000) if r.name == "gflops"]
    assert [(r.process, round(r.value.sum() * 10_000)) for r in rates] == [(0, 10), (1, 30)]


def test_the_work_of_aggregates_is_spread_over_their_time() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    signature = builder.signature(signature_of("add", "10,10->10"))
    builder.aggregates.append(
        (builder.string("add"), Kind.OP, thread, signature, -1, 6, 4, 600, 600, 1, 99, START_NS,
         START_NS + 4000)
    )  # fmt: skip
    rate = _named(builder.build(), "gflops", bin_ns=2000)
    assert (rate.value * 2000).tolist() == pytest.approx([20, 20, 0, 0])


def test_a_rate_that_the_trace_holds_is_not_derived_again() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(1), 1)
    builder.span(thread, START_NS, 10, "add", signature=signature_of("add", "2,2->2"))
    builder.series("gflops", "GFLOP/s")
    assert [rate.name for rate in rate_counters(builder.build())] == ["gbps"]


def test_a_long_trace_gets_few_points() -> None:
    trace = big_trace(1_000_000)
    for rate in rate_counters(trace):
        assert MAX_POINTS // 2 < len(rate.t_ns) <= MAX_POINTS
        assert rate.value[-1] == 0


def test_a_bin_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="bin_ns"):
        rate_counters(Trace(), 0)


@settings(max_examples=60)
@given(traces(), st.sampled_from([None, 1_000_000, 77_777_777]))
def test_the_sum_over_bins_is_the_work_of_the_trace(trace: Trace, bin_ns: int | None) -> None:
    counts = count_trace(trace)
    rates = rate_counters(trace, bin_ns)
    for name in ("flops", "bytes"):
        counted = [r for r in rates if r.name == {"flops": "gflops", "bytes": "gbps"}[name]]
        spread = sum(float(r.value[:-1] @ np.diff(r.t_ns)) for r in counted)
        assert spread == pytest.approx(counts.total(name), rel=1e-9)
        assert all((rate.value >= 0).all() for rate in counted)
