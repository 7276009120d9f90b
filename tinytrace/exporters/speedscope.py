"""speedscope's own format: the stack samples of each thread, and its spans.

https://github.com/jlfwong/speedscope/wiki/Importing-from-custom-sources and the schema in speedscope's package. Two
profiles per thread: ``sampled``, each sample with its weight, and ``evented``, the spans as calls. Times are
nanoseconds since the beginning of the trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import orjson

from tinytrace.exporters.chrome_text import shown
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.span_events import SpanEvents, span_events
from tinytrace.exporters.stacks import (
    NO_STACK,
    StackTexts,
    file_of,
    frame_label,
    label_in_all,
    place_label,
    samples_by_thread,
)
from tinytrace.tracer.groups import first_rows, group_ids
from tinytrace.tracer.trace import Column, Samples, Trace

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
ROWS_PER_PIECE = 10_000


class SpeedscopeExporter:
    """speedscope's JSON."""

    name = "speedscope"
    suffix = ".speedscope.json"
    help = "stack samples and spans for https://www.speedscope.app"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write samples and spans; see `tinytrace.exporters.registry.Exporter`."""
        for piece in _pieces(trace, progress):
            out.write(piece)


def _pieces(trace: Trace, progress: Progress | None) -> Iterator[bytes]:
    head = {"$schema": SCHEMA, "exporter": "tinytrace", "name": "tinytrace"}
    yield orjson.dumps(head)[:-1] + b',"activeProfileIndex":0,"shared":{"frames":['
    frame_of_span, named = group_ids([trace.spans.name_id, trace.spans.callsite_id])
    yield from _frames(trace, first_rows(frame_of_span, named))
    yield b']},"profiles":[\n'
    separator = b""
    for thread, samples in samples_by_thread(trace):
        yield separator + _head(trace, "sampled", label_in_all(trace, thread), _bounds(samples))
        yield from _sampled(trace, samples)
        separator = b",\n"
    for events in span_events(trace):
        frames = frame_of_span[events.row] + len(trace.frames) + 1
        bounds = int(events.at_ns[0]), int(events.at_ns[-1])
        yield separator + _head(trace, "evented", _title(trace, events), bounds)
        yield from _evented(trace, events, frames)
        separator = b",\n"
        if progress is not None:
            progress((int(events.row.max()) + 1) / len(trace.spans))
    if not separator:  # the app takes a file without profiles for a broken one
        yield _head(trace, "sampled", "nothing recorded", (0, 0)) + b'"samples":[],"weights":[]}'
    yield b"\n]}\n"
    if progress is not None:
        progress(1.0)


def _head(trace: Trace, kind: str, name: str, bounds: tuple[int, int]) -> bytes:
    start_ns, end_ns = (max(0, t_ns - trace.start_ns) for t_ns in bounds)
    fields = {
        "type": kind, "name": name, "unit": "nanoseconds", "startValue": start_ns,
        "endValue": end_ns,
    }  # fmt: skip
    return orjson.dumps(fields)[:-1] + b","


def _frames(trace: Trace, first_spans: Column) -> Iterator[bytes]:
    """Yield the table: all frames of the trace, one for no stack, then one per name and call site of a span."""
    frames = (_frame(trace, frame_label(trace, row), row) for row in range(len(trace.frames)))
    piece = [*frames, {"name": NO_STACK}]
    yield orjson.dumps(piece)[1:-1]
    columns = (trace.spans.name_id[first_spans], trace.spans.callsite_id[first_spans])
    for name_id, callsite_id in zip(*(column.tolist() for column in columns), strict=True):
        name = shown(trace.strings[name_id])
        name += place_label(trace, callsite_id) if callsite_id >= 0 else ""
        yield b"," + orjson.dumps(_frame(trace, name, callsite_id))


def _frame(trace: Trace, name: str, frame_id: int) -> dict[str, Any]:
    frame: dict[str, Any] = {"name": name}
    if frame_id >= 0 and (file := file_of(trace, frame_id)):
        frame["file"] = file
    if frame_id >= 0 and (line := int(trace.frames.line[frame_id])) > 0:
        frame["line"] = line
    return frame


def _bounds(samples: Samples) -> tuple[int, int]:
    return int(samples.t_ns[0] - samples.weight_ns[0]), int(samples.t_ns[-1])


def _sampled(trace: Trace, samples: Samples) -> Iterator[bytes]:
    """Yield the samples, an empty stack for each gap between two, and the weights."""
    texts = StackTexts(trace, lambda row: b"%d" % row, b",")
    gap_ns = np.diff(samples.t_ns) - samples.weight_ns[1:]
    after = np.flatnonzero(gap_ns > 0) + 1
    empty, no_stack = -2, -1
    stack_ids = np.insert(samples.stack_id, after, empty)
    weights_ns = np.insert(samples.weight_ns, after, gap_ns[after - 1])
    known = {empty: b"", no_stack: b"%d" % len(trace.frames)}
    yield b'"samples":['
    for first in range(0, len(stack_ids), ROWS_PER_PIECE):
        ids = stack_ids[first : first + ROWS_PER_PIECE].tolist()
        text = {i: b"[%b]" % (known[i] if i < 0 else texts[i]) for i in set(ids)}
        yield (b"," if first else b"") + b",".join([text[i] for i in ids])
    yield b'],"weights":['
    for first in range(0, len(weights_ns), ROWS_PER_PIECE):
        weights = weights_ns[first : first + ROWS_PER_PIECE].tolist()
        yield (b"," if first else b"") + orjson.dumps(weights)[1:-1]
    yield b"]}"


def _title(trace: Trace, events: SpanEvents) -> str:
    left_out = f", {events.left_out:,} not shown" if events.left_out else ""
    return f"{label_in_all(trace, events.thread)}: spans{left_out}"


def _evented(trace: Trace, events: SpanEvents, frames: Column) -> Iterator[bytes]:
    yield b'"events":['
    at_ns = events.at_ns - trace.start_ns
    for first in range(0, len(frames), ROWS_PER_PIECE):
        piece = slice(first, first + ROWS_PER_PIECE)
        kinds = np.where(events.opens[piece], "O", "C").tolist()
        columns = (kinds, frames[piece].tolist(), at_ns[piece].tolist())
        text = ",".join(
            f'{{"type":"{kind}","frame":{frame},"at":{at}}}'
            for kind, frame, at in zip(*columns, strict=True)
        )
        yield (b"," if first else b"") + text.encode()
    yield b"]}"
