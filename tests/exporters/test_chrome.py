"""The Chrome trace JSON: what scripts find in it, and what Perfetto shows."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.builders import (
    START_NS,
    TraceBuilder,
    big_trace,
    random_trace,
    signature_of,
    trace_of,
)
from tests.perfetto_engine import check_trace_file
from tinytrace.analysis.counting import count
from tinytrace.analysis.reader import load
from tinytrace.exporters import chrome, export
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

SLICES = "select s.name, s.ts, s.dur, s.category, t.name as thread from slice s \
    left join thread_track on s.track_id = thread_track.id left join thread t using (utid) order by s.id"


def refuse(constant: str) -> NoReturn:
    """Not JSON: NaN, Infinity."""
    raise AssertionError(constant)


def events_of(trace: Trace, folder: Path) -> list[dict[str, Any]]:
    """The events of the file, read as any script reads them."""
    export(trace, folder / "trace.json")
    events: list[dict[str, Any]] = json.loads(
        (folder / "trace.json").read_bytes().decode("utf-8"), parse_constant=refuse
    )
    return events


def spans_of(trace: Trace, folder: Path) -> list[dict[str, Any]]:
    """The `X` events of spans."""
    events = events_of(trace, folder)
    return [e for e in events if e["ph"] == "X" and e["cat"] != "samples"]


# ---- what scripts find -------------------------------------------------------------------------


def test_an_op_says_what_it_did_where_and_when(tmp_path: Path) -> None:
    trace = trace_of("step(matmul[2x3:f4,3x4:f4->2x4:f4]:5@/home/me/train.py:42:forward)")
    _, op = spans_of(trace, tmp_path)
    key = op["args"].pop("")
    assert isinstance(key, int)
    assert op == {
        "ph": "X", "cat": "op", "name": "matmul", "pid": 100, "tid": 100, "ts": 0.0, "dur": 5.0,
        "args": {
            "step": 0, "flops": 48, "bytes": 104, "shapes": [[2, 3], [3, 4], [2, 4]],
            "dtypes": ["float32", "float32", "float32"], "callsite": "train.py:42 forward",
        },
    }  # fmt: skip


def test_transcendentals_are_told_where_there_are_some(tmp_path: Path) -> None:
    exp, add = spans_of(trace_of("exp[8->8] add[8,8->8]"), tmp_path)
    assert exp["args"]["transcendentals"] == 8
    assert "transcendentals" not in add["args"]


def test_an_uncounted_op_says_null_and_never_nought(tmp_path: Path) -> None:
    uncounted, unknown = spans_of(trace_of("frobnicate[8->8] mystery"), tmp_path)
    assert uncounted["args"]["flops"] is None
    assert unknown["args"]["flops"] is None
    assert unknown["args"]["bytes"] is None


def test_a_sum_over_the_events_counts_no_work_twice(tmp_path: Path) -> None:
    trace = trace_of("mean[100->.](add.reduce[100->.]:2 true_divide[.,.->.]:1) add[10,10->10]")
    events = spans_of(trace, tmp_path)
    leaves = [count(signature) for signature in trace.signatures if signature.op != "mean"]
    assert events[0]["args"]["flops"] is None
    assert events[0]["args"]["ops_inside"] is True
    assert sum(e["args"]["flops"] or 0 for e in events) == sum(c.flops or 0 for c in leaves)
    assert sum(e["args"]["bytes"] or 0 for e in events) == sum(c.bytes or 0 for c in leaves)


def test_an_op_inside_a_span_inside_an_op_counts_as_inside(tmp_path: Path) -> None:
    outer, _, inner = spans_of(trace_of("mean[100->.](span(add[10,10->10]))"), tmp_path)
    assert outer["args"]["flops"] is None
    assert inner["args"]["flops"] == 10


def test_an_op_that_did_not_end_well_is_marked_and_not_counted(tmp_path: Path) -> None:
    raised, is_open = spans_of(trace_of("add![8,8->8]:1 add?[8,8->8]:1"), tmp_path)
    assert (raised["args"]["raised"], raised["args"]["flops"]) == (True, None)
    assert (is_open["args"]["open"], is_open["args"]["flops"]) == (True, None)


def test_figures_that_the_user_gave_stand_for_all_that_ran_inside(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    outer = builder.span(thread, START_NS, 9, "fused", args={"flops": 7, "bytes": 9})
    signature = signature_of("add", "8,8->8")
    builder.span(thread, START_NS + 1, 2, "add", parent=outer, signature=signature)
    unknown = signature_of("frobnicate", "8->8")
    builder.span(thread, START_NS + 4, 2, "frobnicate", parent=outer, signature=unknown)
    events = spans_of(builder.build(), tmp_path)
    assert [e["args"]["flops"] for e in events] == [7, None, None]
    assert [e["args"]["bytes"] for e in events] == [9, None, None]
    assert "args.flops" not in events[0]["args"]


def test_a_copy_has_no_flops_and_says_nought(tmp_path: Path) -> None:
    (copy,) = spans_of(trace_of("copy[8->8]"), tmp_path)
    assert (copy["args"]["flops"], copy["args"]["bytes"]) == (0, 128)


def test_arguments_of_the_user_are_there_and_hide_none_of_ours(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    args = {"batch": 32, "step": "mine", "k": "mine", "": "mine", "nan": float("nan"), "big": 2**80}
    builder.span(thread, START_NS, 5, "load", kind=Kind.DATA, step=4, args=args)
    (event,) = spans_of(builder.build(), tmp_path)
    assert event["args"] == {
        "step": 4, "": 0, "batch": 32, "args.step": "mine", "args.k": "mine", "args.": "mine",
        "nan": "nan", "big": str(2**80),
    }  # fmt: skip
    check_trace_file(tmp_path / "trace.json")


def test_every_kind_has_its_category(tmp_path: Path) -> None:
    trace = trace_of("step(layer forward backward optimizer data span matmul)")
    assert [e["cat"] for e in spans_of(trace, tmp_path)] == [
        "step", "layer", "forward", "backward", "optimizer", "data", "span", "op",
    ]  # fmt: skip


def test_times_are_in_microseconds_with_exactly_three_decimals(tmp_path: Path) -> None:
    export(random_trace(1, 300), tmp_path / "trace.json")
    text = (tmp_path / "trace.json").read_bytes()
    times = re.findall(rb'"(?:ts|dur)":([^,}]*)[,}]', b"\n".join(
        line for line in text.splitlines() if not line.startswith((b'{"ph":"P"', b'{"ph":"M"'))
    ))  # fmt: skip
    assert len(times) > 300
    assert [t for t in times if not re.fullmatch(rb"\d+\.\d{3}", t)] == []


def test_the_file_is_strict_utf_8_and_json_whatever_the_names(tmp_path: Path) -> None:
    for seed in range(20):
        assert events_of(random_trace(seed, 30), tmp_path)


def test_one_event_a_line(tmp_path: Path) -> None:
    events = events_of(random_trace(2, 100), tmp_path)
    first, *lines, last = (tmp_path / "trace.json").read_bytes().split(b"\n")[:-1]
    assert (first, last) == (b"[", b"]")
    assert [json.loads(line.removesuffix(b",")) for line in lines] == events


# ---- what Perfetto shows -----------------------------------------------------------------------


def test_spans_that_do_not_nest_are_shown_too(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    builder.span(thread, START_NS, 100, "whole")
    builder.span(thread, START_NS + 50, 51, "one nanosecond too long")
    builder.span(thread, START_NS + 60, 500, "coroutine", flags=Flag.DETACHED)
    trace = builder.build()
    export(trace, tmp_path / "trace.json")
    shown = check_trace_file(tmp_path / "trace.json").query(SLICES)
    assert [(s["name"], s["ts"], s["dur"], s["thread"]) for s in shown] == [
        ("whole", 0, 100, "MainThread"),
        ("one nanosecond too long", 50, 51, None),
        ("coroutine", 60, 500, None),
    ]
    assert load(tmp_path / "trace.json") == trace


def test_parents_are_as_recorded(tmp_path: Path) -> None:
    export(
        trace_of("step:20(forward:9(matmul:5 relu:2) backward:9(matmul:8))"), tmp_path / "a.json"
    )
    rows = check_trace_file(tmp_path / "a.json").query(
        "select c.name, p.name as parent from slice c left join slice p on c.parent_id = p.id order by c.id"
    )
    assert [(r["name"], r["parent"]) for r in rows] == [
        ("step", None), ("forward", "step"), ("matmul", "forward"), ("relu", "forward"),
        ("backward", "step"), ("matmul", "backward"),
    ]  # fmt: skip


def test_arrows_go_from_the_sender_to_all_its_receivers(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    rows = [builder.span(thread, START_NS + 10 * i, 5, f"s{i}", kind=Kind.SPAN) for i in range(6)]
    for source, target in ((0, 3), (0, 4), (1, 2), (5, 0)):  # the last one goes back in time
        builder.flow(rows[source], rows[target])
    trace = builder.build()
    export(trace, tmp_path / "trace.json")
    arrows = check_trace_file(tmp_path / "trace.json").query(
        "select a.name as source, b.name as target from flow "
        "join slice a on slice_out = a.id join slice b on slice_in = b.id"
    )
    found = {(a["source"], a["target"]) for a in arrows}
    assert found == {("s0", "s3"), ("s0", "s4"), ("s1", "s2")}
    assert load(tmp_path / "trace.json") == trace


def test_counters_have_their_unit_in_the_name_and_no_value_that_is_none(tmp_path: Path) -> None:
    builder = TraceBuilder()
    process = builder.process(10)
    rss, cpu = builder.series("rss_mb", "MB", process), builder.series("cpu", "%", process)
    for t_ns, value in ((0, 12.5), (1, float("nan")), (2, float("inf")), (3, 13.0)):
        builder.counter(rss, START_NS + 1000 * t_ns, value)
    builder.counter(cpu, START_NS, 99.0)
    trace = builder.build()
    export(trace, tmp_path / "trace.json")
    values = check_trace_file(tmp_path / "trace.json").query(
        "select t.name, c.ts, c.value from counter c join process_counter_track t on c.track_id = t.id"
    )
    assert sorted((v["name"], v["ts"], v["value"]) for v in values) == [
        ("cpu_percent value", 0, 99.0), ("rss_mb value", 0, 12.5), ("rss_mb value", 3000, 13.0),
    ]  # fmt: skip
    assert load(tmp_path / "trace.json") == trace


def test_rates_are_drawn_but_not_taken_for_recorded_ones(tmp_path: Path) -> None:
    trace = trace_of("matmul[100x100,100x100->100x100]:1000")
    export(trace, tmp_path / "trace.json")
    values = check_trace_file(tmp_path / "trace.json").query(
        "select t.name, max(c.value) as top from counter c "
        "join process_counter_track t on c.track_id = t.id group by t.name"
    )
    rates = {v["name"]: v["top"] for v in values}
    assert rates["gflops value"] == pytest.approx(2.0)  # 2 * 100³ FLOPs in 1 ms
    assert rates["gbps value"] == pytest.approx(0.24)
    assert load(tmp_path / "trace.json") == trace


def sampled() -> Trace:
    """Two threads; the first one: train→forward twice (other lines), a gap, train→backward."""
    builder = TraceBuilder()
    process = builder.process(10)
    main, other = builder.thread(process, 10), builder.thread(process, 11, "worker")
    train = builder.frame("train", "/src/train.py", 40)
    forward, forward_later = (builder.frame("forward", "/src/train.py", line) for line in (7, 9))
    backward = builder.frame("backward", "/src/train.py", 20)
    builder.sample(main, START_NS + 1_000_000, 1_000_000, [train, forward])
    builder.sample(main, START_NS + 3_000_500, 2_000_500, [train, forward_later])
    builder.sample(main, START_NS + 9_000_000, 1_000_000, [train, backward])
    builder.sample(other, START_NS + 2_000_000, 500_000, [backward])
    return builder.build()


def test_samples_are_a_profile_with_functions_and_places(tmp_path: Path) -> None:
    export(sampled(), tmp_path / "trace.json")
    rows = check_trace_file(tmp_path / "trace.json").query(
        "select s.ts, t.name as thread, f.name as function, y.source_file as place, pf.name as caller "
        "from cpu_profile_stack_sample s join thread t using (utid) "
        "join stack_profile_callsite c on s.callsite_id = c.id "
        "join stack_profile_frame f on c.frame_id = f.id "
        "join stack_profile_symbol y on f.symbol_set_id = y.symbol_set_id "
        "left join stack_profile_callsite pc on c.parent_id = pc.id "
        "left join stack_profile_frame pf on pc.frame_id = pf.id order by t.name, s.ts"
    )
    assert [(r["thread"], r["ts"], r["function"], r["caller"]) for r in rows] == [
        ("MainThread", 1_000_000, "forward", "train"),
        ("MainThread", 3_001_000, "forward", "train"),
        ("MainThread", 9_000_000, "backward", "train"),
        ("worker", 2_000_000, "backward", None),
    ]
    places = [r["place"] for r in rows]
    assert places == [f"/src/train.py:{line}" for line in (7, 9, 20, 20)]


def test_snapshots_one_after_the_other_in_one_function_become_one_slice(tmp_path: Path) -> None:
    trace = sampled()
    export(trace, tmp_path / "trace.json")
    slices = check_trace_file(tmp_path / "trace.json").query(SLICES)
    assert [(s["thread"], s["name"], s["ts"], s["dur"]) for s in slices] == [
        ("MainThread (samples)", "train", 0, 3_000_500),
        ("MainThread (samples)", "forward", 0, 3_000_500),
        ("worker (samples)", "backward", 1_500_000, 500_000),
        ("MainThread (samples)", "train", 8_000_000, 1_000_000),
        ("MainThread (samples)", "backward", 8_000_000, 1_000_000),
    ]
    text = (tmp_path / "trace.json").read_text()
    assert '"name":"forward","args":{"at":"train.py:7-9"}' in text
    assert load(tmp_path / "trace.json") == trace


def test_processes_and_threads_with_the_same_numbers_stay_apart(tmp_path: Path) -> None:
    builder = TraceBuilder()
    for name in ("before exec", "after exec"):
        thread = builder.thread(builder.process(10, name), 10, name)
        builder.span(thread, START_NS, 10, name)
    big = builder.thread(0, 2**40, "no number of Linux")
    builder.span(big, START_NS, 10, "big")
    trace = builder.build()
    export(trace, tmp_path / "trace.json")
    rows = check_trace_file(tmp_path / "trace.json").query(
        "select s.name, t.name as thread, p.name as process from slice s "
        "join thread_track tt on s.track_id = tt.id join thread t using (utid) join process p using (upid)"
    )
    assert sorted((r["name"], r["thread"], r["process"]) for r in rows) == [
        ("after exec", "after exec", "after exec (pid 10)"),
        ("before exec", "before exec", "before exec"),
        ("big", "no number of Linux", "before exec"),
    ]
    assert load(tmp_path / "trace.json") == trace


# ---- size --------------------------------------------------------------------------------------


def test_an_op_takes_at_most_250_bytes_and_15_gzipped(tmp_path: Path) -> None:
    trace = big_trace(100_000)
    export(trace, tmp_path / "trace.json")
    export(trace, tmp_path / "trace.json.gz")
    assert (tmp_path / "trace.json").stat().st_size <= 250 * len(trace.spans)
    assert (tmp_path / "trace.json.gz").stat().st_size <= 15 * len(trace.spans)


def test_a_gzipped_file_is_made_of_complete_members(tmp_path: Path) -> None:
    export(big_trace(50_000), tmp_path / "trace.json.gz")
    content = (tmp_path / "trace.json.gz").read_bytes()
    sizes = []
    while content:
        member = zlib.decompressobj(wbits=31)
        sizes.append(len(member.decompress(content)))
        assert member.eof
        content = member.unused_data
    assert len(sizes) > 1
    assert max(sizes) < 3 * chrome.GZIP_MEMBER_BYTES


def test_the_text_is_made_in_pieces() -> None:
    sizes = [len(piece) for piece in chrome.pieces(big_trace(100_000))]
    assert max(sizes) < sum(sizes) / 5


def test_distinct_arguments_for_every_span_are_kept(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    for number in range(40_000):
        builder.span(thread, START_NS + number, 1, "load", kind=Kind.DATA, args={"n": number})
    trace = builder.build()
    export(trace, tmp_path / "trace.json")
    assert load(tmp_path / "trace.json") == trace


def test_a_signature_of_many_operands_is_told_in_order(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    signature = signature_of("einsum", "2x3,3x4->2x4", "ij,jk->ik")
    builder.span(thread, START_NS, 5, "einsum", signature=signature)
    (event,) = spans_of(builder.build(), tmp_path)
    assert event["args"]["attributes"] == "ij,jk->ik"
    assert event["args"]["shapes"] == [[2, 3], [3, 4], [2, 4]]
