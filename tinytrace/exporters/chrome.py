"""The Chrome trace JSON, as Perfetto, chrome://tracing and scripts read it. Lossless.

`docs/trace-format.md` describes the file. It is written in pieces, so that a trace of any length needs
little memory, and loads as far as it goes when its end is missing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis import chrome_lines
from tinytrace.analysis.chrome_lines import microseconds
from tinytrace.analysis.chrome_tables import (
    EVENT_NAME,
    JSON_VERSION,
    escape_text,
    escape_value,
    table_parts,
)
from tinytrace.exporters.chrome_counters import counter_events
from tinytrace.exporters.chrome_flows import drawn_flows
from tinytrace.exporters.chrome_keys import Keys, Line
from tinytrace.exporters.chrome_samples import sample_events
from tinytrace.exporters.chrome_text import event, shown, viewable
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.tracks import Tracks, tracks
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

SPANS_PER_CHUNK = 16_384  # some 4 MB of text
GZIP_MEMBER_BYTES = 4 << 20  # of text: what a file that was cut off loses at most
GZIP_LEVEL = 7


class ChromeExporter:
    """Chrome trace JSON."""

    name = "chrome"
    suffix = ".json"
    help = "Chrome trace JSON: ui.perfetto.dev, chrome://tracing, your own scripts"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the trace; see `tinytrace.exporters.registry.Exporter`."""
        for piece in pieces(trace, progress):
            out.write(piece)


class GzippedChromeExporter:
    """Chrome trace JSON, gzipped."""

    name = "chrome-gz"
    suffix = ".json.gz"
    help = "the same, gzipped: about 15 times smaller"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the trace as several complete gzip members."""
        gathered: list[bytes] = []
        size = 0
        for piece in pieces(trace, progress):
            gathered.append(piece)
            size += len(piece)
            if size >= GZIP_MEMBER_BYTES:
                out.write(_gzip_member(gathered))
                gathered, size = [], 0
        out.write(_gzip_member(gathered))


def _gzip_member(gathered: list[bytes]) -> bytes:
    member = zlib.compressobj(GZIP_LEVEL, wbits=31)
    return b"".join([*map(member.compress, gathered), member.flush()])


def pieces(trace: Trace, progress: Progress | None = None) -> Iterator[bytes]:
    """Yield the text of the file in pieces of whole lines."""
    ids = tracks(trace)
    yield from map(viewable, _before_spans(trace, ids))
    yield from _span_lines(trace, ids, progress)
    yield from map(viewable, _after_spans(trace, ids))
    if progress is not None:
        progress(1.0)


def _before_spans(trace: Trace, ids: Tracks) -> Iterator[bytes]:
    epoch_ns = trace.start_ns
    yield b"[\n"
    yield _own(ids, head={"epoch_ns": epoch_ns, "spans": len(trace.spans)})
    yield _own(ids, meta=escape_value(trace.meta))
    yield _own(ids, warnings=[escape_text(warning) for warning in trace.warnings])
    yield from _names(trace, ids)
    for part in table_parts(trace):
        yield _own(ids, table=part)


def _after_spans(trace: Trace, ids: Tracks) -> Iterator[bytes]:
    epoch_ns = trace.start_ns
    yield from sample_events(trace, ids, epoch_ns)
    yield from counter_events(trace, ids, epoch_ns)
    yield _own(ids, end={"spans": len(trace.spans)}).rstrip(b",\n") + b"\n]\n"


def _own(ids: Tracks, **part: Any) -> bytes:
    """An event for our reader; viewers pass over it. It needs a pid, or viewers make up a process."""
    args = {"version": JSON_VERSION, **part}
    return event(ph="M", name=EVENT_NAME, pid=ids.pids[0], args=args)


def _names(trace: Trace, ids: Tracks) -> Iterator[bytes]:
    strings, processes, threads = trace.strings, trace.processes, trace.threads
    for row in range(len(processes)):
        pid = int(processes.pid[row])
        name = shown(strings[processes.name_id[row]])
        name = name if ids.pids[row] == pid else f"{name} (pid {pid})"
        if name:  # the importer takes an empty one for an error
            yield event(ph="M", name="process_name", pid=ids.pids[row], args={"name": name})
        yield event(ph="M", name="process_sort_index", pid=ids.pids[row], args={"sort_index": row})
    for row in range(len(threads)):
        pid, tid = ids.thread_pids[row], ids.thread_tids[row]
        name = shown(strings[threads.name_id[row]])
        if name:
            yield event(ph="M", name="thread_name", pid=pid, tid=tid, args={"name": name})
        order = {"sort_index": 2 * row}
        yield event(ph="M", name="thread_sort_index", pid=pid, tid=tid, args=order)


def _span_lines(trace: Trace, ids: Tracks, progress: Progress | None) -> Iterator[bytes]:
    lines = _SpanLines(trace, ids)
    count = len(trace.spans)
    for first in range(0, count, SPANS_PER_CHUNK):
        yield from lines.chunk(slice(first, min(first + SPANS_PER_CHUNK, count)))
        if progress is not None:
            progress(min(first + SPANS_PER_CHUNK, count) / count)


class _SpanLines:
    """Renders spans, a range of rows at a time.

    Nearly all are plain: one `X` event each, rendered together. The others, one by one, are instants
    (`i`), spans that do not nest on their thread's track (async, `b` and `e`), spans whose parent is not
    the one that their times tell, and ends of flows.
    """

    def __init__(self, trace: Trace, ids: Tracks) -> None:
        spans = trace.spans
        self._ids = ids
        self._start_ns = spans.start_ns - trace.start_ns
        self._dur_ns = spans.dur_ns
        self._step = spans.step
        self._parent = spans.parent
        self._keys = Keys(trace, ids)
        self._instant = (spans.kind == Kind.INSTANT) | (spans.dur_ns < 0)
        apart = self._instant | (spans.flags & Flag.DETACHED != 0)
        told, fits = chrome_lines.nest(
            spans.thread, spans.start_ns, spans.dur_ns, apart.astype("u1")
        )
        self._nests = fits
        self._strange_parent = told != spans.parent
        self._flows = drawn_flows(trace, fits)
        self._special = ~fits | self._strange_parent

    def chunk(self, rows: slice) -> Iterator[bytes]:
        """Yield the lines of these rows; before them, what their keys stand for."""
        new_keys, numbers, index = self._keys.of_rows(rows)
        if new_keys is not None:
            yield _own(self._ids, table=new_keys)
        rests = [self._keys.line(k).rest for k in numbers]
        special = set((np.flatnonzero(self._special[rows]) + rows.start).tolist())
        special |= self._flows.keys() & set(range(rows.start, rows.stop))
        begin = rows.start
        for row in [*sorted(special), rows.stop]:
            if row > begin:
                yield self._plain(slice(begin, row), rests, index[begin - rows.start :])
            if row < rows.stop:
                yield self._one(row, self._keys.line(numbers[index[row - rows.start]]))
            begin = row + 1

    def _plain(self, rows: slice, rests: list[bytes], index: NDArray[np.int32]) -> bytes:
        keys = np.ascontiguousarray(index[: rows.stop - rows.start])
        return chrome_lines.render(
            rests, self._start_ns[rows], self._dur_ns[rows], keys, self._step[rows]
        )

    def _one(self, row: int, line: Line) -> bytes:
        start_ns, dur_ns = int(self._start_ns[row]), int(self._dur_ns[row])
        step, parent = int(self._step[row]), int(self._parent[row])
        start = microseconds(start_ns)
        arguments = b'"step":%d,' % step if step >= 0 else b""
        if self._strange_parent[row]:
            arguments += b'"parent":%d,' % parent
        if self._nests[row]:
            dur = microseconds(dur_ns)
            flow = self._flows.get(row, b"")
            head = f'{{"ph":"X","ts":{start},"dur":{dur},"args":{{'
            return head.encode() + arguments + line.arguments + line.tail + flow + b"},\n"
        if dur_ns or not self._instant[row]:
            arguments += b'"dur_ns":%d,' % dur_ns
        if self._instant[row]:
            head = f'{{"ph":"i","s":"t","ts":{start},"args":{{'
            return head.encode() + arguments + line.rest
        identity = f'"id2":{{"local":"{row + 1:#x}"}}'  # of its process: "id" would be of all
        begin = f'{{"ph":"b",{identity},"ts":{start},"args":{{'
        end = f'{{"ph":"e",{identity},"ts":{microseconds(start_ns + dur_ns)}'
        tail = line.tail.removeprefix(b"}")
        return begin.encode() + arguments + line.rest + end.encode() + tail + b"},\n"
