"""What every exporter must do, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.builders import START_NS, TraceBuilder, big_trace, random_trace, trace_of
from tests.perfetto_engine import check_trace_file
from tinytrace.analysis.reader import load
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


TRACES: dict[str, Callable[[], Trace]] = {
    "empty": Trace,
    "one step": partial(trace_of, "step:10(matmul[2x3,3x4->2x4]:5@train.py:42:f relu:2)"),
    "threads": partial(trace_of, "a:5 b:3", worker_1="c:9(d:2 e:3)", worker_2="f"),
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


@pytest.fixture(scope="module")
def made() -> Callable[[str], Trace]:
    """The traces, each built once."""
    cache: dict[str, Trace] = {}
    return lambda name: cache.setdefault(name, TRACES[name]())


@pytest.mark.parametrize("trace_name", TRACES)
@pytest.mark.parametrize("format_name", LOSSLESS)
def test_a_trace_is_written_and_read_back_equal_and_perfetto_takes_all_of_it(
    format_name: str, trace_name: str, made: Callable[[str], Trace], tmp_path: Path
) -> None:
    trace = made(trace_name)
    target = tmp_path / f"trace{exporter(format_name).suffix}"
    export(trace, target)
    assert list(tmp_path.iterdir()) == [target]
    assert trace.differences(load(target)) == []
    drawn = check_trace_file(target).query(
        "select count() as n from slice where category != 'samples' or category is null"
    )
    assert drawn == [{"n": len(trace.spans)}]


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_same_trace_gives_the_same_bytes(format_name: str, tmp_path: Path) -> None:
    suffix = exporter(format_name).suffix
    contents = set()
    for number in range(2):
        target = tmp_path / f"{number}{suffix}"
        export(random_trace(3, 100), target)
        contents.add(target.read_bytes())
    assert len(contents) == 1
