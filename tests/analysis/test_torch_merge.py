"""Chunks of torch's profiler put into a trace: kernels of a real H100, several chunks, what is broken."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.perfetto_engine import check_trace_file
from tinytrace.analysis.torch_chunks import chunk_files
from tinytrace.analysis.torch_merge import with_torch
from tinytrace.exporters.registry import export
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import Kind
from tinytrace.tracer.session import Session
from tinytrace.tracer.store import process_folders
from tinytrace.tracer.trace import Trace

H100 = Path(__file__).parents[1] / "data" / "tracelens_h100_bert_small.json.gz"
PID = os.getpid()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(Options(tmp_path / "trace.json", sampler="none", ops=False), ["test"])
    session.start()
    yield session
    session.stop()
    session.discard()


def folder_of(session: Session) -> Path:
    [folder] = process_folders(session.run_folder)
    return folder


def write_chunk(folder: Path, number: int, written: dict[str, Any], **about: int) -> None:
    facts = {"pid": PID, "begin_ns": 1, "end_ns": 2, "unix_ahead_ns": 0, "clock_error_ns": 90}
    (folder / f"torch-{number}.clock.json").write_text(json.dumps({**facts, **about}))
    (folder / f"torch-{number}.json").write_text(json.dumps(written))


def event(name: str, ts: float, dur: float, cat: str = "cpu_op", **more: Any) -> dict[str, Any]:
    return {
        "ph": "X",
        "cat": cat,
        "name": name,
        "pid": PID,
        "tid": PID,
        "ts": ts,
        "dur": dur,
        **more,
    }


def test_kernels_run_on_a_process_that_stands_for_their_gpu(session: Session) -> None:
    written = json.loads(gzip.decompress(H100.read_bytes()))
    starts = [e["ts"] for e in written["traceEvents"] if e.get("cat") == "kernel"]
    begin_ns = written.get("baseTimeNanoseconds", 0) + round(min(starts) * 1000)
    write_chunk(folder_of(session), 1, written, unix_ahead_ns=begin_ns - 5_000_000_000)
    session.stop()
    trace = with_torch(session.trace(), session.run_folder)
    texts = trace.strings
    processes = [texts[i] for i in trace.processes.name_id]
    [gpu] = [row for row, name in enumerate(processes) if name.startswith("GPU")]
    assert trace.processes.parent[gpu] == 0
    assert len(set(trace.processes.pid.tolist())) == len(processes)
    on_gpu = trace.threads.process[trace.spans.thread] == gpu
    kernels = on_gpu & (trace.spans.kind == Kind.OP)
    assert kernels.sum() >= len(starts)
    assert trace.spans.start_ns[kernels].min() == 5_000_000_000
    flows = trace.flows
    launched = on_gpu[flows.to_span] & ~on_gpu[flows.from_span]
    assert {texts[trace.spans.name_id[i]] for i in flows.from_span[launched]} >= {
        "cudaLaunchKernel"
    }
    assert trace.meta["torch_profiler"]["devices"][0]["name"].startswith("NVIDIA H100")
    path = session.run_folder / "merged.json"
    export(trace, path)
    check_trace_file(path)
    assert tt.load(path).differences(trace) == []


def test_arrows_of_several_chunks_do_not_get_mixed_up(session: Session) -> None:
    for number in (1, 2):
        t = 1000.0 * number
        arrow = {"cat": "fwdbwd", "name": "fwdbwd", "id": 1, "pid": PID, "tid": PID}
        events = [
            event("aten::add", t, 10), event("AddBackward0", t + 20, 10),
            {"ph": "s", "ts": t, **arrow}, {"ph": "f", "bp": "e", "ts": t + 20, **arrow},
        ]  # fmt: skip
        write_chunk(folder_of(session), number, {"traceEvents": events})
    session.stop()
    trace = with_torch(session.trace(), session.run_folder)
    starts = trace.spans.start_ns
    gaps = (starts[trace.flows.to_span] - starts[trace.flows.from_span]).tolist()
    assert gaps == [20_000, 20_000]


def test_operations_nest_in_spans_of_ours_and_the_rest_stays_as_it_was(session: Session) -> None:
    with tt.span("outer"), tt.span("inner"):
        pass
    session.stop()
    base = session.trace()
    inner = next(i for i, n in enumerate(base.spans.name_id) if base.strings[n] == "inner")
    start_us, dur_us = base.spans.start_ns[inner] / 1000, base.spans.dur_ns[inner] / 1000
    events = [event("aten::neg", start_us + dur_us / 4, dur_us / 2)]
    write_chunk(folder_of(session), 1, {"traceEvents": events})
    trace = with_torch(base, session.run_folder)
    names = [trace.strings[i] for i in trace.spans.name_id]
    assert names == ["outer", "inner", "aten::neg"]
    assert trace.spans.parent.tolist() == [-1, 0, 1]
    assert trace.spans.take(np.arange(2)) == base.spans


def test_marks_that_we_have_seen_are_not_taken_twice(session: Session) -> None:
    with tt.span("mine", cat="user_annotation"):
        pass
    events = [event("mine", 5, 1, "user_annotation"), event("DDP.forward", 8, 1, "user_annotation")]
    write_chunk(folder_of(session), 1, {"traceEvents": events})
    session.stop()
    trace = with_torch(session.trace(), session.run_folder)
    assert Counter(trace.strings[i] for i in trace.spans.name_id) == {"mine": 1, "DDP.forward": 1}


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"traceEvents": 3}', '{"traceEvents": [{"ph": "X"}]}']
)
def test_a_broken_chunk_is_said_and_the_others_are_read(session: Session, broken: str) -> None:
    folder = folder_of(session)
    write_chunk(folder, 1, {"traceEvents": [event("aten::neg", 5, 1)]})
    write_chunk(folder, 2, {})
    (folder / "torch-2.json").write_text(broken)
    (folder / "torch-3.json").write_text("{}")  # without a clock
    (folder / "torch-x.json").write_text("of somebody else")
    session.stop()
    trace = with_torch(session.trace(), session.run_folder)
    assert [trace.strings[i] for i in trace.spans.name_id] == ["aten::neg"]
    said = [w for w in trace.warnings if w.startswith("operations of torch are missing")]
    assert len(said) == 2


def test_chunks_are_read_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        write_chunk(tmp_path, number, {})
    assert [p.name for p in chunk_files(tmp_path)] == [f"torch-{n}.json" for n in (1, 9, 10, 100)]


def test_a_run_without_torch_is_as_it_was(session: Session) -> None:
    session.stop()
    trace: Trace = session.trace()
    assert with_torch(trace, session.run_folder) is trace
