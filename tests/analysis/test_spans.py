"""Span arithmetic: against slow and obvious computations."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import trace_of, traces
from tinytrace.analysis.spans import kept_parent, leaf_ops, op_tree, self_ns
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace


def test_self_time_is_what_the_children_leave() -> None:
    trace = trace_of("step:10(matmul:5(add:2) relu:1)")
    assert self_ns(trace.spans).tolist() == [4000, 3000, 2000, 1000]


def test_a_detached_child_takes_no_time_from_its_parent() -> None:
    trace = trace_of("step:10(io~:7)")
    assert self_ns(trace.spans).tolist() == [10_000, 7_000]


def test_an_op_is_no_leaf_when_an_op_ran_inside_it_at_any_depth() -> None:
    trace = trace_of("mean(span=inner(sum(add))) exp")
    ops = [trace.strings[i] for i in trace.spans.name_id[leaf_ops(trace.spans)]]
    assert ops == ["add", "exp"]


def _ancestors(trace: Trace, row: int) -> list[int]:
    found = []
    while row >= 0:
        found.append(row)
        row = int(trace.spans.parent[row])
    return found


@given(traces())
def test_columns_agree_with_walking_from_span_to_span(trace: Trace) -> None:
    spans = trace.spans
    own_ns, leaf, tree = self_ns(spans), leaf_ops(spans), op_tree(spans)
    above = [_ancestors(trace, row) for row in range(len(spans))]
    for row in range(len(spans)):
        children = np.flatnonzero((spans.parent == row) & (spans.flags & Flag.DETACHED == 0))
        assert own_ns[row] == max(0, spans.dur_ns[row] - spans.dur_ns[children].sum())
        inside = [r for r in range(len(spans)) if r != row and row in above[r]]
        is_op = spans.kind[row] == Kind.OP
        assert leaf[row] == (is_op and not any(spans.kind[r] == Kind.OP for r in inside))
        ops_above = [r for r in above[row] if spans.kind[r] == Kind.OP]
        assert tree[row] == (ops_above[-1] if ops_above else -1)


@given(traces(), st.integers(0, 2**40))
def test_a_kept_span_hangs_from_the_nearest_kept_one_above(trace: Trace, bits: int) -> None:
    n = len(trace.spans)
    kept = np.array([bits >> (row % 41) & 1 for row in range(n)], "?")
    rows = np.flatnonzero(kept)
    parents = kept_parent(trace.spans.parent, kept)
    for row, parent in zip(rows.tolist(), parents.tolist(), strict=True):
        expected = next((r for r in _ancestors(trace, row)[1:] if kept[r]), -1)
        assert (rows[parent] if parent >= 0 else -1) == expected


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([-(2**62), 0, 5, 2**61]))))
def test_groups_are_numbered_in_the_order_of_their_values(rows: list[tuple[int, int]]) -> None:
    columns = [np.array([row[i] for row in rows], "i8") for i in range(2)]
    ids, count = group_ids(columns)
    distinct = sorted(set(rows))
    assert count == len(distinct)
    assert [distinct[i] for i in ids] == rows
    assert [rows[i] for i in first_rows(ids, count)] == distinct
    assert all(rows.index(distinct[i]) == r for i, r in enumerate(first_rows(ids, count)))


def test_groups_wider_than_an_integer_are_told_apart() -> None:
    wide = np.array([0, 2**61, 0, 2**61], "i8")
    ids, count = group_ids([wide, wide[::-1].copy(), np.array([1, 1, 1, 2])])
    assert count == 3
    assert ids.tolist() == [0, 1, 0, 2]


def test_sums_are_exact_beyond_what_a_float_holds() -> None:
    ids = np.zeros(3, "i8")
    assert sums(ids, 1, [2**53, 1, 1]).tolist() == [2**53 + 2]
