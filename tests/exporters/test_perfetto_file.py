"""Perfetto's protobuf: processes, clocks, what is known about the run; and the file itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tests.builders import START_NS, TraceBuilder, big_trace, random_trace, signature_of, trace_of
from tests.exporters.test_perfetto import SLICES, arguments_of, engine_of
from tests.perfetto_engine import TraceProcessor, assert_clean, check_trace_file
from tinytrace.analysis.reader import load
from tinytrace.errors import TraceFormatError
from tinytrace.exporters import export, perfetto, perfetto_wire
from tinytrace.exporters.perfetto_sequence import Numbering, Sequence
from tinytrace.tracer.records import Kind

# ---- processes, clocks, what is known about the run -------------------------------------------------


def test_processes_and_threads_with_the_same_numbers_stay_apart(tmp_path: Path) -> None:
    builder = TraceBuilder()
    for name in ("before exec", "after exec"):
        thread = builder.thread(builder.process(10, name), 10, name)
        builder.span(thread, START_NS, 10, name)
    big = builder.thread(0, 2**40, "no number of Linux")
    builder.span(big, START_NS, 10, "big")
    rows = engine_of(builder.build(), tmp_path).query(SLICES)
    assert sorted((r["name"], r["thread"], r["process"]) for r in rows) == [
        ("after exec", "after exec", "after exec (pid 10)"),
        ("before exec", "before exec", "before exec"),
        ("big", "no number of Linux", "before exec"),
    ]


def test_times_are_those_of_the_system_and_the_time_of_day_is_known(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10, start_ns=START_NS + 50), 10)
    builder.span(thread, START_NS + 70, 10, "op")
    builder.meta |= {"start_ns": START_NS + 50, "start_unix_ns": 1_795_616_611_000_000_000}
    engine = engine_of(builder.build(), tmp_path)
    assert engine.query("select ts from slice where name = 'op'") == [{"ts": START_NS + 70}]
    clocks = engine.query("select distinct clock_name, ts, clock_value from clock_snapshot")
    known = {c["clock_name"]: c["clock_value"] - c["ts"] for c in clocks if c["clock_name"]}
    assert known == {"MONOTONIC": 0, "REALTIME": 1_795_616_611_000_000_000 - START_NS - 50}


def test_a_trace_without_a_time_of_day_makes_none_up(tmp_path: Path) -> None:
    clocks = engine_of(trace_of("a"), tmp_path).query("select clock_name from clock_snapshot")
    assert {c["clock_name"] for c in clocks if c["clock_name"]} == {"MONOTONIC"}


def test_metadata_warnings_and_the_machine_are_there(tmp_path: Path) -> None:
    builder = TraceBuilder()
    builder.process(10, "train.py")
    builder.process(11, "worker", parent=0)
    builder.warnings += ["two", "warnings <b>"]
    builder.meta |= {
        "command": ["train.py", "--fast"], "audit": {"dropped": 3, "hz": float("inf")},
        "machine": {"system": "Linux", "release": "6.1", "architecture": "x86_64", "cpu_count": 8},
    }  # fmt: skip
    engine = engine_of(builder.build(), tmp_path)
    (facts,) = arguments_of(engine, "about this trace")
    assert facts["command[1]"] == "--fast"
    assert (facts["audit.dropped"], facts["audit.hz"]) == (3, "inf")
    assert (facts["processes[1].name"], facts["processes[1].parent"]) == ("worker", 10)
    assert [w["text"] for w in arguments_of(engine, "warning")] == ["two", "warnings <b>"]
    system = engine.query("select name, str_value as v from metadata where name like 'system_%'")
    assert {s["name"]: s["v"] for s in system if s["v"]} == {
        "system_name": "Linux", "system_release": "6.1", "system_machine": "x86_64",
    }  # fmt: skip


def test_steps_have_a_track_of_their_own(tmp_path: Path) -> None:
    trace = trace_of("step:10(a:5) b:2 step:7(a:5)")
    rows = engine_of(trace, tmp_path).query(
        "select s.name, s.ts - trace_start() as ts, s.dur, extract_arg(s.arg_set_id, 'debug.how') as how "
        "from slice s join process_track t on s.track_id = t.id where t.name = 'steps' order by s.ts"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("step 0", 0, 10_000, "marks"), ("step 1", 12_000, 7_000, "marks"),
    ]  # fmt: skip


def test_spans_that_were_summed_up_are_marked_with_their_sums(tmp_path: Path) -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    signature = builder.signature(signature_of("add", "2x3->2x3"))
    frame = builder.frame("f", "/a/f.py", 3)
    builder.aggregates.append((
        builder.string("add"), Kind.OP, thread, signature, frame, 1000, 990, 5000, 4000, 1, 9,
        START_NS + 10, START_NS + 500,
    ))  # fmt: skip
    engine = engine_of(builder.build(), tmp_path)
    rows = engine.query(
        "select s.ts - trace_start() as ts, t.name as track from slice s join track t "
        "on s.track_id = t.id where s.category = 'summed up'"
    )
    assert rows == [{"ts": 10, "track": "MainThread (summed up)"}]
    (sums,) = arguments_of(engine, "add")
    assert sums["count"] == 1000
    assert (sums["total_ns"], sums["self_ns"], sums["lie_in_ns"]) == (5000, 4000, 490)
    assert (sums["shapes[0][1]"], sums["callsite"]) == (3, "f.py:3 f")


# ---- the file -----------------------------------------------------------------------------------


def test_our_numbers_are_those_of_perfettos_schema() -> None:
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

    places = {
        "Clock": schema.ClockSnapshot.Clock,
        "Timebase": schema.PerfEvents.Timebase,
    }
    checked = 0
    for name in (n for n in vars(perfetto_wire) if n[0].isupper() and n != "IntEnum"):
        numbers = getattr(perfetto_wire, name)
        if not isinstance(numbers, type) or not issubclass(numbers, IntEnum):
            continue
        if name == "EventType":
            found = {v.name.removeprefix("TYPE_"): v.number for v in
                     schema.TrackEvent.Type.DESCRIPTOR.values}  # fmt: skip
        else:
            message = places.get(name) or getattr(schema, name)
            found = {f.name.upper(): f.number for f in message.DESCRIPTOR.fields}
        for one in numbers:
            assert found[one.name] == one.value, f"{name}.{one.name}"
            checked += 1
    assert checked > 60
    frame, profiling = schema.Frame, schema.Profiling
    assert frame.Kind.Value("KIND_INTERPRETED") == perfetto_wire.INTERPRETED_FRAME
    assert profiling.CpuMode.Value("MODE_USER") == perfetto_wire.USER_MODE
    clocks = schema.BuiltinClock
    assert clocks.Value("BUILTIN_CLOCK_MONOTONIC") == perfetto_wire.MONOTONIC
    assert clocks.Value("BUILTIN_CLOCK_REALTIME") == perfetto_wire.REALTIME


def test_perfettos_own_library_parses_every_packet(tmp_path: Path) -> None:
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

    export(random_trace(4, 80), tmp_path / "trace.pftrace")
    content = (tmp_path / "trace.pftrace").read_bytes()
    parsed = schema.Trace()
    parsed.ParseFromString(content)
    assert len(parsed.packet) > 80
    parsed.DiscardUnknownFields()
    again = schema.Trace()
    again.ParseFromString(parsed.SerializeToString())
    assert again == parsed  # nothing was unknown, or it would have been discarded


def test_a_file_whose_end_is_missing_loads_as_far_as_it_goes(tmp_path: Path) -> None:
    export(big_trace(2000), tmp_path / "trace.pftrace")
    content = (tmp_path / "trace.pftrace").read_bytes()
    engine = TraceProcessor(content[: len(content) * 2 // 3])
    (found,) = engine.query("select count() as n from slice where category = 'op'")
    assert 1000 < found["n"] < 2000


def test_two_files_put_together_are_one_with_the_events_of_both(tmp_path: Path) -> None:
    parts = []
    for pid, text in ((10, "a:5(b:2)"), (20, "c:9 d~:3")):
        builder = TraceBuilder()
        thread = builder.thread(builder.process(pid, f"rank {pid}"), pid)
        for number, name in enumerate(text.split()):
            builder.span(thread, START_NS + 10_000 * number, 5000, name[0])
        export(builder.build(), tmp_path / "part.pftrace")
        parts.append((tmp_path / "part.pftrace").read_bytes())
    engine = TraceProcessor(b"".join(parts))
    assert_clean(engine)
    rows = engine.query(SLICES)
    assert sorted((r["name"], r["process"]) for r in rows) == [
        ("a", "rank 10"), ("c", "rank 20"), ("d", "rank 20"),
    ]  # fmt: skip


def test_it_is_written_in_pieces_of_a_few_megabytes() -> None:
    sizes = [len(piece) for piece in perfetto.pieces(big_trace(100_000))]
    assert max(sizes) < sum(sizes) / 4


def test_an_op_takes_at_most_130_bytes(tmp_path: Path) -> None:
    trace = big_trace(100_000)
    export(trace, tmp_path / "trace.pftrace")
    assert (tmp_path / "trace.pftrace").stat().st_size <= 130 * len(trace.spans)


def test_both_endings_mean_the_format(tmp_path: Path) -> None:
    export(trace_of("a"), tmp_path / "a.pftrace")
    export(trace_of("a"), tmp_path / "a.perfetto-trace")
    assert (tmp_path / "a.pftrace").read_bytes() == (tmp_path / "a.perfetto-trace").read_bytes()


def test_tinytrace_says_that_it_does_not_read_it(tmp_path: Path) -> None:
    export(trace_of("a"), tmp_path / "a.pftrace")
    with pytest.raises(TraceFormatError, match=r"a Perfetto protobuf, .*\.json"):
        load(tmp_path / "a.pftrace")


def test_times_before_the_clock_began_are_moved_to_its_beginning() -> None:
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10, start_ns=0, end_ns=0), 10)
    builder.span(thread, -50, 100, "early")
    numbering = Numbering(builder.build())
    assert numbering.epoch_ns == 0
    assert numbering.times(np.array([-50, 50])).tolist() == [[0], [50]]
    assert Sequence(numbering).take()


def test_the_query_of_the_manual_gives_what_it_says(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (query,) = re.findall("```sql\n(.*?)```", manual, re.DOTALL)
    trace = trace_of("matmul[2x3,3x4->2x4]:2 matmul[2x3,3x4->2x4]:4 frobnicate[8->8]:1")
    rows = engine_of(trace, tmp_path).query(query)
    assert [tuple(row.values()) for row in rows] == [
        ("matmul", 2, 96 / 6000),
        ("frobnicate", 1, None),  # not counted is not 0
    ]


PROGRAM = """
import numpy as np, threading
def work():
    for _ in range(20):
        np.ones((200, 200)) @ np.ones((200, 200))
thread = threading.Thread(target=work, name="helper")
thread.start()
work()
thread.join()
"""


def test_a_program_is_recorded_into_one(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "tinytrace", "-o", "run.pftrace", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "run.pftrace - open https://ui.perfetto.dev and drop run.pftrace on it" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["program.py", "run.pftrace"]
    engine = check_trace_file(tmp_path / "run.pftrace")
    rows = engine.query(SLICES)
    assert {r["process"] for r in rows} == {"program.py"}
    products = Counter(r["thread"] for r in rows if r["name"] == "matmul")
    assert products == {"MainThread": 20, "helper": 20}
    (one, *_) = arguments_of(engine, "matmul")
    assert one["flops"] == 2 * 200**3
    assert one["callsite"] == "program.py:5 work"
    assert engine.query("select count() as n from perf_sample") != [{"n": 0}]


def test_a_block_is_recorded_into_one(tmp_path: Path) -> None:
    with tt.trace(tmp_path / "block.pftrace", sampler="none") as recording, tt.span("work"):
        np.ones(3) + 1
    engine = check_trace_file(tmp_path / "block.pftrace")
    (span,) = (r for r in engine.query(SLICES) if r["name"] == "work")
    assert recording.result is not None
    assert span["dur"] == recording.result.spans.dur_ns.max()
