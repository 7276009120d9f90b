"""What both recorders do with the same calls."""

from __future__ import annotations

import _thread
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cores import CORES, core
from tests.stores import (
    NO_LIMIT,
    check_valid,
    flags,
    names,
    parents,
    process_folder,
    read,
    recording,
)
from tinytrace.tracer.assemble import read_run
from tinytrace.tracer.reading import SPAN_DTYPE
from tinytrace.tracer.records import (
    COUNTER,
    ENTRY,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SPAN,
    TABLES_NAME,
    Entry,
    Flag,
    Kind,
)
from tinytrace.tracer.session import load_core

NOTHING = Flag(0)
COUNTED = (
    "dropped", "skipped_elements", "folded_spans", "folded_segments", "folded_samples",
    "folded_counters", "folded_flows", "sites_left_out", "signatures_left_out", "stacks_left_out", "names_left_out",
    "errno",
)  # fmt: skip


@pytest.fixture(params=CORES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def span(recorder: Any, label: str, kind: Kind = Kind.SPAN) -> int:
    return int(recorder.begin(kind, recorder.label(label, "")))


def test_what_was_recorded_is_in_the_trace(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        outer = recorder.begin(Kind.SPAN, recorder.label("load", '{"path": "größe \\ud800"}'))
        step = recorder.begin(Kind.STEP, 7)
        op = recorder.begin(Kind.LABELLED_OP, recorder.label("kernel", '{"flops": 12}'))
        recorder.end(op, Flag.RAISED)
        recorder.end(step, 0)
        recorder.instant(recorder.label("checkpoint", ""))
        recorder.end(outer, 0)
        loss = recorder.series("loss", "nats")
        for t_ns, value in ((3000, 0.25), (2000, 0.5)):
            recorder.counter(loss, value, t_ns)
        recorder.put(Entry.WARNING, "vorsicht, größe".encode())
        recorder.put(Entry.META, json.dumps({"command": ["a", "b"]}).encode())
        stats = recorder.stats()
    assert stats["spans"] == 4 and stats["threads"] == 1
    assert all(stats[key] == 0 for key in COUNTED)
    trace = read(tmp_path)
    assert names(trace) == ["load", "step", "kernel", "checkpoint"]
    assert [Kind(k).name for k in trace.spans.kind] == ["SPAN", "STEP", "OP", "INSTANT"]
    assert parents(trace) == {"load": None, "step": "load", "kernel": "step", "checkpoint": "load"}
    assert flags(trace) == {
        "load": NOTHING, "step": NOTHING, "kernel": Flag.RAISED, "checkpoint": NOTHING,
    }  # fmt: skip
    assert trace.spans.step.tolist() == [-1, 7, 7, -1]
    arguments = [trace.strings[i] if i >= 0 else "" for i in trace.spans.args_id]
    assert arguments == ['{"path": "größe \\ud800"}', "", '{"flops": 12}', ""]
    assert trace.counters.t_ns.tolist() == [2000, 3000]
    assert trace.counters.value.tolist() == [0.5, 0.25]
    assert (trace.strings[trace.series.name_id[0]], trace.strings[trace.series.unit_id[0]]) == (
        "loss",
        "nats",
    )
    assert "vorsicht, größe" in trace.warnings
    assert trace.meta["command"] == ["a", "b"]
    frame = trace.spans.callsite_id[0]
    assert trace.strings[trace.frames.file_id[frame]] == __file__
    assert trace.strings[trace.frames.name_id[frame]].endswith("in_the_trace")


def test_ids_are_interned(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        for intern in (
            lambda n: recorder.label(n, "{}"),
            recorder.op,
            lambda n: recorder.series(n, ""),
        ):
            assert [intern(n) for n in ("a", "b", "a", "ü\udc80", "b", "ü\udc80")] == [
                1,
                2,
                1,
                3,
                2,
                3,
            ]
        assert recorder.label("a", '{"x": 1}') == 4
        assert recorder.series("a", "unit") == 4
        size = (process_folder(tmp_path) / TABLES_NAME).stat().st_size
        recorder.label("a", "{}"), recorder.op("b"), recorder.series("a", "unit")
        assert (process_folder(tmp_path) / TABLES_NAME).stat().st_size == size


def test_spans_that_end_out_of_order_are_detached(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        outer = span(recorder, "outer")
        first = span(recorder, "first")
        second = span(recorder, "second")
        recorder.end(first, 0)
        recorder.end(second, 0)
        after = span(recorder, "after")
        recorder.end(after, 0)
        recorder.end(after, 0)
        recorder.end(outer, 0)
        recorder.end(0, 0)
        recorder.end(2**63, 0)
    trace = read(tmp_path)
    assert flags(trace)["first"] == Flag.DETACHED
    assert parents(trace) == {"outer": None, "first": None, "second": "outer", "after": "outer"}
    assert flags(trace)["after"] == flags(trace)["outer"] == NOTHING


def test_a_span_that_another_thread_ends_is_detached(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        token = span(recorder, "handed over")
        other = threading.Thread(target=recorder.end, args=(token, 0), name="finisher")
        other.start()
        other.join()
        recorder.end(span(recorder, "next"), 0)
    trace = read(tmp_path)
    assert flags(trace) == {"handed over": Flag.DETACHED, "next": NOTHING}
    assert parents(trace)["next"] is None


def test_what_is_open_at_the_end_is_marked_and_lasts_until_then(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        open_ = span(recorder, "open")
        recorder.end(span(recorder, "whole"), 0)
        recorder.counter(recorder.series("later", ""), 1.0)
    recorder.end(open_, 0)
    trace = read(tmp_path)
    assert flags(trace) == {"open": Flag.OPEN, "whole": NOTHING}
    assert parents(trace)["whole"] == "open"
    assert trace.spans.start_ns[0] + trace.spans.dur_ns[0] == trace.counters.t_ns[-1]


def test_after_closing_nothing_is_recorded(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        recorder.end(span(recorder, "seen"), 0)
    recorder.close()
    before = {path: path.read_bytes() for path in process_folder(tmp_path).iterdir()}
    assert span(recorder, "too late") == 0
    recorder.instant(1)
    recorder.counter(1, 1.0)
    recorder.put(Entry.WARNING, b"too late")
    assert {path: path.read_bytes() for path in process_folder(tmp_path).iterdir()} == before
    assert recorder.stats()["spans"] == 1


def test_opening_needs_an_empty_folder_and_a_closed_recorder(name: str, tmp_path: Path) -> None:
    with core(name):
        recorder = load_core()
    with pytest.raises(FileNotFoundError):
        recorder.open(str(tmp_path / "not there"), NO_LIMIT)
    with recording(name, tmp_path), pytest.raises(RuntimeError, match="already recording"):
        recorder_again(name, recorder, tmp_path)
    with pytest.raises(FileExistsError):
        recorder.open(str(process_folder(tmp_path)), NO_LIMIT)
    with recording(name, tmp_path / "another") as recorder:
        recorder.end(span(recorder, "works again"), 0)
        assert recorder.stats()["spans"] == 1
    assert names(read(tmp_path / "another")) == ["works again"]


def recorder_again(name: str, recorder: Any, tmp_path: Path) -> None:
    """Open twice; each Python recorder is one of its own, the compiled one is one per process."""
    if name == "python":
        recorder.open(str(process_folder(tmp_path / "twice")), NO_LIMIT)
    try:
        recorder.open(str(process_folder(tmp_path / "once more")), NO_LIMIT)
    finally:
        if name == "python":
            recorder.close()


def test_deeper_nesting_than_the_limit_is_dropped_and_counted(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        label = recorder.label("deep", "")
        tokens = [recorder.begin(Kind.SPAN, label) for _ in range(515)]
        assert [bool(t) for t in tokens] == [True] * 512 + [False] * 3
        for token in reversed(tokens):
            recorder.end(token, 0)
        recorder.end(recorder.begin(Kind.SPAN, label), 0)
        assert recorder.stats()["dropped"] == 3
    trace = read(tmp_path)
    assert trace.spans.parent.tolist() == [*range(-1, 511), -1]


def test_every_thread_has_spans_of_its_own(name: str, tmp_path: Path) -> None:
    def work(number: int) -> None:
        for i in range(50):
            outer = span(recorder, f"thread {number}")
            recorder.end(span(recorder, f"inner {number}.{i}"), 0)
            recorder.end(outer, 0)

    with recording(name, tmp_path) as recorder:
        at_once = [threading.Thread(target=work, args=(n,), name=f"worker {n}") for n in range(8)]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
        for number in range(8, 20):  # one after the other: idents are used again
            thread = threading.Thread(target=work, args=(number,), name=f"worker {number}")
            thread.start()
            thread.join()
        assert recorder.stats()["threads"] == 20
    trace = read(tmp_path)
    found: dict[str, set[int]] = {}
    for text, thread_row in zip(names(trace), trace.spans.thread.tolist(), strict=True):
        if text.startswith("thread"):
            found.setdefault(text, set()).add(thread_row)
    assert len(found) == 20 and all(len(rows) == 1 for rows in found.values())
    assert len(set.union(*found.values())) == 20
    told = {trace.strings[i] for i in trace.threads.name_id}
    assert told == {f"worker {n}" for n in range(20)}
    assert (trace.spans.parent >= 0).sum() == 20 * 50


def test_a_thread_that_threading_does_not_know_is_recorded(name: str, tmp_path: Path) -> None:
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        recorder.end(span(recorder, "bare"), 0)
        done.release()

    with recording(name, tmp_path) as recorder:
        _thread.start_new_thread(work, ())
        done.acquire()
    assert names(read(tmp_path)) == ["bare"]


def test_numbers_beyond_their_width_harm_nobody(name: str, tmp_path: Path) -> None:
    with recording(name, tmp_path) as recorder:
        recorder.end(recorder.begin(Kind.STEP, 2**32 - 1), 0)
        recorder.end(recorder.begin(Kind.SPAN, 4711), 0)
        recorder.counter(99, 1.0)
        recorder.counter(0, 1.0)
        recorder.counter(recorder.series("odd", ""), float("nan"))
    trace = read(tmp_path)
    assert trace.spans.step.tolist() == [-1, -1]
    assert names(trace) == ["step", "(not known)"]
    assert len(trace.counters) == 1
    assert any("without a name" in text for text in trace.warnings)


def test_the_child_of_a_fork_records_its_own(name: str, tmp_path: Path) -> None:
    child_run = tmp_path / "child"
    with recording(name, tmp_path / "parent") as recorder:
        outer = span(recorder, "in the parent")
        pid = os.fork()
        if not pid:  # nothing of pytest's may run here
            code = 1
            try:
                recorder.end(outer, 0)
                recorder.instant(1)
                recorder.reset_after_fork()
                recorder.open(str(process_folder(child_run)), NO_LIMIT)
                recorder.end(span(recorder, "in the child"), 0)
                recorder.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        recorder.end(span(recorder, "after the fork"), 0)
        recorder.end(outer, 0)
        assert recorder.stats()["spans"] == 2
    assert parents(read(tmp_path / "parent")) == {
        "in the parent": None,
        "after the fork": "in the parent",
    }
    trace = read_run(child_run)
    check_valid(trace)
    assert names(trace) == ["in the child"]


def segment_facts(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the files of a process but its times and call sites.

    One place in the code may have two sites: a specialised instruction calls C from another offset.
    """
    tables, at, entries = (folder / TABLES_NAME).read_bytes(), 16, []
    while at < len(tables):
        size, entry, _ = ENTRY.unpack_from(tables, at)
        if entry != Entry.SITE:
            entries.append((tables[at : at + size],))
        at += size
    found: dict[str, list[tuple[Any, ...]]] = {"tables": sorted(entries)}
    for path in sorted(folder.glob("*.seg")):
        data = path.read_bytes()
        head = SEGMENT_HEADER.unpack_from(data)
        layout = SPAN if head[2] == 1 else COUNTER
        rows = [row for row in layout.iter_unpack(data[SEGMENT_HEADER_BYTES:]) if row[0]]
        rows = [row[2:3] + row[4:] if layout is SPAN else row for row in rows]
        found[path.name] = [head[:7] + head[8:9] + head[10:], *rows]
    return found


def places(run: Path) -> list[tuple[str, int]]:
    """Function and line of the call site of each span."""
    trace = read(run)
    frames = trace.frames.take(trace.spans.callsite_id)
    return [(trace.strings[n], line) for n, line in zip(frames.name_id, frames.line, strict=True)]


def test_both_cores_write_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for which in CORES:
        with recording(which, tmp_path / which) as recorder:
            recorder.internal(("/nowhere/",), ())
            series = recorder.series("loss", "")
            for i in range(5000):
                outer = span(recorder, f"größe {i % 7}")
                if i % 3:
                    recorder.end(
                        recorder.begin(Kind.LABELLED_OP, recorder.label("k", '{"flops": 1}')),
                        i % 2 * 2,
                    )
                recorder.instant(recorder.label("now", ""))
                recorder.end(outer, 0)
                recorder.counter(series, i / 3, 1000 + i)
            recorder.put(Entry.WARNING, b"careful")
            recorder.op("add")
        found.append(segment_facts(process_folder(tmp_path / which)))
    for name, facts in found[0].items():
        for mine, other in zip(facts, found[-1][name], strict=True):
            assert mine == other
    assert places(tmp_path / CORES[0]) == places(tmp_path / CORES[-1])
    assert found[0].keys() == found[-1].keys()
    assert len(found[0]) == 1 + 2 + 2 + 1
    assert SPAN_DTYPE.itemsize == SPAN.size
