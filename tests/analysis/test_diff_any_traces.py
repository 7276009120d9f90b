"""What holds for the comparison of any two traces: nothing differs from itself, mirrors, and sums."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings

from tests.builders import big_trace, traces
from tinytrace.analysis.diff import diff
from tinytrace.analysis.diff_values import Account, Diff, LineChange, OpChange, Ratio, Verdict
from tinytrace.tracer.trace import Trace

ALL = 10**6


@settings(max_examples=60, deadline=None)
@given(traces())
def test_nothing_differs_between_a_trace_and_itself(trace: Trace) -> None:
    found = diff(trace, trace)
    assert found.identical
    assert found.same_work
    assert (found.ops, found.work, found.lines) == ((), (), ())
    assert found.account.delta_ns == found.account.rest_delta_ns == 0
    assert found.work_before == found.work_after


def mirrored_ratio(ratio: Ratio | None) -> Any:
    if ratio is None:
        return None
    return tuple(round(1 / x, 6) for x in (ratio.value, ratio.high, ratio.low))


def rounded(ratio: Ratio | None) -> Any:
    return (
        None if ratio is None else tuple(round(x, 6) for x in (ratio.value, ratio.low, ratio.high))
    )


OPPOSITE = {
    Verdict.NEW: Verdict.GONE, Verdict.GONE: Verdict.NEW, Verdict.FASTER: Verdict.SLOWER,
    Verdict.SLOWER: Verdict.FASTER,
}  # fmt: skip


def as_seen(row: OpChange | LineChange) -> Any:
    if isinstance(row, LineChange):
        return (row.place_before, row.place_after, row.function, row.before_ns, row.after_ns,
                row.delta_ns, row.verdict)  # fmt: skip
    return (row.kind, row.name, row.operands_before, row.operands_after, row.callsite_before,
            row.callsite_after, row.before, row.after, row.delta_ns, rounded(row.per_call),
            row.verdict, row.same_work)  # fmt: skip


def as_seen_from_behind(row: OpChange | LineChange) -> Any:
    verdict = OPPOSITE.get(row.verdict, row.verdict)
    if isinstance(row, LineChange):
        return (row.place_after, row.place_before, row.function, row.after_ns, row.before_ns,
                0 - row.delta_ns, verdict)  # fmt: skip
    return (row.kind, row.name, row.operands_after, row.operands_before, row.callsite_after,
            row.callsite_before, row.after, row.before, 0 - row.delta_ns,
            mirrored_ratio(row.per_call), verdict, row.same_work)  # fmt: skip


def assert_mirrored(one: Diff, other: Diff) -> None:
    for name in ("ops", "work", "lines"):
        rows, back = getattr(one, name), getattr(other, name)
        assert sorted(map(repr, map(as_seen, rows))) == sorted(
            map(repr, map(as_seen_from_behind, back))
        )
    assert one.margin == pytest.approx(other.margin)
    assert one.account.delta_ns == -other.account.delta_ns
    assert one.work_before == other.work_after
    assert one.basis == other.basis


@settings(max_examples=60, deadline=None)
@given(traces(), traces())
def test_exchanging_the_traces_mirrors_the_comparison(before: Trace, after: Trace) -> None:
    assert_mirrored(diff(before, after, ALL), diff(after, before, ALL))


def test_exchanging_large_traces_mirrors_intervals_and_drift() -> None:
    before, after = big_trace(20_000), big_trace(20_000, seed=1)
    found = diff(before, after, ALL)
    assert sum(row.per_call is not None for row in found.ops) > 100
    assert_mirrored(found, diff(after, before, ALL))


def assert_adds_up(account: Account) -> None:
    parts = (account.listed_delta_ns, account.unlisted_delta_ns, account.rest_delta_ns)
    assert math.fsum(parts) == pytest.approx(account.delta_ns, abs=1e-3, rel=1e-9)
    assert account.after_ns - account.before_ns == account.delta_ns


@settings(max_examples=60, deadline=None)
@given(traces(), traces())
def test_the_parts_add_up_to_the_whole_change(before: Trace, after: Trace) -> None:
    found = diff(before, after, top=2)
    assert_adds_up(found.account)
    if found.lines_account is not None:
        assert_adds_up(found.lines_account)
