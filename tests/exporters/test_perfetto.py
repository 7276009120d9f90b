"""Perfetto's protobuf: everything that the trace holds is there, as Perfetto's own engine reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import START_NS, TraceBuilder, random_trace, trace_of
from tests.perfetto_engine import TraceProcessor, check_trace_file
from tinytrace.exporters import export
from tinytrace.exporters.perfetto_samples import equal_shares, sample_period_ns
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Samples, Trace

KINDS = ", ".join(f"'{kind.name.lower()}'" for kind in Kind)
SLICES = f"""
select s.id, s.name, s.ts - trace_start() as ts, s.dur, s.category, p.name as parent, s.arg_set_id,
    t.name as thread, q.name as process, k.name as track
from slice s join track k on s.track_id = k.id left join slice p on s.parent_id = p.id
left join thread_track tt on s.track_id = tt.id left join thread t using (utid)
left join process q using (upid) where s.category in ({KINDS}) order by s.id"""
COUNTERS = """
select t.name, t.unit, q.name as process, c.ts - trace_start() as ts, c.value
from counter c join process_counter_track t on c.track_id = t.id join process q using (upid)
order by t.name, c.ts"""
STACKS = """
select s.ts - trace_start() as ts, t.name as thread, f.name as function, m.name as file, f.rel_pc as line,
    pf.name as caller
from perf_sample s join thread t using (utid) join stack_profile_callsite c on s.callsite_id = c.id
join stack_profile_frame f on c.frame_id = f.id join stack_profile_mapping m on f.mapping = m.id
left join stack_profile_callsite pc on c.parent_id = pc.id
left join stack_profile_frame pf on pc.frame_id = pf.id order by t.name desc, s.ts"""


def engine_of(trace: Trace, folder: Path) -> TraceProcessor:
    """The trace, exported and read by Perfetto without a complaint."""
    export(trace, folder / "trace.pftrace")
    return check_trace_file(folder / "trace.pftrace")


def arguments_of(engine: TraceProcessor, name: str) -> list[dict[str, Any]]:
    """The arguments of the slices of a name, in order of time."""
    rows = engine.query(
        f"select s.id, a.key, coalesce(a.int_value, a.real_value, a.string_value) as value "
        f"from slice s left join args a using (arg_set_id) where s.name = '{name}' order by s.ts, s.id"
    )
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["id"], {})[str(row["key"]).removeprefix("debug.")] = row["value"]
    return list(found.values())


# ---- spans --------------------------------------------------------------------------------------


def test_an_op_says_what_it_did_where_and_when(tmp_path: Path) -> None:
    trace = trace_of("step(matmul[2x3:f4,3x4:f4->2x4:f4]:5@/home/me/train.py:42:forward)")
    engine = engine_of(trace, tmp_path)
    (arguments,) = arguments_of(engine, "matmul")
    arguments.pop("source_location_iid")
    assert arguments == {
        "step": 0, "flops": 48, "bytes": 104, "callsite": "train.py:42 forward",
        "shapes[0][0]": 2, "shapes[0][1]": 3, "shapes[1][0]": 3, "shapes[1][1]": 4,
        "shapes[2][0]": 2, "shapes[2][1]": 4,
        "dtypes[0]": "float32", "dtypes[1]": "float32", "dtypes[2]": "float32",
        "source.file_name": "/home/me/train.py", "source.function_name": "forward",
        "source.line_number": 42,
    }  # fmt: skip


def test_what_is_not_counted_is_said_and_never_nought(tmp_path: Path) -> None:
    trace = trace_of("frobnicate[8->8] mean[100->.](add.reduce[100->.]:2) exp![8->8] copy[8->8]")
    engine = engine_of(trace, tmp_path)
    (uncounted,) = arguments_of(engine, "frobnicate")
    assert uncounted["uncounted"] == "flops, bytes"
    assert "flops" not in uncounted
    (outer,) = arguments_of(engine, "mean")
    assert (outer["ops_inside"], outer["uncounted"]) == (1, "flops, bytes")
    assert outer["shapes[1]"] == "[]"  # a scalar: the viewer shows nothing for an empty list
    (raised,) = arguments_of(engine, "exp")
    assert (raised["raised"], raised["uncounted"]) == (1, "flops, bytes")
    (copy,) = arguments_of(engine, "copy")
    assert (copy["flops"], copy["bytes"]) == (0, 128)


def test_arguments_of_the_program_keep_their_structure(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    args = {
        "batch": 32, "step": "mine", "rate": 1e-3, "nan": float("nan"), "big": 2**80, "yes": True,
        "none": None, "files": ["a", {"b": [1, -2]}], "nothing": {},
    }  # fmt: skip
    builder.span(thread, START_NS, 5, "load", kind=Kind.DATA, step=4, args=args)
    (found,) = arguments_of(engine_of(builder.build(), tmp_path), "load")
    assert found == {
        "batch": 32, "args_step": "mine", "rate": 1e-3, "nan": "nan", "big": str(2**80), "yes": 1,
        "none": "null", "files[0]": "a", "files[1].b[0]": 1, "files[1].b[1]": -2, "nothing": "{}",
        "step": 4,
    }  # fmt: skip


def as_shown(name: str) -> str:
    """A name as Perfetto can hold it: UTF-8 without NUL."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in name).replace(
        "\0", "\u2400"
    )


def expected_slices(trace: Trace) -> Counter[tuple[Any, ...]]:
    """Name, time, duration and category of all spans of a trace."""
    spans = trace.spans
    return Counter(
        (
            as_shown(trace.strings[name]), start - trace.start_ns,
            0 if kind == Kind.INSTANT else dur, Kind(kind).name.lower(),
        )
        for name, start, dur, kind in zip(
            spans.name_id.tolist(), spans.start_ns.tolist(), spans.dur_ns.tolist(),
            spans.kind.tolist(), strict=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_all_spans_of_any_trace_are_there_to_the_nanosecond(seed: int, tmp_path: Path) -> None:
    trace = random_trace(seed, 120)
    found = Counter(
        (row["name"], row["ts"], row["dur"], row["category"])
        for row in engine_of(trace, tmp_path).query(SLICES)
    )
    assert found == expected_slices(trace)


def test_parents_are_as_recorded_whatever_the_ties(tmp_path: Path) -> None:
    trace = trace_of("step:20(forward:9(matmul:9(a:9)) b:0(c:0) backward:11(d:5 e:6(f:6)) ) g:0")
    rows = engine_of(trace, tmp_path).query(SLICES)
    assert [(r["name"], r["parent"]) for r in rows] == [
        ("step", None), ("forward", "step"), ("matmul", "forward"), ("a", "matmul"),
        ("b", "step"), ("c", "step"),  # a span without duration has nothing inside
        ("backward", "step"), ("d", "backward"), ("e", "backward"), ("f", "e"), ("g", None),
    ]  # fmt: skip


def overlapping() -> Trace:
    """A span that reaches a nanosecond beyond the one that it begins in, many spans later."""
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    builder.span(thread, START_NS, 1000, "whole")
    for number in range(20):
        builder.span(thread, START_NS + 10 * number, 5, "short")
    builder.span(thread, START_NS + 900, 101, "too long")
    builder.span(thread, START_NS + 950, 50, "fits")
    return builder.build()


REPEATED = trace_of(" ".join("step:10(a:3(b:1 c:1) d~:90 e:2) f" for _ in range(9)), other="g(h)")


@pytest.mark.parametrize("trace", [REPEATED, overlapping()], ids=["repeated", "overlapping"])
def test_nesting_goes_on_from_one_piece_to_the_next(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine_of(trace, tmp_path).query(SLICES)
    size = (tmp_path / "trace.pftrace").stat().st_size
    for rows in (1, 2, 7):
        monkeypatch.setattr("tinytrace.exporters.perfetto_spans.SPANS_PER_CHUNK", rows)
        assert engine_of(trace, tmp_path).query(SLICES) == whole
    assert (tmp_path / "trace.pftrace").stat().st_size == size


def test_a_sequence_that_forgets_what_it_interned_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    for number in range(100):
        kind = number % 30
        frame = builder.frame(f"f{kind}", "/f.py", kind)
        t_ns = START_NS + 10 * number
        builder.span(thread, t_ns, 9, f"op {kind}", callsite=frame, args={"n": kind})
        builder.sample(thread, t_ns + 9, 9, [frame])
    trace = builder.build()
    queries = (SLICES, STACKS, "select ts, value from counter order by ts")
    engine = engine_of(trace, tmp_path)
    expected = [engine.query(sql) for sql in queries]
    monkeypatch.setattr("tinytrace.exporters.perfetto_spans.SPANS_PER_CHUNK", 10)
    monkeypatch.setattr("tinytrace.exporters.perfetto_samples.SAMPLES_PER_PIECE", 10)
    monkeypatch.setattr("tinytrace.exporters.perfetto_sequence.MAX_INTERNED", 20)
    engine = engine_of(trace, tmp_path)
    found = [engine.query(sql) for sql in queries]
    for row in expected[0] + found[0]:
        del row["arg_set_id"]  # numbered by the importer
    assert found == expected
    assert found[2][-1]["value"] == 900.0  # ns in samples
    assert [one["n"] for one in arguments_of(engine, "op 17")] == [17, 17, 17]


def test_spans_that_do_not_nest_are_on_tracks_of_their_own(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    builder.span(thread, START_NS, 100, "whole")
    builder.span(thread, START_NS + 50, 51, "one nanosecond too long")
    builder.span(thread, START_NS + 60, 500, "coroutine", flags=Flag.DETACHED)
    builder.span(thread, START_NS + 101, 20, "later", flags=Flag.DETACHED)  # where it is free again
    engine = engine_of(builder.build(), tmp_path)
    rows = engine.query(SLICES)
    assert [(r["name"], r["ts"], r["dur"], r["thread"], r["track"]) for r in rows] == [
        ("whole", 0, 100, "MainThread", None),
        ("one nanosecond too long", 50, 51, "MainThread", "MainThread (overlapping)"),
        ("coroutine", 60, 500, "MainThread", "MainThread (overlapping)"),
        ("later", 101, 20, "MainThread", "MainThread (overlapping)"),
    ]
    tracks = engine.query("select count(distinct track_id) as n from slice where category = 'op'")
    assert tracks == [{"n": 3}]


def test_instants_are_instants(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    builder.span(thread, START_NS, 100, "around", kind=Kind.SPAN)
    builder.span(thread, START_NS + 9, 0, "mark", kind=Kind.INSTANT, args={"loss": 0.5})
    builder.span(thread, START_NS + 9, 7, "long mark", kind=Kind.INSTANT)
    engine = engine_of(builder.build(), tmp_path)
    rows = engine.query(SLICES)
    assert [(r["name"], r["ts"], r["dur"], r["parent"]) for r in rows] == [
        ("around", 0, 100, None), ("mark", 9, 0, "around"), ("long mark", 9, 0, "around"),
    ]  # fmt: skip
    assert arguments_of(engine, "mark") == [{"loss": 0.5}]
    assert arguments_of(engine, "long mark") == [{"dur_ns": 7}]


def test_arrows_go_from_all_senders_to_all_receivers(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    rows = [builder.span(thread, START_NS + 10 * i, 5, f"s{i}", kind=Kind.SPAN) for i in range(6)]
    detached = builder.span(thread, START_NS + 58, 9, "s6", flags=Flag.DETACHED)
    for source, target in (
        (0, 3),
        (0, 4),
        (1, 2),
        (2, 4),
        (3, 4),
        (5, 0),
    ):  # the last one goes back
        builder.flow(rows[source], rows[target])
    builder.flow(rows[1], detached)
    arrows = engine_of(builder.build(), tmp_path).query(
        "select a.name as source, b.name as target from flow "
        "join slice a on slice_out = a.id join slice b on slice_in = b.id"
    )
    assert sorted((a["source"], a["target"]) for a in arrows) == [
        ("s0", "s3"), ("s0", "s4"), ("s1", "s2"), ("s1", "s6"), ("s2", "s4"), ("s3", "s4"),
    ]  # fmt: skip


# ---- counters, samples --------------------------------------------------------------------------


def test_counters_have_their_units_and_no_value_that_is_none(tmp_path: Path) -> None:
    builder = TraceBuilder()
    first, second = builder.process(10, "first"), builder.process(11, "second")
    rss, cpu = builder.series("rss_mb", "MB", first), builder.series("cpu", "%", second)
    for t_ns, value in ((0, 12.5), (1, float("nan")), (2, float("inf")), (3, -13.0)):
        builder.counter(rss, START_NS + t_ns, value)
    builder.counter(cpu, START_NS, 99.0)
    builder.counter(builder.series("plain", "", first), START_NS, 1e300)
    values = engine_of(builder.build(), tmp_path).query(COUNTERS)
    assert [tuple(v.values()) for v in values] == [
        ("cpu", "%", "second", 0, 99.0),
        ("plain", None, "first", 0, 1e300),
        ("rss_mb", "MB", "first", 0, 12.5),
        ("rss_mb", "MB", "first", 3, -13.0),
    ]


def test_rates_of_the_ops_are_counters_too(tmp_path: Path) -> None:
    trace = trace_of("matmul[100x100,100x100->100x100]:1000")
    values = engine_of(trace, tmp_path).query(
        "select t.name, t.unit, max(c.value) as top from counter c "
        "join process_counter_track t on c.track_id = t.id group by t.name"
    )
    assert [(v["name"], v["unit"], round(v["top"], 6)) for v in values] == [
        ("gbps", "GB/s", 0.24), ("gflops", "GFLOP/s", 2.0),  # 2 * 100³ FLOPs in 1 ms
    ]  # fmt: skip


def sampled() -> Trace:
    """Two threads; the first one: train→forward twice (the second for 3 ms), a gap, train→backward."""
    builder = TraceBuilder()
    process = builder.process(10)
    main, other = builder.thread(process, 10), builder.thread(process, 11, "worker")
    train = builder.frame("train", "/src/train.py", 40)
    forward, forward_later = (builder.frame("forward", "/src/train.py", line) for line in (7, 9))
    backward = builder.frame("backward", "<string>", 20)
    builder.sample(main, START_NS + 1_000_000, 1_000_000, [train, forward])
    builder.sample(main, START_NS + 4_000_000, 3_000_000, [train, forward_later])
    builder.sample(main, START_NS + 9_000_000, 1_000_000, [train, backward])
    builder.sample(other, START_NS + 2_000_000, 1_000_000, [backward])
    builder.sample(other, START_NS + 2_000_000, 500_000, [])
    return builder.build()


def test_samples_are_call_stacks_each_of_which_stands_for_the_same_time(tmp_path: Path) -> None:
    assert sample_period_ns(sampled()) == 1_000_000
    rows = engine_of(sampled(), tmp_path).query(STACKS)
    assert [tuple(row.values()) for row in rows] == [
        (1_500_000, "worker", "backward", "/<string>", 20, None),
        (500_000, "MainThread", "forward", "/src/train.py", 7, "train"),
        (1_500_000, "MainThread", "forward", "/src/train.py", 9, "train"),
        (2_500_000, "MainThread", "forward", "/src/train.py", 9, "train"),
        (3_500_000, "MainThread", "forward", "/src/train.py", 9, "train"),
        (8_500_000, "MainThread", "backward", "/<string>", 20, "train"),
    ]


def test_shares_of_samples_are_shares_of_time() -> None:
    rng = np.random.default_rng(1)
    weight_ns = rng.exponential(1e6, 5000).astype("i8") * rng.choice([0, 1, 1, 20], 5000)
    stack_id = rng.integers(0, 3, 5000)
    samples = Samples(
        t_ns=np.cumsum(weight_ns), weight_ns=weight_ns, cpu_ns=np.zeros(5000),
        thread=np.zeros(5000), stack_id=stack_id,
    )  # fmt: skip
    t_ns, rows = equal_shares(samples, 1_000_000)
    assert len(rows) == round(weight_ns.sum() / 1e6)
    assert (t_ns <= samples.t_ns[rows]).all()
    assert (t_ns >= samples.t_ns[rows] - weight_ns[rows]).all()
    assert (np.diff(t_ns) == 1_000_000).all()
    true_share = np.bincount(stack_id, weight_ns) / weight_ns.sum()
    share = np.bincount(stack_id[rows]) / len(rows)
    assert np.abs(share - true_share).max() < 0.005


def test_a_few_long_samples_are_not_repeated_without_end() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    for number, weight_ns in enumerate([1000] * 9 + [10**12]):
        t_ns = START_NS + number * 1000 if number < 9 else START_NS + 10**13
        builder.sample(thread, t_ns, weight_ns, [builder.frame("f", "f.py", 1)])
    trace = builder.build()
    period_ns = sample_period_ns(trace)
    assert len(equal_shares(trace.samples, period_ns)[0]) <= 4 * 10


def test_samples_that_stand_for_no_time_give_none(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    builder.sample(thread, START_NS, 0, [builder.frame("f", "f.py", 1)])
    assert engine_of(builder.build(), tmp_path).query(STACKS) == []


def test_the_flame_chart_has_the_exact_times_and_the_lines(tmp_path: Path) -> None:
    engine = engine_of(sampled(), tmp_path)
    rows = engine.query(
        "select s.ts - trace_start() as ts, s.dur, s.name, t.name as track, "
        "extract_arg(s.arg_set_id, 'debug.at') as at "
        "from slice s join track t on s.track_id = t.id where s.category = 'samples' order by t.name, s.ts, s.id"
    )
    assert [tuple(row.values()) for row in rows] == [
        (0, 4_000_000, "train", "MainThread (samples)", "train.py:40"),
        (0, 4_000_000, "forward", "MainThread (samples)", "train.py:7-9"),
        (8_000_000, 1_000_000, "train", "MainThread (samples)", "train.py:40"),
        (8_000_000, 1_000_000, "backward", "MainThread (samples)", "<string>:20"),
        (1_000_000, 1_000_000, "backward", "worker (samples)", "<string>:20"),
    ]
