"""Bounded disk: what folding leaves has the same sums, and both recorders leave the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cores import CORES, core
from tests.perfetto_engine import check_trace_file
from tests.stores import process_folder, read, recording
from tests.tracer.test_store_damage import record as record_little
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.summary import summarise
from tinytrace.exporters.registry import export
from tinytrace.tracer import segments
from tinytrace.tracer.disk_limit import on_disk
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES, Flag, Kind
from tinytrace.tracer.session import Session
from tinytrace.tracer.trace import Trace

ROUNDS = 70_000  # of two spans and a counter's value: 6.7 MB
LIMIT_BYTES = MIN_DISK_LIMIT_BYTES  # segments are small: 4,096 spans
EPOCH = range(34_000, 36_000)  # of rounds: goes on across the end of a segment, at round 34,816
FOLDED = 2 * EPOCH.stop  # spans that are folded, at least


def record(recorder: Any, rounds: int) -> None:
    """Ops with figures, around and inside each other; steps; a counter."""
    whole, outer = (
        recorder.label("epoch", '{"flops": 7, "bytes": 1000}'),
        recorder.label("mine", '{"bytes": 5}'),
    )
    plain, loss = recorder.label("plain", ""), recorder.series("loss", "")
    for i in range(rounds):
        if i == EPOCH.start:
            epoch = recorder.begin(Kind.LABELLED_OP, whole)
        token = recorder.begin(*((Kind.STEP, i) if i % 4 else (Kind.LABELLED_OP, outer)))
        if i % 3:
            recorder.end(recorder.begin(Kind.LABELLED_OP, plain), i % 5 == 0 and Flag.RAISED)
        else:
            recorder.instant(plain)
        recorder.end(token, 0)
        recorder.counter(loss, float((i * 7919) % 1000) if i % 100 else float("nan"), 1000 + i)
        if i == EPOCH[-1]:
            recorder.end(epoch, 0)


@pytest.fixture(scope="module", params=CORES)
def folded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Trace]:
    """A run of which a part was folded."""
    run = tmp_path_factory.mktemp(request.param)
    with recording(request.param, run, LIMIT_BYTES) as recorder:
        record(recorder, ROUNDS)
        # The compiled core folds in a thread of its own.
        while recorder.stats()["folded_spans"] < FOLDED:
            time.sleep(0.001)
    return run, read(run)


def totals(trace: Trace) -> dict[tuple[str, ...], tuple[int, int]]:
    """How many spans there were and how many of them ended, folded or not, by all that is no time."""
    spans, folded, found = trace.spans, trace.aggregates, dict[tuple[str, ...], list[int]]()
    outer = np.full(len(spans), -1)
    for row, parent in enumerate(spans.parent.tolist()):
        if parent >= 0:
            with_figures = spans.kind[parent] == Kind.OP
            outer[row] = spans.args_id[parent] if with_figures else outer[parent]
    for table, around in ((spans, outer), (folded, folded.outer_args_id)):
        for row in range(len(table)):
            ids = table.name_id[row], table.args_id[row], around[row]
            where = trace.frames.line[table.callsite_id[row]]
            key = (*(trace.strings[i] if i >= 0 else "" for i in ids), str(where))
            count, ended = found.setdefault(key, [0, 0]), int(table is spans)
            if table is folded:
                count[0] += int(folded.count[row])
                count[1] += int(folded.ended[row])
            else:
                count[0] += 1
                count[1] += ended and not spans.flags[row] & (Flag.RAISED | Flag.OPEN)
    return {key: (count, ended) for key, (count, ended) in found.items()}


def test_folded_spans_are_counted_and_the_first_segments_are_whole(
    folded: tuple[Path, Trace],
) -> None:
    _, trace = folded
    assert len(trace.spans) + trace.aggregates.count.sum() == 2 * ROUNDS + 1
    assert trace.meta["audit"]["folded_spans"] == trace.aggregates.count.sum() >= FOLDED
    assert (trace.spans.step[: 2 * 4096 : 2][1:4] == [1, 2, 3]).all()
    assert len(trace.spans) > 2 * 4096
    inside = {key[2] for key in totals(trace) if key[2]}
    assert inside == {'{"flops": 7, "bytes": 1000}', '{"bytes": 5}'}


def test_folding_keeps_what_is_no_time(folded: tuple[Path, Trace], tmp_path: Path) -> None:
    _, trace = folded
    with recording(trace.meta["audit"].get("core", CORES[0]), tmp_path) as recorder:
        record(recorder, ROUNDS)
    assert totals(read(tmp_path)) == totals(trace)


def test_figures_of_ops_count_in_folded_spans(folded: tuple[Path, Trace]) -> None:
    _, trace = folded
    assert count_trace(trace).total("flops") == 7
    alone = [i for i in range(0, ROUNDS, 4) if i not in EPOCH]
    assert count_trace(trace).total("bytes") == 1000 + 5 * len(alone)
    rows = {row.op: row for row in summarise(trace).ops}
    assert rows["mine"].calls == len(range(0, ROUNDS, 4))
    assert rows["epoch"].gflops is not None


def test_folded_counters_keep_their_extremes(folded: tuple[Path, Trace]) -> None:
    _, trace = folded
    t_ns, value = trace.counters.t_ns, trace.counters.value
    assert len(t_ns) < ROUNDS
    assert t_ns[0] == 1000 and t_ns[-1] == 1000 + ROUNDS - 1
    expected = [float((i * 7919) % 1000) if i % 100 else float("nan") for i in range(ROUNDS)]
    assert np.array_equal(value, np.array(expected)[t_ns - 1000], equal_nan=True)
    assert np.nanmin(value) == 1 and np.nanmax(value) == 999
    lost = trace.meta["audit"]["folded_counters"]
    assert lost > 0


def test_the_trace_of_a_folded_run_opens(folded: tuple[Path, Trace], tmp_path: Path) -> None:
    _, trace = folded
    export(trace, tmp_path / "trace.json")
    check_trace_file(tmp_path / "trace.json")


LONG_RUN = """
import os, sys
from tinytrace.tracer import segments
from tinytrace.tracer.disk_limit import on_disk
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES
from tinytrace.tracer.records import Kind, Stream
from tinytrace.tracer.session import load_core

folder, limit, spans = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for stream in Stream:
    segments.FIRST_CAPACITY[stream] = segments.CAPACITY[stream] = 1024
recorder = load_core()
recorder.open(folder, limit)
label, loss = recorder.label("work", ""), recorder.series("loss", "")

def size_of(entry):
    try:
        return entry.stat().st_blocks * 512
    except FileNotFoundError:  # renamed meanwhile
        return None

def kb(line):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(line))

for i in range(spans):
    recorder.end(recorder.begin(Kind.SPAN, label), 0)
    recorder.counter(loss, i)
    if i % (spans // 20) == 0:
        sizes = [size for entry in os.scandir(folder) if (size := size_of(entry)) is not None]
        print(sum(sizes), len(sizes), kb("VmRSS:"), recorder.stats()["errno"])
recorder.close()
"""


LONG_RUNS = {"c": (1_500_000, 6_000_000), "python": (250_000, 4_000_000)}  # spans, limit in bytes


@pytest.mark.parametrize("name", CORES)
def test_a_long_run_takes_no_more_disk_nor_memory_than_a_short_one(
    name: str, tmp_path: Path
) -> None:
    spans, limit_bytes = LONG_RUNS[name]
    done = subprocess.run(
        [sys.executable, "-c", LONG_RUN, str(process_folder(tmp_path)), str(limit_bytes), str(spans)],
        env={**os.environ, "TINYTRACE_CORE": name}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    disk, files, rss_kb, failures = zip(
        *(map(int, line.split()) for line in done.stdout.splitlines()), strict=True
    )
    assert max(disk) <= limit_bytes
    assert max(files) < limit_bytes / on_disk(1) and not any(failures)
    assert max(rss_kb[10:]) - max(rss_kb[:10]) < 8_000
    trace = read(tmp_path)
    assert len(trace.spans) + trace.aggregates.count.sum() == spans


@pytest.mark.parametrize("name", CORES)
def test_weights_of_folded_samples_add_up_to_wall_time(name: str, tmp_path: Path) -> None:
    stop = threading.Event()
    options = Options(
        tmp_path / "trace.json", rate_hz=10_000, ops=False, disk_limit_bytes=MIN_DISK_LIMIT_BYTES
    )
    with core(name):
        session = Session(options, [])
        session.start()

    def wait() -> None:
        # The open segments of all of them leave so little room that samples are folded at once.
        session._recorder.instant(session._recorder.label("waits", ""))
        stop.wait()

    waiting = [threading.Thread(target=wait, name=f"waiting {n}") for n in range(17)]
    for thread in waiting:
        thread.start()
    try:
        while session._recorder.stats()["folded_samples"] < 2048:
            sum(range(1000))
    finally:
        stop.set()
        session.stop()
        for thread in waiting:
            thread.join()
    trace = session.trace()
    session.discard()
    samples, audit = trace.samples, trace.meta["audit"]
    assert audit["folded_samples"] >= 2048
    assert 0 < audit["achieved_hz"] <= 10_000 and audit["largest_gap_ns"] > 0
    assert summarise(trace).audit.folded_samples == audit["folded_samples"]
    for thread in np.unique(samples.thread):
        mine = samples.take(samples.thread == thread)
        begin_ns = mine.t_ns - mine.weight_ns
        assert (begin_ns[1:] == mine.t_ns[:-1]).all()
        assert mine.weight_ns.sum() == mine.t_ns[-1] - begin_ns[0]


@pytest.mark.parametrize("stream", ["spans", "samples"])
def test_killed_between_folding_and_deleting_nothing_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    for capacities in (segments.FIRST_CAPACITY, segments.CAPACITY):
        for key in capacities:
            monkeypatch.setitem(capacities, key, 64)
    kept: dict[str, bytes] = {}
    unlink = os.unlink

    def keep(path: str) -> None:
        kept[path] = Path(path).read_bytes()
        unlink(path)

    monkeypatch.setattr(os, "unlink", keep)
    record_little(tmp_path / "run" / "p100-0", 100, fold=True)
    monkeypatch.undo()
    gone = [path for path in kept if f"/{stream}-" in path]
    assert gone
    before = read(tmp_path / "run")
    last = gone[-1]
    Path(last).write_bytes(kept[last])
    after = read(tmp_path / "run")
    assert after.differences(before) in ([], ["warnings"])
    shutil.rmtree(tmp_path / "run")
