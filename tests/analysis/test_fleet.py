"""Summaries of many traces: what one trace gives, and that merging loses nothing, in whatever order."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import trace_of
from tinytrace.analysis.account import Where, account_of
from tinytrace.analysis.fleet import (
    Calls,
    Fleet,
    GroupKey,
    OpKey,
    Runs,
    empty_fleet,
    skipped_trace,
    trace_fleet,
)
from tinytrace.analysis.kept_rows import kept_rows
from tinytrace.analysis.quantile_sketch import sketch_of
from tinytrace.tracer.trace import Trace

MATMUL = "matmul[2x3:f4,3x4:f4->2x4:f4]"
TRACE = trace_of(
    f"{MATMUL}:5@train.py:3:main {MATMUL}:7@train.py:3:main {MATMUL}:1@train.py:9:main add:2"
)


def described(trace: Trace, **meta: Any) -> Trace:
    return replace(trace, meta={**trace.meta, **meta})


def test_a_trace_gives_a_row_per_op_operands_and_call_site() -> None:
    fleet = trace_fleet(TRACE, "a.json")
    operands = "float32[2,3] float32[3,4] -> float32[2,4]"
    flops, moved = 2 * 2 * 3 * 4, 4 * (2 * 3 + 3 * 4 + 2 * 4)
    assert dict(fleet.ops.rows) == {
        OpKey("matmul", operands, "train.py:3 main"): Calls(
            traces=1, calls=2, self_ns=12_000, total_ns=12_000, flops=2 * flops, flops_ns=12_000,
            bytes=2 * moved, bytes_ns=12_000, durations=sketch_of([5000, 7000]),
        ),
        OpKey("add", "", ""): Calls(
            traces=1, calls=1, self_ns=2000, total_ns=2000, uncounted=1, durations=sketch_of([2000])
        ),
        OpKey("matmul", operands, "train.py:9 main"): Calls(
            traces=1, calls=1, self_ns=1000, total_ns=1000, flops=flops, flops_ns=1000,
            bytes=moved, bytes_ns=1000, durations=sketch_of([1000]),
        ),
    }  # fmt: skip
    assert (fleet.traces, fleet.slowest.items) == (1, ((-15_000, "a.json"),))


def test_the_account_is_that_of_the_main_thread_by_machine_and_rank() -> None:
    trace = described(
        TRACE, machine={"cpu": "EPYC", "usable_cpus": 8}, ranks=[{"rank": 3, "process": 0}]
    )
    account = account_of(trace)
    assert account is not None
    fleet = trace_fleet(trace, "a.json")
    spent = {w: account.spent_ns(w) for w in Where}
    assert dict(fleet.groups.rows) == {GroupKey("EPYC, 8 CPUs", 3): Runs(1, account.wall_ns, spent)}
    assert sum(fleet.runs.spent_ns.values()) == fleet.runs.wall_ns


def test_a_trace_without_threads_is_counted_and_in_no_account() -> None:
    fleet = trace_fleet(Trace(warnings=("x",)), "empty.json")
    assert (fleet.traces, fleet.unaccounted, fleet.warned, fleet.runs.traces) == (1, 1, 1, 0)


def test_what_cannot_be_read_is_named() -> None:
    fleet = skipped_trace("b.json", "is empty").merged(trace_fleet(TRACE, "a.json"))
    assert (fleet.traces, fleet.skipped.count) == (1, 1)
    assert fleet.skipped.items == (("b.json", "is empty"),)


@st.composite
def fleets(draw: st.DrawFn, most: int = 5000) -> Fleet:
    """Summaries of traces of a few ops with few different names, so that keys meet."""
    ops = draw(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9)), max_size=6))
    trace = trace_of(" ".join(f"{name}[2->2]:{dur}" for name, dur in ops))
    if draw(st.booleans()):
        trace = described(trace, ranks=[{"rank": draw(st.integers(0, 2))}])
    return trace_fleet(trace, draw(st.sampled_from(["x.json", "y.json"])), most)


@given(fleets(), fleets(), fleets())
def test_merging_is_associative_and_commutative(a: Fleet, b: Fleet, c: Fleet) -> None:
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
    assert a.merged(b) == b.merged(a)
    assert a.merged(empty_fleet()) == a


@given(st.lists(fleets(most=2), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_beyond_the_rows_that_are_kept_sums_stay_exact_and_what_may_be_missing_is_known(
    parts: list[Fleet], random: Any
) -> None:
    def merged(fleets: list[Fleet]) -> Fleet:
        total = fleets[0]
        for fleet in fleets[1:]:
            total = total.merged(fleet)
        return total

    exact: dict[OpKey, int] = {}
    for part in parts:
        for key, row in part.ops.rows.items():
            exact[key] = exact.get(key, 0) + row.self_ns
    one = merged(parts)
    random.shuffle(parts)
    other = merged(parts)
    assert one.calls == other.calls == sum((p.calls for p in parts), Calls())
    assert parts[0].merged(parts[1]) == parts[1].merged(parts[0])
    for total in (one, other):
        assert len(total.ops.rows) <= 2
        for key, row in total.ops.rows.items():
            assert row.self_ns <= exact[key] <= row.self_ns + total.ops.missing


def test_the_largest_rows_are_kept_and_equal_ones_by_their_key() -> None:
    rows = {
        OpKey(name, "", ""): Calls(calls=1, self_ns=n) for name, n in (("b", 2), ("a", 2), ("c", 5))
    }
    kept = kept_rows(rows, 2, Calls())
    assert [key.op for key in kept.rows] == ["c", "a"]
    assert (kept.others.calls, kept.others.self_ns, kept.dropped, kept.missing) == (1, 2, 1, 2)


def test_summaries_that_keep_different_numbers_of_rows_do_not_mix() -> None:
    with pytest.raises(ValueError, match="5 rows and 6 rows"):
        empty_fleet(5).merged(empty_fleet(6))


def test_a_summary_can_be_sent_and_written() -> None:
    fleet = trace_fleet(TRACE, "a.json")
    assert pickle.loads(pickle.dumps(fleet)) == fleet
    plain = json.loads(json.dumps(fleet.to_json(top=1), allow_nan=False))
    assert (plain["traces"], len(plain["ops"]), plain["other_ops"]["calls"]) == (1, 1, 2)
    assert plain["ops"][0]["gflops"] == 2 * 48 / 12_000
    assert plain["ops"][0]["buckets"] == sketch_of([5000, 7000]).to_json()
