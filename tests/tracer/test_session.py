"""One recording from start to stop, on both cores; and traces put together from known records."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import our_threads, process_state
from tests.cores import CORES, core
from tests.stores import check_valid, names, read
from tinytrace.errors import StoreError, UsageError
from tinytrace.tracer import annotate
from tinytrace.tracer.options import Options
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import Entry, Kind
from tinytrace.tracer.session import Session, load_core
from tinytrace.tracer.store import in_use, unfinished_runs


@pytest.fixture(autouse=True)
def no_session_stays() -> Iterator[None]:
    """A test that fails inside a recording does not fail all others."""
    yield
    if Session._current is not None:
        Session._current.stop()


@pytest.fixture(params=CORES)
def which(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param


def hooked() -> tuple[Any, ...]:
    """What hooks change in NumPy."""
    return (np.ufunc.__dict__.get("__call__"), type(np.add).__call__, np.dot, np.concatenate)


def test_a_session_records_and_undoes_everything(which: str, tmp_path: Path) -> None:
    before, hooks_before = process_state(), hooked()
    session = Session(Options(tmp_path / "trace.json", rate_hz=5000), ["train.py", "--fast"])
    session.start()
    assert annotate._marks is not None
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert in_use(session.run_folder)
    with annotate.span("mine"):
        np.add(np.ones(3), 1)
    assert session.sampling is not None
    while not session.sampling.stats()["rounds"] > 3:
        sum(range(1000))
    assert our_threads()
    session.stop()
    assert process_state() == before and hooked() == hooks_before
    assert annotate._marks is None and our_threads() == set()
    size = sum(path.stat().st_size for path in session.run_folder.rglob("*"))
    session.stop()
    np.add(np.ones(3), 1)
    assert sum(path.stat().st_size for path in session.run_folder.rglob("*")) == size
    trace = session.trace()
    check_valid(trace)
    assert {"mine", "add"} <= set(names(trace))
    assert (trace.warnings == ()) == (which == "c")  # the other one says what it cannot see
    check_meta(trace.meta, which)
    series = {trace.strings[i] for i in trace.series.name_id}
    assert {"rss_mb", "cpu_percent"} <= series
    session.discard()
    assert list(tmp_path.iterdir()) == []


def check_meta(meta: dict[str, Any], which: str) -> None:
    """Assert what the metadata and the self-audit hold."""
    assert meta["command"] == ["train.py", "--fast"]
    assert (meta["core"], meta["pid"], meta["format_version"]) == (which, os.getpid(), 2)
    assert meta["end_ns"] > meta["start_ns"]
    assert {"system", "cpu", "python", "cpu_count"} <= set(meta["machine"])
    audit = meta["audit"]
    for name in ("dropped", "folded_spans", "folded_samples", "folded_counters", "skipped_elements",
                 "sites_left_out", "signatures_left_out", "stacks_left_out", "names_left_out"):  # fmt: skip
        assert audit[name] == 0
    assert (audit["core"], audit["asked_hz"], audit["unfinished_processes"]) == (which, 5000, 0)
    assert audit["spans"] >= 2 and audit["samples"] > 3
    assert audit["achieved_hz"] > 0 and audit["largest_gap_ns"] > 0
    assert audit["overhead_ns_per_op"] > 0 and audit["own_overhead_percent"] >= 0
    assert "error" not in audit


def test_only_one_recording_at_a_time(which: str, tmp_path: Path) -> None:
    session = Session(Options(tmp_path / "trace.json", sampler="none", ops=False), [])
    session.start()
    try:
        with pytest.raises(UsageError, match="being recorded already"):
            Session(Options(tmp_path / "other.json"), []).start()
        assert annotate._marks is not None
    finally:
        session.stop()
    session.discard()
    again = Session(Options(tmp_path / "trace.json", sampler="none", ops=False), [])
    again.start()
    again.stop()
    assert again.trace().meta["audit"]["spans"] == 0
    again.discard()


def test_a_program_keeps_the_switch_interval_that_it_sets(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    session = Session(Options(tmp_path / "trace.json", ops=False), [])
    session.start()
    sys.setswitchinterval(0.002)
    session.stop()
    assert sys.getswitchinterval() == pytest.approx(0.002)
    sys.setswitchinterval(before)
    session.discard()


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_left(
    which: str, tmp_path: Path
) -> None:
    before = process_state()
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file" / "trace.json", Path("/proc/trace.json")):
        with pytest.raises(StoreError, match="name another place with -o"):
            Session(Options(output), []).start()
    assert process_state() == before and our_threads() == set()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_folder_that_vanishes_harms_nobody(which: str, tmp_path: Path) -> None:
    session = Session(Options(tmp_path / "trace.json", ops=False), [])
    session.start()
    (tmp_path / ".tinytrace").rename(tmp_path / "elsewhere")
    for _ in range(5000):
        with annotate.span("work"):
            pass
    session.stop()
    with pytest.raises(StoreError, match="no run folder"):
        session.trace()
    session.discard()


def test_a_run_is_left_to_recover_until_it_is_discarded(tmp_path: Path) -> None:
    session = Session(Options(tmp_path / "trace.json", sampler="none", ops=False), [])
    session.start()
    session.stop()
    assert unfinished_runs(tmp_path) == []
    session.release()
    assert unfinished_runs(tmp_path) == [session.run_folder]
    session.discard()
    assert unfinished_runs(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sampler": "perf"}, "no such sampler"),
        ({"rate_hz": 0}, "1 to 10000"),
        ({"rate_hz": float("nan")}, "rate"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Options(Path("trace.json"), **options)


def test_the_core_that_was_asked_for_is_used() -> None:
    for name in CORES:
        assert load_core(name).core == name
    with pytest.raises(UsageError, match="must be c or python"):
        load_core("rust")


def little(run: Path, pid: int, start_ns: int, **meta: Any) -> PythonRecorder:
    """A process folder with known records."""
    recorder = PythonRecorder(clock=lambda: start_ns + 10)
    folder = run / f"p{pid}-0"
    folder.mkdir(parents=True)
    recorder.open(str(folder), 10**12)
    recorder.put(Entry.META, json.dumps({"pid": pid, "start_ns": start_ns, **meta}).encode())
    return recorder


def test_rate_and_gaps_are_those_of_the_samples(tmp_path: Path) -> None:
    recorder = little(tmp_path, 5, 10**9)
    stack = recorder.tables.stack(sys._getframe())
    for thread in (0, 1):
        at_ns = 10**9
        for gap_ms in (1, 1, 4, 2, 2):
            at_ns += gap_ms * 10**6
            recorder.sample(at_ns, gap_ms * 10**6, -1, thread, stack)
    recorder.close()
    trace = read(tmp_path)
    assert trace.meta["audit"]["achieved_hz"] == 500.0  # 5 rounds in 10 ms
    assert trace.meta["audit"]["largest_gap_ns"] == 4 * 10**6
    assert trace.samples.cpu_ns.tolist() == [-1] * 10
    assert trace.samples.weight_ns.sum() == 2 * 10 * 10**6


def test_processes_become_one_trace_on_one_clock(tmp_path: Path) -> None:
    audit = {"dropped": 2, "folded_spans": 0}
    for pid, start_ns, parent, name in (
        (30, 3000, 20, "worker"),
        (10, 1000, 1, "train.py"),
        (20, 2000, 10, "pool"),
    ):
        told = {"audit": audit, "end_ns": start_ns + 500} if pid != 30 else {}
        recorder = little(tmp_path, pid, start_ns, parent_pid=parent, name=name, **told)
        recorder.end(recorder.begin(Kind.SPAN, recorder.label(f"in {name}", "")), 0)
        recorder.counter(recorder.series("loss", ""), pid)
        recorder.close()
    trace = read(tmp_path)
    assert trace.processes.pid.tolist() == [10, 20, 30]
    assert trace.processes.parent.tolist() == [-1, 0, 1]
    assert [trace.strings[i] for i in trace.processes.name_id] == ["train.py", "pool", "worker"]
    assert trace.processes.start_ns.tolist() == [1000, 2000, 3000]
    assert trace.processes.end_ns.tolist() == [1500, 2500, 3010]
    assert names(trace) == ["in train.py", "in pool", "in worker"]
    assert trace.threads.process[trace.spans.thread].tolist() == [0, 1, 2]
    assert trace.spans.start_ns.tolist() == [1010, 2010, 3010]
    assert trace.series.process.tolist() == [0, 1, 2]
    assert trace.counters.value.tolist() == [10, 20, 30]
    assert trace.meta["audit"]["dropped"] == 4
    assert trace.meta["audit"]["unfinished_processes"] == 1
    assert trace.meta["pid"] == 10
