"""What every exporter must do, whatever its format."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.builders import START_NS, TraceBuilder, big_trace, random_trace, trace_of
from tests.perfetto_engine import check_trace_file
from tinytrace.analysis.reader import load
from tinytrace.errors import OutputError
from tinytrace.exporters import export
from tinytrace.exporters.registry import exporter, formats
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

HOSTILE_NAMES = (
    "<script>alert(1)</script>", "\"quotes\" and 'quotes'", "back\\slash", "\x00\x01\x1b[31m\x7f",
    "line\nbreak\r\n", "größe 層 🚀", "\u2028\u2029\ufeff", "lone \udc80", "", "]}],", "x" * 5000,
)  # fmt: skip


def hostile_names() -> Trace:
    """Names of everything by somebody who wants to do harm."""
    builder = TraceBuilder()
    for number, name in enumerate(HOSTILE_NAMES):
        builder.process(10 + number, name)
        thread = builder.thread(number, 10 + number, name)
        frame = builder.frame(name, name, 1)
        for kind in Kind:
            builder.span(thread, START_NS + 10 * kind, 5, name, kind=kind, callsite=frame,
                         args={name: name})  # fmt: skip
        builder.sample(thread, START_NS + 1000, 1000, [frame])
        series = builder.series(name, name, number)
        builder.counter(series, START_NS, 1.0)
    return builder.build()


def deep_nesting(levels: int = 1000) -> Trace:
    """A span in a span in a span…; and a sample as deep."""
    builder = TraceBuilder()
    thread = builder.thread(builder.process(10), 10)
    parent = -1
    for level in range(levels):
        dur_ns = (levels - level) * 10
        parent = builder.span(
            thread, START_NS + level, dur_ns, "deep", kind=Kind.SPAN, parent=parent
        )
    frames = [builder.frame("f", "deep.py", level) for level in range(levels)]
    builder.sample(thread, START_NS + 10**6, 10**6, frames)
    return builder.build()


def not_finite() -> Trace:
    """Counters with values that are no numbers."""
    builder = TraceBuilder()
    series = builder.series("loss", "", builder.process(10))
    for number, value in enumerate((1.0, float("nan"), float("inf"), float("-inf"), 2.0)):
        builder.counter(series, START_NS + number, value)
    return builder.build()


def processes() -> Trace:
    """A process and its child, each with threads; and the child again, after it replaced itself by exec."""
    builder = TraceBuilder()
    parent = builder.process(10, "train.py", START_NS, START_NS + 1000)
    children = [builder.process(11, name, START_NS, START_NS + 1000, parent) for name in "ab"]
    for process in (parent, *children):
        series = builder.series("rss_mb", "MB", process)
        builder.counter(series, START_NS, 1.0 + process)
        for tid in (20, 21):
            thread = builder.thread(process, tid, f"thread {tid}")
            builder.span(thread, START_NS, 500, "work", kind=Kind.SPAN)
            builder.sample(thread, START_NS + 500, 500, [builder.frame("work", "w.py", tid)])
    return builder.build()


TRACES: dict[str, Callable[[], Trace]] = {
    "empty": Trace,
    "one step": partial(trace_of, "step:10(matmul[2x3,3x4->2x4]:5@train.py:42:f relu:2)"),
    "threads": partial(trace_of, "a:5 b:3", worker_1="c:9(d:2 e:3)", worker_2="f"),
    "processes": processes,
    "zero durations": partial(trace_of, "a:0 b:0(c:0 d:0) e:3(f:0)"),
    "open, raised, detached": partial(trace_of, "a?:5(b!:2) c~:9 d:1"),
    "deep nesting": deep_nesting,
    "hostile names": hostile_names,
    "values that are not finite": not_finite,
    "anything": partial(random_trace, 7, 200),
    "anything else": partial(random_trace, 8, 200),
    "100,000 spans": partial(big_trace, 100_000),
}
FORMATS = sorted(formats())
LOSSLESS = ["chrome", "chrome-gz"]
PERFETTO = ["perfetto", "perfetto-trace"]  # the importer takes these too, and all of it
# What an exporter may need beside the trace, which has 46 bytes of columns per span: columns again, for a while,
# and never the events, which are several times as much as text or as objects.
COLUMNS_BYTES_PER_SPAN = 128
LARGEST_PIECE = 8 << 20


@pytest.fixture(scope="module")
def made() -> Callable[[str], Trace]:
    """The traces, each built once."""
    cache: dict[str, Trace] = {}
    return lambda name: cache.setdefault(name, TRACES[name]())


@pytest.mark.parametrize("trace_name", TRACES)
@pytest.mark.parametrize("format_name", LOSSLESS)
def test_a_trace_is_written_and_read_back_equal(
    format_name: str, trace_name: str, made: Callable[[str], Trace], tmp_path: Path
) -> None:
    trace = made(trace_name)
    target = tmp_path / f"trace{exporter(format_name).suffix}"
    export(trace, target)
    assert trace.differences(load(target)) == []


@pytest.mark.parametrize("trace_name", TRACES)
@pytest.mark.parametrize("format_name", [*LOSSLESS, *PERFETTO])
def test_perfetto_takes_all_spans_without_a_complaint(
    format_name: str, trace_name: str, made: Callable[[str], Trace], tmp_path: Path
) -> None:
    trace = made(trace_name)
    target = tmp_path / f"trace{exporter(format_name).suffix}"
    export(trace, target)
    kinds = ", ".join(f"'{kind.name.lower()}'" for kind in Kind)
    drawn = check_trace_file(target).query(
        f"select count() as n, min(dur) as least from slice where category in ({kinds})"
    )
    assert drawn[0]["n"] == len(trace.spans)
    assert (drawn[0]["least"] or 0) >= 0  # −1: a slice that never ended


@pytest.mark.parametrize("trace_name", TRACES)
@pytest.mark.parametrize("format_name", FORMATS)
def test_any_trace_can_be_written_and_the_same_one_gives_the_same_bytes(
    format_name: str, trace_name: str, made: Callable[[str], Trace], tmp_path: Path
) -> None:
    target = tmp_path / f"trace{exporter(format_name).suffix}"
    contents = set()
    for _ in range(2):
        export(made(trace_name), target)
        assert list(tmp_path.iterdir()) == [target]
        contents.add(target.read_bytes())
    assert len(contents) == 1
    assert_no_hostile_text(contents.pop(), target.suffix)


def assert_no_hostile_text(content: bytes, ending: str) -> None:
    """JSON is strict JSON in UTF-8; in HTML and SVG no name of a trace is a tag."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    if ending == ".json" or (ending == ".gz" and content.lstrip()[:1] in (b"[", b"{")):
        json.loads(content.decode(), parse_constant=no_constant)
    if ending in {".html", ".svg"}:
        assert HOSTILE_NAMES[0].encode() not in content


def no_constant(constant: str) -> NoReturn:
    """NaN and Infinity are no JSON."""
    raise AssertionError(constant)


DIGESTS = """
import hashlib, tempfile
from tests.builders import random_trace
from tinytrace.exporters import export
from tinytrace.exporters.registry import exporter, formats
for name in sorted(formats()):
    path = tempfile.mkdtemp() + "/trace" + exporter(name).suffix
    export(random_trace(3, 100), path)
    print(name, hashlib.sha256(open(path, "rb").read()).hexdigest())
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=300, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_another_process_with_other_hashes_writes_the_same_bytes() -> None:
    first, second = (python(DIGESTS, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert (first.returncode, first.stderr) == (0, "")
    assert [line.split()[0] for line in first.stdout.splitlines()] == FORMATS
    assert first.stdout == second.stdout


class Sink(io.BytesIO):
    """Keeps nothing but the size of the largest piece."""

    largest = 0

    def write(self, piece: Any) -> int:
        """Take a piece."""
        self.largest = max(self.largest, len(piece))
        return len(piece)

    def writelines(self, pieces: Any) -> None:
        """Take pieces; that of `io.BytesIO` would not ask `write`, and keep them."""
        for piece in pieces:
            self.write(piece)


@pytest.mark.parametrize("format_name", FORMATS)
def test_memory_does_not_grow_with_the_events(format_name: str) -> None:
    peaks = []
    sizes = (40_000, 160_000)
    exporter(format_name).write(big_trace(100), Sink())  # what is loaded the first time
    for n in sizes:
        trace, sink = big_trace(n), Sink()
        tracemalloc.start()
        exporter(format_name).write(trace, sink)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sink.largest <= LARGEST_PIECE
    assert peaks[1] - peaks[0] <= COLUMNS_BYTES_PER_SPAN * (sizes[1] - sizes[0])


# ---- what goes wrong: nothing half-written is left, and the earlier file stays -------------------


@pytest.fixture
def earlier(tmp_path: Path) -> Callable[[str], Path]:
    """The path of a file of a format, which holds something already."""

    def write(format_name: str) -> Path:
        target = tmp_path / f"trace{exporter(format_name).suffix}"
        target.write_text("precious")
        return target

    return write


def assert_untouched(target: Path) -> None:
    """The earlier file is there, and nothing else."""
    assert target.read_text() == "precious"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_system_that_takes_no_more_is_one_line(
    format_name: str, earlier: Callable[[str], Path]
) -> None:
    target, trace = earlier(format_name), random_trace(5, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large") as caught:
            export(trace, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_untouched(target)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_full_device_and_a_target_that_cannot_be_are_one_line(
    format_name: str, tmp_path: Path
) -> None:
    trace = random_trace(5, 100)
    suffix = exporter(format_name).suffix
    (tmp_path / "file").touch()
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        export(trace, "/dev/full", format=format_name)
    for target, said in (
        (tmp_path / f"missing/trace{suffix}", "cannot be written: No such file or directory"),
        (tmp_path / f"file/trace{suffix}", "cannot be written: Not a directory"),
        (tmp_path / f"folder{suffix}", "is a folder"),
    ):
        with pytest.raises(OutputError, match=said):
            export(trace, target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", f"folder{suffix}"]


# The exporter tells how far it is; then the signal comes, as from a terminal or the system.
INTERRUPTED = """
import os, signal, sys
from tests.builders import big_trace
from tinytrace.exporters import export
trace = big_trace(20_000)
for format_name, target, signal_name in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3]):
    def progress(share):
        os.kill(os.getpid(), getattr(signal, signal_name))
    child = os.fork()
    if not child:
        try:
            export(trace, target, format_name, progress)
        except KeyboardInterrupt:
            os._exit(42)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def interrupted(signal_name: str, targets: dict[str, Path]) -> list[int]:
    """Export to each target, and have a signal in the middle; the exit codes."""
    arguments = [a for name, path in targets.items() for a in (name, str(path), signal_name)]
    done = python(INTERRUPTED, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [int(line) for line in done.stdout.split()]


@pytest.fixture
def earlier_ones(tmp_path: Path) -> dict[str, Path]:
    """A folder per format, with an earlier file."""
    targets = {}
    for name in FORMATS:
        targets[name] = tmp_path / name / f"trace{exporter(name).suffix}"
        targets[name].parent.mkdir()
        targets[name].write_text("precious")
    return targets


def test_an_interrupted_export_leaves_the_earlier_file_and_nothing_else(
    earlier_ones: dict[str, Path],
) -> None:
    assert interrupted("SIGINT", earlier_ones) == [42] * len(FORMATS)
    for target in earlier_ones.values():
        assert_untouched(target)


def test_a_killed_export_leaves_the_earlier_file_and_the_next_export_cleans_up(
    earlier_ones: dict[str, Path],
) -> None:
    assert interrupted("SIGKILL", earlier_ones) == [-9] * len(FORMATS)
    for format_name, target in earlier_ones.items():
        assert target.read_text() == "precious"
        (left,) = (path for path in target.parent.iterdir() if path != target)
        assert left.name.startswith(".tinytrace-")
        os.utime(left, (0, 0))  # long ago
        export(Trace(), target, format_name)
        assert list(target.parent.iterdir()) == [target]
        assert target.read_bytes() != b"precious"
