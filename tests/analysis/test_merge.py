"""Ranks as one trace: named, kept apart, on one clock, with arrows between their calls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tests.builders import traces
from tests.perfetto_engine import query
from tests.ranks.by_hand import MS, US, Ranks, entries, steady
from tinytrace.analysis.collectives import communication
from tinytrace.analysis.foreign import load_foreign
from tinytrace.analysis.merge import Part, merge_traces
from tinytrace.analysis.reader import load
from tinytrace.exporters.registry import export
from tinytrace.tracer.trace import Trace


def merged(ranks: Ranks) -> Trace:
    return merge_traces(
        [Part(f"rank{row}.json", trace) for row, trace in enumerate(ranks.traces())]
    )


def arrivals(trace: Trace) -> Any:
    """When each rank came: (meetings, ranks)."""
    calls = communication(trace).calls
    return calls.start_ns.reshape(len(trace.processes), -1).T - trace.start_ns


@pytest.mark.parametrize("skew_ms", [-100, -1, 1, 20, 100])
def test_a_planted_skew_is_recovered_within_the_error_that_is_told(skew_ms: int) -> None:
    skew_ns = skew_ms * MS
    trace = merged(Ranks([steady(0), steady(skew_ns)], ["a", "b"]))
    first, second = entries(trace)
    assert (first["method"], first["error_ns"], first["offset_ns"]) == ("same clock", 0, 0)
    assert second["method"] == "collectives"
    # the fastest transfers take 20 µs: twice that is left of the interval, half of it the error
    assert abs(second["offset_ns"] - skew_ns) <= second["error_ns"] <= 50 * US
    assert trace.warnings == ()


def test_merged_times_are_those_of_one_clock() -> None:
    true = arrivals(merged(Ranks([steady(0)] * 3, ["a"] * 3)))
    skewed = merged(Ranks([steady(0), steady(7 * MS), steady(-3 * MS)], ["a", "b", "c"]))
    error_ns = max(entry["error_ns"] for entry in entries(skewed))
    assert np.abs(arrivals(skewed) - true).max() <= error_ns
    calls = communication(skewed).calls
    assert (calls.end_ns > calls.start_ns).all()


def test_ranks_of_one_host_share_their_clock_and_bound_it_together() -> None:
    trace = merged(Ranks([steady(0), steady(0), steady(MS), steady(MS)], ["a", "a", "b", "b"]))
    methods = [entry["method"] for entry in entries(trace)]
    assert methods == ["same clock", "same clock", "collectives", "collectives"]
    assert entries(trace)[2]["offset_ns"] == entries(trace)[3]["offset_ns"]


def test_recordings_that_do_not_say_which_clock_they_have_are_aligned_by_their_calls() -> None:
    ranks = Ranks([steady(0), steady(3 * MS)], ["a", "a"])
    for builder in ranks.builders:  # as an older tinytrace wrote them
        del builder.meta["clock_domain"]
    second = entries(merged(ranks))[1]
    assert second["method"] == "collectives"
    assert abs(second["offset_ns"] - 3 * MS) <= second["error_ns"]


def test_a_time_namespace_is_known_exactly() -> None:
    ranks = Ranks([steady(0), steady(-3600 * 10**9)], ["a", "a"])
    ranks.builders[1].meta["clock_domain"]["monotonic_offset_ns"] = 3600 * 10**9
    second = entries(merged(ranks))[1]
    assert (second["offset_ns"], second["error_ns"]) == (-3600 * 10**9, 0)


def test_a_drifting_clock_is_recovered() -> None:
    ranks = Ranks([steady(0), steady(5 * MS, drift=100e-6)], ["a", "b"], meetings=2000)
    second = entries(trace := merged(ranks))[1]
    assert second["how"] == "drifting"
    assert second["drift_ppm"] == pytest.approx(-100, abs=10)
    true = arrivals(merged(Ranks([steady(0)] * 2, ["a"] * 2, meetings=2000)))
    assert np.abs(arrivals(trace) - true).max() <= second["error_ns"] <= 80 * US


def test_a_clock_that_jumps_is_said() -> None:
    def jumping(t_ns: int) -> int:
        return t_ns + (50 * MS if t_ns > 10**12 + 100 * MS else 0)

    trace = merged(Ranks([steady(0), jumping], ["a", "b"]))
    [jump] = entries(trace)[1]["jumps_ns"]
    assert jump == pytest.approx(-50 * MS, abs=200 * US)
    assert "does not run evenly" in trace.warnings[0]


def test_a_planted_straggler_is_the_last_to_come() -> None:
    trace = merged(Ranks([steady(0), steady(40 * MS), steady(-9 * MS)], ["a", "b", "c"], slow=1))
    assert (arrivals(trace).argmax(axis=1) == 1).mean() > 0.99


def test_times_of_torch_s_profiler_on_one_host_are_taken_as_they_are() -> None:
    parts = []
    for rank, base_ns in ((0, 10**18), (1, 10**18 + 500)):
        event = {
            "ph": "X",
            "cat": "cpu_op",
            "name": "aten::add",
            "pid": 7,
            "tid": 7,
            "ts": 5,
            "dur": 2,
        }
        header = {"schemaVersion": 1, "host_name": "a", "baseTimeNanoseconds": base_ns,
                  "distributedInfo": {"rank": rank, "world_size": 2}}  # fmt: skip
        parts.append(Part(str(rank), load_foreign({**header, "traceEvents": [event]}, "x")))
    trace = merge_traces(parts)
    second = entries(trace)[1]
    assert (second["method"], second["offset_ns"], second["error_ns"]) == ("same host", 500, None)
    assert trace.spans.start_ns.tolist() == [5000, 5500]
    assert len(set(trace.processes.pid.tolist())) == 2


def test_a_host_that_never_met_the_first_is_bounded_by_one_that_did() -> None:
    skew_ns = [0, 5 * MS, -8 * MS]
    ranks = Ranks([steady(ns) for ns in skew_ns], ["a", "b", "c"], meetings=60)
    for row, builder in enumerate(ranks.builders):  # now a meets b, and b meets c, in turns
        for turn, span in enumerate(list(builder.spans)):
            args = {"communication": "all_reduce", "group": "bc" if turn % 2 else "ab", "bytes": 8}
            name = "all_reduce" if row in ((1, 2) if turn % 2 else (0, 1)) else "compute"
            args_id = builder.string(json.dumps(args)) if name == "all_reduce" else -1
            builder.spans[turn] = (*span[:2], builder.string(name), *span[3:-1], args_id)
    _, second, third = entries(merged(ranks))
    assert third["method"] == "collectives" and third["error_ns"] > second["error_ns"]
    assert abs(third["offset_ns"] - skew_ns[2]) <= third["error_ns"] <= 150 * US


def test_numbers_that_torch_gives_collectives_are_taken_where_one_rank_was_recorded_from_later_on() -> (
    None
):
    parts = []
    for rank, numbers in ((0, (4, 5, 6)), (1, (5, 6))):
        events = [
            {"ph": "X", "cat": "kernel", "name": "ncclDevKernel_AllReduce_Sum_f32_RING_LL(x)", "pid": 0,
             "tid": 7, "ts": 100 * number, "dur": 9,
             "args": {"Collective name": "allreduce", "In msg nelems": 8, "dtype": "Float", "Seq": number,
                      "Process Group Name": "0", "Process Group Ranks": "[0, 1]", "Group size": 2}}
            for number in numbers
        ]  # fmt: skip
        header = {"schemaVersion": 1, "distributedInfo": {"rank": rank, "world_size": 2}}
        parts.append(Part(str(rank), load_foreign({**header, "traceEvents": events}, "x")))
    found = communication(merge_traces(parts))
    assert found.calls.sequence.tolist() == [4, 5, 6, 5, 6]
    assert found.calls.set_id.tolist() == [-1, 0, 1, 0, 1]
    assert found.warnings == ("1 collective calls have no counterpart in another rank (of rank 0)",)


def test_without_matched_calls_the_clocks_of_the_day_are_taken_and_that_is_said() -> None:
    parts = Ranks([steady(0), steady(0)], ["a", "b"], meetings=0).traces()
    for row, part in enumerate(parts):
        part.meta.update(start_ns=1000 + row, start_unix_ns=5000 + row + 77 * row)
    trace = merge_traces([Part("a", parts[0]), Part("b", parts[1])])
    second = entries(trace)[1]
    assert (second["method"], second["offset_ns"], second["error_ns"]) == (
        "clock of the day",
        77,
        None,
    )
    assert "whose error is not known" in trace.warnings[0]


def test_processes_are_named_and_kept_apart_though_their_numbers_are_the_same() -> None:
    trace = merged(Ranks([steady(0)] * 4, ["a"] * 4))  # 1000, 1001, 1000, 1001
    assert len(set(trace.processes.pid.tolist())) == 4
    names = [trace.strings[i] for i in trace.processes.name_id.tolist()]
    assert names == [f"rank {rank}: train.py" for rank in range(4)]
    assert (
        trace.threads.tid == trace.processes.pid
    ).all()  # a main thread has its process's number


def test_missing_and_double_ranks_are_said() -> None:
    one, two, _ = Ranks([steady(0)] * 3, ["a"] * 3).traces()
    again = replace(two, meta={**two.meta})
    trace = merge_traces([Part("x", one), Part("y", two), Part("z", again)])
    assert trace.meta["missing"] == ["rank 1 is there 2 times: y, z", "1 of 3 ranks is missing: 2"]
    assert communication(trace).n_sets == 200


def test_perfetto_shows_named_ranks_and_arrows_between_their_calls(tmp_path: Path) -> None:
    trace = merged(Ranks([steady(0), steady(2 * MS)], ["a", "b"], meetings=5))
    for name in ("job.json", "job.pftrace"):
        export(trace, tmp_path / name)
        rows = query(
            tmp_path / name, "select name from process where name like 'rank%' order by name"
        )
        assert [row["name"] for row in rows] == ["rank 0 on a: train.py", "rank 1 on b: train.py"]
        [row] = query(
            tmp_path / name,
            "select count(*) as n from flow join slice a on a.id = slice_out join slice b on b.id = slice_in "
            "where a.name = 'all_reduce' and b.name = 'all_reduce' and a.track_id != b.track_id",
        )
        assert row["n"] == 5
    assert load(tmp_path / "job.json") == trace


@given(traces(20), traces(20))
@settings(max_examples=15, deadline=None)
def test_any_two_traces_can_be_merged_and_nothing_is_lost(one: Trace, other: Trace) -> None:
    trace = merge_traces([Part("a", one), Part("b", other)])
    for name in ("spans", "samples", "counters", "aggregates", "threads", "processes"):
        assert len(getattr(trace, name)) == len(getattr(one, name)) + len(getattr(other, name))
    assert len(trace.flows) >= len(one.flows) + len(other.flows)
    n = len(one.spans)
    for part, spans in (
        (one, trace.spans.take(slice(n))),
        (other, trace.spans.take(slice(n, None))),
    ):
        assert [trace.strings[i] for i in spans.name_id] == [
            part.strings[i] for i in part.spans.name_id
        ]
        signatures = [trace.signatures[i] if i >= 0 else None for i in spans.signature_id]
        assert signatures == [
            part.signatures[i] if i >= 0 else None for i in part.spans.signature_id
        ]
        assert np.array_equal(spans.dur_ns, part.spans.dur_ns)
    assert ((trace.spans.parent[n:] >= n) | (trace.spans.parent[n:] == -1)).all()
