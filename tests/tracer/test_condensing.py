"""Runs with more spans than fit into memory: what is summed up while they are read adds up exactly."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores import NO_LIMIT, check_valid
from tests.totals import totals
from tests.tracer.test_store_damage import START_NS, Clock
from tinytrace.analysis.budget import fit
from tinytrace.analysis.counting import count_trace
from tinytrace.tracer import assemble, condensing, reading, segments
from tinytrace.tracer.assemble import read_run, span_limit_for
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import Entry, Flag, Kind, Stream
from tinytrace.tracer.trace import Trace
from tinytrace.tracer.windows import Course, choose_windows

KINDS = (*[Kind.OP] * 4, Kind.LABELLED_OP, Kind.SPAN, Kind.STEP, Kind.LAYER)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of 16 to 64 spans, read in parts of about 50."""
    for stream in Stream:
        monkeypatch.setitem(segments.FIRST_CAPACITY, stream, 16)
        monkeypatch.setitem(segments.CAPACITY, stream, 64)
    monkeypatch.setattr(reading, "PART_RECORDS", 50)


def record(run: Path, seed: int, spans: int, pid: int = 100) -> None:
    """Record spans in each other, of all kinds; some raise, outlive what they began in, or never end."""
    rng = random.Random(seed)
    recorder = PythonRecorder(clock=Clock())
    folder = run / f"p{pid}-0"
    folder.mkdir(parents=True)
    recorder.open(str(folder), NO_LIMIT)
    meta = {"pid": pid, "start_ns": START_NS, "start_unix_ns": 10**18, "name": "train.py"}
    recorder.put(Entry.META, json.dumps(meta).encode())
    operand = bytes([1, 0, 255, ord("f"), 4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0])
    keys = [
        recorder.op(name).to_bytes(4, "little") + bytes([1, 1, 0, 0]) for name in ("exp", "add")
    ]
    ops = [recorder.tables.signature(key + operand + operand) for key in keys]
    labels = [
        recorder.label("kernel", '{"flops": 100, "bytes": 8}'),
        recorder.label("outer", '{"flops": 7, "bytes": 40}'),
    ]
    open_ones: list[int] = []
    for i in range(spans):
        kind = rng.choice(KINDS)
        what = i if kind == Kind.STEP else rng.choice(ops if kind == Kind.OP else labels)
        open_ones.append(recorder.begin(kind, what))
        while open_ones and rng.random() < 0.5:
            at = -1 if rng.random() < 0.95 else rng.randrange(len(open_ones))
            recorder.end(open_ones.pop(at), rng.choice([0, 0, 0, Flag.RAISED]))
        if len(open_ones) > 8:
            recorder.end(open_ones.pop(), 0)
    while len(open_ones) > 2:
        recorder.end(open_ones.pop(), 0)
    recorder.close()


def figures(trace: Trace) -> tuple[int, int]:
    counts = count_trace(trace)
    return counts.total("flops"), counts.total("bytes")


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 700), st.integers(0, 400))
def test_sums_per_group_are_what_they_are_when_everything_is_read(
    seed: int, spans: int, limit: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        record(run, seed, spans)
        whole, condensed = read_run(run), read_run(run, limit)
    check_valid(condensed)
    assert totals(condensed) == totals(whole)
    assert figures(condensed) == figures(whole)
    assert totals(fit(condensed, 100_000)) == totals(whole)
    assert figures(fit(condensed, 100_000)) == figures(whole)


def test_sums_of_many_parts_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, 1, 3000)
    monkeypatch.setattr(condensing, "MAX_ROWS", 60)
    condensed = read_run(tmp_path, 100)
    assert totals(condensed) == totals(read_run(tmp_path))
    assert len(condensed.aggregates) < 300


def steady(run: Path, steps: int, pid: int = 100) -> None:
    """Record steps of ten spans, the one in the middle a slow one, all of them in one span."""
    clock = Clock()
    recorder = PythonRecorder(clock=clock)
    folder = run / f"p{pid}-0"
    folder.mkdir(parents=True)
    recorder.open(str(folder), NO_LIMIT)
    recorder.put(Entry.META, json.dumps({"pid": pid, "start_ns": START_NS}).encode())
    work, whole = recorder.label("work", ""), recorder.label("whole", "")
    around = recorder.begin(Kind.SPAN, whole)
    for number in range(steps):
        step = recorder.begin(Kind.STEP, number)
        for _ in range(9):
            recorder.end(recorder.begin(Kind.LABELLED_OP, work), 0)
        clock.now_ns += 10**6 * (number == steps // 2)
        recorder.end(step, 0)
    recorder.end(around, 0)
    recorder.close()


def test_the_first_and_the_slowest_step_are_whole_and_the_spans_around_them_are_there(
    tmp_path: Path,
) -> None:
    steady(tmp_path, 500)
    trace = read_run(tmp_path, 300)
    check_valid(trace)
    numbers = trace.spans.step[trace.spans.kind == Kind.STEP].tolist()
    assert {0, 250} < set(numbers)
    assert 200 < len(trace.spans) < 400
    per_step = np.bincount(trace.spans.step[trace.spans.step >= 0])
    assert set(per_step[per_step > 0].tolist()) == {10}
    assert [trace.strings[i] for i in trace.spans.name_id[:2]] == ["whole", "step"]
    assert trace.spans.parent[1] == 0


def test_what_was_summed_up_is_said_in_numbers(tmp_path: Path) -> None:
    steady(tmp_path, 500)
    trace = read_run(tmp_path, 300)
    lost = int(trace.aggregates.count.sum())
    assert lost == 5001 - len(trace.spans) == trace.meta["audit"]["folded_spans"]
    kept = len(set(trace.spans.step[trace.spans.step >= 0].tolist()))
    assert trace.warnings[1:] == (
        f"only {len(trace.spans)} of 5,001 spans were read whole, so that they fit into memory; the others were "
        f"summed up (sums are exact); kept whole: {kept} of 500 steps (the first, the slowest, others at random); "
        "a larger --budget keeps more",
    )


def test_processes_share_the_limit_by_what_they_recorded(tmp_path: Path) -> None:
    steady(tmp_path, 500)
    steady(tmp_path, 50, pid=200)
    trace = read_run(tmp_path, 550)
    check_valid(trace)
    process = trace.threads.process[trace.spans.thread]
    larger, smaller = np.bincount(process)[np.argsort(trace.processes.pid)]
    assert 350 < larger < 600 and 20 < smaller < 100


def test_a_run_within_the_limit_is_read_whole(tmp_path: Path) -> None:
    steady(tmp_path, 50)
    trace = read_run(tmp_path, 600)
    assert trace == read_run(tmp_path)
    assert len(trace.spans) == 501
    assert trace.warnings == ("the description of the run is lost",)


def test_memory_is_bounded_by_the_limit_and_not_by_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady(tmp_path, 3000)
    largest: list[int] = []
    add = condensing.Condenser.add

    def watched(self: condensing.Condenser, records: np.ndarray, position: np.ndarray) -> None:
        largest.append(len(records))
        add(self, records, position)

    monkeypatch.setattr(condensing.Condenser, "add", watched)
    assert len(read_run(tmp_path, 500).spans) < 1000
    assert sum(largest) == 30_001 and max(largest) < 200


def test_the_limit_follows_from_the_budget() -> None:
    assert span_limit_for(200_000_000) == 1_600_000
    assert span_limit_for(1) == assemble.LEAST_SPANS


NONE = np.empty((0, 2), "i8")


def test_without_steps_stretches_with_equally_many_spans_are_chosen() -> None:
    course = Course(np.array([0, 1000, 9000]), np.array([0, 64_000, 128_000]))
    windows = choose_windows([course], NONE, 32_000)
    assert windows.start_ns[0] == 0 and windows.end_ns[-1] == np.iinfo("i8").max
    held = windows.hold(np.arange(0, 9000, dtype="i8"))
    fast, slow = held[:1000].mean(), held[1000:].mean()
    assert fast * 64_000 + slow * 64_000 == pytest.approx(32_000, rel=0.1)
    assert 0 < fast < 1 > slow > 0


def test_steps_that_are_too_large_are_cut_into_stretches() -> None:
    course = Course(np.array([0, 1000]), np.array([0, 100_000]))
    windows = choose_windows([course], np.array([[0, 500], [500, 1000]]), 10_000)
    assert "stretches" in windows.text and "steps" not in windows.text


def test_what_steps_leave_goes_to_stretches() -> None:
    course = Course(np.array([0, 1000]), np.array([0, 100_000]))
    windows = choose_windows([course], np.array([[0, 10], [20, 30]]), 10_000)
    assert windows.text.startswith("2 of 2 steps") and "stretches" in windows.text


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 20)), max_size=12),
    st.integers(0, 1000),
    st.integers(0, 9),
)
def test_windows_are_ascending_and_apart(
    pairs: list[tuple[int, int]], limit: int, seed: int
) -> None:
    steps = np.array([(a, a + n) for a, n in pairs], "i8").reshape(-1, 2)
    course = Course(np.array([0, 40, 120]), np.array([0, 900, 1000]))
    windows = choose_windows([course], steps, limit, seed)
    edges = np.stack([windows.start_ns, windows.end_ns], 1).ravel()
    assert (np.diff(edges) > 0).all()
