"""Tables of ops: what belongs together, and its figures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import START_NS, TraceBuilder, big_trace, trace_of, traces
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.op_groups import WAYS, By, group_ops
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.spans import self_ns
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

TRAINING = (
    "step(layer=fc1(matmul[2x3,3x4->2x4]:5@train.py:3:fwd add[8,8->8]:1@train.py:4:fwd) layer=fc2(matmul:2))"
    "step(span=outer(layer=fc1(matmul:7@train.py:3:fwd)) exp[8->8]:1@train.py:9)"
)


def spent_us(trace: Trace, by: By) -> dict[str | None, float]:
    """Self time per label."""
    return {row.label: row.self_ns / 1000 for row in group_ops(trace, by)}


def test_ops_are_grouped_in_every_way() -> None:
    trace = trace_of(TRAINING, worker="add:4")
    assert spent_us(trace, "op") == {"matmul": 14, "add": 5, "exp": 1}
    assert spent_us(trace, "callsite") == {
        "train.py:3 fwd": 12, None: 6, "train.py:4 fwd": 1, "train.py:9": 1,
    }  # fmt: skip
    assert spent_us(trace, "layer") == {"fc1": 13, None: 5, "fc2": 2}
    assert spent_us(trace, "step") == {"0": 8, "1": 8, None: 4}
    assert spent_us(trace, "thread") == {"MainThread": 16, "worker": 4}


def test_a_row_has_the_figures_that_hand_computation_gives() -> None:
    row = group_ops(trace_of("matmul[2x3,3x4->2x4]:4 matmul[2x3,3x4->2x4]:8@a.py:1 matmul:3!"))[0]
    assert (row.label, row.op, row.calls, row.self_ns, row.total_ns) == (
        "matmul", "matmul", 3, 15_000, 15_000,
    )  # fmt: skip
    assert (row.flops, row.bytes, row.transcendentals) == (96, 416, 0)
    assert row.gflops == 96 / 12_000
    assert row.footprint_bytes == 208
    assert (row.callsite, row.n_callsites, row.uncounted_calls) == ("a.py:1", 2, 1)
    assert (row.p50_ns, row.p99_ns) == (4000, 8000)
    assert row.percent == 100


def test_quantiles_are_durations_that_calls_took() -> None:
    row = group_ops(trace_of(" ".join(f"add:{n}" for n in range(1, 201))))[0]
    assert (row.p50_ns, row.p99_ns) == (100_000, 198_000)


def test_quantiles_of_folded_calls_are_not_known() -> None:
    builder = TraceBuilder()
    builder.process(1)
    thread = builder.thread(0, 1)
    builder.span(thread, START_NS, 5000, "add")
    folded = (Kind.OP, thread, -1, -1, 3, 3, 9000, 9000, 1000, 4000, START_NS, START_NS + 10**5)
    builder.aggregates.append((builder.string("add"), *folded))
    row = group_ops(builder.build())[0]
    assert (row.calls, row.self_ns, row.p50_ns, row.p99_ns) == (4, 14_000, None, None)


def test_calls_that_count_differently_are_never_in_one_part() -> None:
    trace = trace_of(
        "mean[8->.](add.reduce[8->.]:2) mean[8->.]:3 mean[8->.]:3! mean[8->.]:3@a.py:1"
    )
    parts = op_parts(count_trace(trace))
    assert sorted(parts.calls.tolist()) == [1, 1, 1, 1, 1]
    assert parts.leaves.sum() == 3


def test_a_big_trace_has_few_parts() -> None:
    assert len(op_parts(count_trace(big_trace(10_000, kinds=200)))) == 200


@given(traces(), st.sampled_from(WAYS))
def test_groups_lose_no_call_and_no_time(trace: Trace, by: By) -> None:
    rows = group_ops(trace, by)
    is_op, folded = trace.spans.kind == Kind.OP, trace.aggregates
    assert sum(row.calls for row in rows) == is_op.sum() + folded.count.sum()
    own_ns = self_ns(trace.spans)[is_op].sum() + folded.self_ns.sum()
    assert sum(row.self_ns for row in rows) == own_ns
    assert [row.self_ns for row in rows] == sorted((row.self_ns for row in rows), reverse=True)


def test_work_of_several_signatures_is_added_up() -> None:
    row = group_ops(trace_of("add[8,8->8]:1 add[4,4->4]:1"))[0]
    assert (row.flops, row.bytes) == (12, 12 * 24)
