"""Run folders that are damaged in any way: what is left is a valid trace, and the loss is named."""

from __future__ import annotations

import json
import shutil
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.perfetto_engine import check_trace_file
from tests.stores import NO_LIMIT, check_valid
from tinytrace import load
from tinytrace.errors import StoreError, TraceFormatError
from tinytrace.exporters.registry import export
from tinytrace.tracer import segments
from tinytrace.tracer.assemble import read_run
from tinytrace.tracer.reading import CLOCK_STEP_NS, SLACK_NS
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import (
    FORMAT_VERSION,
    SEGMENT_HEADER_BYTES,
    TABLES_NAME,
    Entry,
    Kind,
    Stream,
)
from tinytrace.tracer.trace import Trace

START_NS = 5 * 10**12
MOST_BYTES = 30_000_000  # that reading a damaged folder of some kB may take


class Clock:
    """A microsecond per look."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        self.now_ns += 1000
        return self.now_ns


def record(folder: Path, pid: int, *, fold: bool) -> None:
    """Record a bit of everything, as a process that is killed then; fold all that may be folded."""
    clock = Clock()
    recorder = PythonRecorder(clock=clock)
    folder.mkdir(parents=True)
    recorder.open(str(folder), NO_LIMIT)
    if fold:
        recorder._disk.ahead_bytes = NO_LIMIT
    meta = {"pid": pid, "start_ns": START_NS, "start_unix_ns": 10**18, "name": "train.py"}
    recorder.put(Entry.META, json.dumps(meta).encode())
    key = recorder.op("add").to_bytes(4, "little") + bytes([1, 1, 0, 0])
    operand = bytes([1, 0, 255, ord("f"), 4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0])
    add = recorder.tables.signature(key + operand + operand)
    own = recorder.label("kernel", '{"flops": 100, "bytes": null}')

    loss = recorder.series("loss", "")
    writer = recorder.enter()
    assert writer is not None
    for i in range(150):
        step = recorder.begin(Kind.STEP, i)
        inner = recorder.begin(Kind.LABELLED_OP, own)
        recorder.end(recorder.begin(Kind.OP, add), i % 7 == 6 and 2)
        recorder.end(inner, 0)
        recorder.end(step, 0)
        recorder.counter(loss, 1 / (i + 1))
        stack = recorder.tables.stack(sys._getframe())
        recorder.sample(clock(), 1000, 500, writer.index, stack)
    recorder.begin(Kind.SPAN, recorder.label("until the end", ""))
    recorder.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of two processes with small segments, one with folded ones."""
    run = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        for stream in Stream:
            patch.setitem(segments.FIRST_CAPACITY, stream, 16)
            patch.setitem(segments.CAPACITY, stream, 64)
        record(run / "p100-0", 100, fold=True)
        record(run / "p200-0", 200, fold=False)
    (run / "run.json").write_text('{"command": ["train.py"]}')
    yield run


def test_the_run_itself_is_whole(whole: Path) -> None:
    trace = read_run(whole)
    check_valid(trace)
    assert trace.warnings == ()
    assert len(trace.spans) + trace.aggregates.count.sum() == 2 * 451
    assert len(trace.aggregates) == 3
    assert trace.samples.weight_ns.sum() == 2 * 150 * 1000
    assert len(trace.samples) < 300 and len(trace.counters) < 300
    assert trace.meta["audit"]["folded_samples"] > 0 < trace.meta["audit"]["folded_counters"]


Damage = tuple[int, str, float, bytes]
damages = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from(["flip", "flip", "cut", "insert", "zero", "delete", "foreign"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=16),
    ),
    min_size=1,
    max_size=4,
)


def damage(run: Path, one: Damage) -> None:
    """Do one bad thing to one file, somewhere in it."""
    which, what, where, data = one
    files = sorted(path for path in run.rglob("*") if path.is_file())
    if not files:
        return
    path = files[which % len(files)]
    old = path.read_bytes()
    at = int(where * len(old))
    new = {
        "flip": old[:at] + bytes(a ^ b for a, b in zip(old[at : at + 16], data, strict=False)) + old[at + len(data) :],
        "cut": old[:at],
        "insert": old[:at] + data + old[at:],
        "zero": old[: at // 512 * 512] + bytes(512) + old[at // 512 * 512 + 512 :],
        "foreign": data,
    }  # fmt: skip
    path.unlink() if what == "delete" else path.write_bytes(new[what][: len(old) + 16])


def read_damaged(run: Path) -> Trace | None:
    """Read a run; None when all is lost, which is said by an error of ours."""
    tracemalloc.start()
    try:
        trace = read_run(run)
    except (StoreError, TraceFormatError) as problem:
        assert "\n" not in str(problem)
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_BYTES
    return trace


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damages)
@example([(0, "delete", 0.0, b"x")])
@example([(n, "zero", 0.0, b"x") for n in range(4)])
@example([(11, "foreign", 0.0, b"TTSEGMT1")])
@example([(17, "insert", 0.7265625, b"\x00\x00")])
def test_whatever_is_damaged_what_is_left_is_a_valid_trace(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, several: list[Damage]
) -> None:
    scratch = tmp_path_factory.mktemp("damaged")
    run = scratch / "run"
    shutil.copytree(whole, run)
    for one in several:
        damage(run, one)
    trace = read_damaged(run)
    if trace is not None:
        check_valid(trace)
        spread_ns = trace.end_ns - trace.start_ns
        assert spread_ns < 2**54
        export(trace, scratch / "trace.json")
        assert load(scratch / "trace.json").differences(trace) == []
    shutil.rmtree(scratch)


@pytest.mark.parametrize("cut", [0, 7, 63, 64, 65, 95, 96, 500])
def test_a_segment_that_is_cut_off_keeps_its_whole_records(
    whole: Path, tmp_path: Path, cut: int
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "p200-0" / "spans-0-3.seg"
    path.write_bytes(path.read_bytes()[:cut])
    trace = read_run(tmp_path / "run")
    check_valid(trace)
    kept = max(0, cut - SEGMENT_HEADER_BYTES) // 32
    assert len(trace.spans) + trace.aggregates.count.sum() == 2 * 451 - 64 + kept
    assert any("spans-0-3.seg" in text for text in trace.warnings) == (cut > 0)


@pytest.mark.parametrize(
    "name", ["p200-0/spans-0-2.seg", "p200-0/samples-0-1.seg", "p100-0/sums-0.tt"]
)
def test_a_file_that_is_missing_is_named(whole: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    trace = read_run(tmp_path / "run")
    check_valid(trace)
    assert any("missing" in text for text in trace.warnings)


def test_a_torn_last_entry_of_the_tables_is_dropped_and_named(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "p200-0" / TABLES_NAME
    path.write_bytes(path.read_bytes()[:-3])
    trace = read_run(tmp_path / "run")
    check_valid(trace)
    assert any("torn" in text for text in trace.warnings)
    assert "until the end" in trace.strings and "(not known)" in trace.strings
    export(trace, tmp_path / "trace.json")
    check_trace_file(tmp_path / "trace.json")


def test_times_from_outside_the_run_are_not_believed(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    folder = tmp_path / "run" / "p200-0"
    for name, at in (
        ("spans-0-1.seg", 0),
        ("spans-0-2.seg", 8),
        ("samples-0-1.seg", 0),
        ("counters-0-1.seg", 0),
    ):
        data = bytearray((folder / name).read_bytes())
        data[SEGMENT_HEADER_BYTES + at + 7] = 0x01  # two years later
        (folder / name).write_bytes(data)
    with (folder / TABLES_NAME).open("ab") as tables:
        text = json.dumps({"end_ns": START_NS + 10**9}).encode()
        tables.write((8 + len(text)).to_bytes(4, "little") + bytes([Entry.META, 0, 0, 0]) + text)
    trace = read_run(tmp_path / "run")
    check_valid(trace)
    assert trace.end_ns <= START_NS + 10**9 + SLACK_NS + CLOCK_STEP_NS
    assert "p200-0: 4 damaged records were left out" in trace.warnings


def test_all_that_is_lost_is_one_line(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="nothing was recorded"):
        read_run(tmp_path)
    shutil.copytree(whole, tmp_path / "run")
    for tables in (tmp_path / "run").glob(f"*/{TABLES_NAME}"):
        tables.unlink()
    with pytest.raises(StoreError, match="can be read") as problem:
        read_run(tmp_path / "run")
    assert "\n" not in str(problem.value)


def test_a_run_of_a_newer_version_is_refused(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "p100-0")
    path = tmp_path / "run" / "p200-0" / TABLES_NAME
    data = bytearray(path.read_bytes())
    data[8] = FORMAT_VERSION + 1
    path.write_bytes(data)
    with pytest.raises(TraceFormatError, match="newer tinytrace"):
        read_run(tmp_path / "run")
