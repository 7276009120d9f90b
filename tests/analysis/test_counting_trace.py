"""Whole traces: leaves, figures given by the user, coverage, arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings

from tests.builders import START_NS, TraceBuilder, signature_of, trace_of, traces
from tinytrace.analysis.counting import (
    CONVENTION,
    Uncounted,
    count,
    count_trace,
    coverage,
    leaf_mask,
    uncounted,
)
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

MATMUL = signature_of("matmul", "2x3,3x4->2x4")  # 48 FLOPs, 208 bytes read and written
ADD = signature_of("add", "8,8->8")  # 8 FLOPs, 192 bytes
UNKNOWN = signature_of("frobnicate", "8->8")


def one_thread() -> TraceBuilder:
    builder = TraceBuilder()
    builder.process(1)
    builder.thread(0, 1)
    return builder


def test_only_ops_without_an_op_inside_are_counted() -> None:
    trace = trace_of("mean[8->.](add[8,8->8] add[8,8->8]) matmul[2x3,3x4->2x4]")
    counts = count_trace(trace)
    assert leaf_mask(trace).tolist() == [False, True, True, True]
    assert counts.per_span("flops").tolist() == [0, 8, 8, 48]
    assert counts.per_span("bytes").tolist() == [0, 192, 192, 208]
    assert counts.total("flops") == 64
    assert counts.total("bytes") == 592


def test_an_op_inside_a_user_span_inside_an_op_makes_the_outer_op_no_leaf() -> None:
    trace = trace_of("add[8,8->8](span=callback(matmul[2x3,3x4->2x4]))")
    assert count_trace(trace).per_span("flops").tolist() == [0, 0, 48]


def test_spans_that_are_no_ops_contribute_nothing() -> None:
    trace = trace_of("step(layer=fc1(matmul[2x3,3x4->2x4]) instant=mark)")
    assert count_trace(trace).per_span("flops").tolist() == [0, 0, 48, 0]


def test_a_figure_given_by_the_user_stands_for_all_that_ran_inside() -> None:
    builder = one_thread()
    outer = builder.span(0, START_NS, 100, "mine", args={"flops": 1000})
    inner = builder.span(0, START_NS + 1, 50, "helper", kind=Kind.SPAN, parent=outer)
    builder.span(0, START_NS + 2, 20, "matmul", parent=inner, signature=MATMUL)
    builder.span(0, START_NS + 60, 20, "deep", parent=outer, args={"flops": 7, "bytes": 5})
    builder.span(0, START_NS + 200, 20, "matmul", signature=MATMUL)
    counts = count_trace(builder.build())
    assert counts.per_span("flops").tolist() == [1000, 0, 0, 0, 48]
    assert counts.per_span("bytes").tolist() == [0, 0, 208, 5, 208]  # each figure by itself
    assert counts.total("flops") == 1048


@pytest.mark.parametrize(
    "nonsense", ["many", None, -3, True, float("inf"), float("nan"), 2**70, [1]]
)
def test_a_figure_that_makes_no_sense_leaves_the_op_uncounted(nonsense: object) -> None:
    builder = one_thread()
    builder.span(0, START_NS, 100, "mine", args={"flops": nonsense})
    trace = builder.build()
    assert count_trace(trace).per_span("flops").tolist() == [-1]
    assert uncounted(trace) == [Uncounted("mine", 1, 100)]


def test_arguments_of_an_ordinary_span_are_no_figures() -> None:
    builder = one_thread()
    builder.span(0, START_NS, 100, "load", kind=Kind.SPAN, args={"bytes": 5})
    assert count_trace(builder.build()).total("bytes") == 0


@pytest.mark.parametrize("flag", [Flag.RAISED, Flag.OPEN])
def test_an_op_that_did_not_end_normally_is_uncounted(flag: Flag) -> None:
    builder = one_thread()
    builder.span(0, START_NS, 10, "matmul", signature=MATMUL, flags=flag)
    builder.span(0, START_NS + 20, 10, "mine", args={"flops": 9}, flags=flag)
    assert count_trace(builder.build()).per_span("flops").tolist() == [-1, -1]


def test_uncounted_ops_are_listed_with_calls_and_time_longest_first() -> None:
    trace = trace_of(
        "frobnicate:5 matmul[2x3,3x4->2x4]:4 other:20 frobnicate:1",
        signatures={"frobnicate": UNKNOWN},
    )
    assert uncounted(trace) == [Uncounted("other", 1, 20_000), Uncounted("frobnicate", 2, 6_000)]


def test_coverage_is_counted_time_over_the_time_of_leaf_ops() -> None:
    trace = trace_of("step:100(mean:12(frobnicate:3 matmul[2x3,3x4->2x4]:6) _:50 add[8,8->8]:3)")
    assert coverage(trace) == pytest.approx(9 / 12)
    assert coverage(trace_of("step(_:5)")) is None


def test_bytes_have_a_coverage_of_their_own() -> None:
    trace = trace_of("zeros[->8]:3 add[8,8->8]:1")
    assert coverage(trace) == 1
    assert coverage(trace, "bytes") == pytest.approx(1 / 4)
    assert uncounted(trace, "bytes") == [Uncounted("zeros", 1, 3_000)]


def test_aggregated_ops_count_by_their_leaves() -> None:
    builder = one_thread()
    for signature, leaves in ((MATMUL, 10**18), (UNKNOWN, 5), (ADD, 0)):
        ids = (builder.string(signature.op), Kind.OP, 0, builder.signature(signature), -1)
        builder.aggregates.append((*ids, 10**18, leaves, 900, 300, 1, 9, START_NS, START_NS + 900))
    trace = builder.build()
    assert count_trace(trace).total("flops") == 48 * 10**18  # more than 64 bits
    assert uncounted(trace) == [Uncounted("frobnicate", 5, 300)]
    assert coverage(trace) == pytest.approx(0.5)


def test_a_figure_too_large_for_an_array_is_exact_in_counts_and_uncounted_in_the_array() -> None:
    side = 2**22
    huge = signature_of("matmul", f"{side}x{side},{side}x{side}->{side}x{side}")
    builder = one_thread()
    builder.span(0, START_NS, 10, "matmul", signature=huge)
    counts = count_trace(builder.build())
    assert counts.signatures[0].flops == 2**67
    assert counts.flops.tolist() == [-1]
    assert counts.per_span("flops").tolist() == [-1]


def test_arrays_hold_one_entry_per_signature_and_minus_one_for_what_is_not_known() -> None:
    counts = count_trace(
        trace_of(
            "matmul:1 frobnicate:1 zeros[->4]", signatures={"matmul": MATMUL, "frobnicate": UNKNOWN}
        )
    )
    assert counts.flops.tolist() == [48, -1, 0]
    assert counts.transcendentals.tolist() == [0, -1, 0]
    assert counts.comparisons.tolist() == [0, -1, 0]
    assert counts.bytes_read.tolist() == [144, -1, 0]
    assert counts.bytes_written.tolist() == [64, -1, -1]
    assert counts.bytes.tolist() == [208, -1, -1]
    assert counts.nominal.tolist() == [False, False, False]
    assert counts.flops.dtype == np.int64


def test_an_empty_trace_has_nothing_to_count() -> None:
    counts = count_trace(Trace())
    assert len(counts.per_span("flops")) == 0
    assert (counts.total("bytes"), uncounted(Trace()), coverage(Trace())) == (0, [], None)


def test_the_convention_can_be_written_into_a_trace() -> None:
    assert json.loads(json.dumps(CONVENTION)) == CONVENTION
    assert all(isinstance(text, str) and text for text in CONVENTION.values())


@settings(max_examples=80, deadline=None)
@given(traces())
def test_any_trace_can_be_counted_and_no_op_counts_twice(trace: Trace) -> None:
    counts = count_trace(trace)
    for figure in ("flops", "bytes"):
        per_span = counts.per_span(figure)
        assert per_span.min(initial=0) >= -1
        for row in np.flatnonzero(per_span > 0):
            parent = trace.spans.parent[row]
            while parent >= 0:  # nothing above what counts does count
                assert per_span[parent] <= 0
                parent = trace.spans.parent[parent]
        share = coverage(trace, figure)
        assert share is None or 0 <= share <= 1
    assert list(counts.signatures) == [count(signature) for signature in trace.signatures]
