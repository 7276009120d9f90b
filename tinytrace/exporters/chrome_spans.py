"""Spans as lines of the trace JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis import chrome_lines
from tinytrace.analysis.chrome_lines import microseconds
from tinytrace.analysis.chrome_tables import EVENT_NAME, JSON_VERSION
from tinytrace.exporters.chrome_flows import drawn_flows
from tinytrace.exporters.chrome_keys import Keys, Line
from tinytrace.exporters.chrome_text import event
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.span_keys import MAX_CACHED
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column, Trace

SPANS_PER_CHUNK = 16_384  # some 4 MB of text


def own_event(ids: Tracks, **part: Any) -> bytes:
    """Return an event for our reader; viewers pass over it. It needs a pid, or viewers make up a process."""
    args = {"version": JSON_VERSION, **part}
    return event(ph="M", name=EVENT_NAME, pid=ids.pids[0], args=args)


class SpanLines:
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
        self._instant = (spans.kind == Kind.INSTANT.value) | (spans.dur_ns < 0)
        apart = self._instant | (spans.flags & Flag.DETACHED.value != 0)
        told, fits = chrome_lines.nest(
            spans.thread, spans.start_ns, spans.dur_ns, apart.astype("u1")
        )
        self._nests = fits
        self._strange_parent = told != spans.parent
        self._flows = drawn_flows(trace, fits)
        self._special = ~fits | self._strange_parent
        self._special[list(self._flows)] = True

    @property
    def few_texts(self) -> bool:
        """Whether the texts of all keys and of all lines that are not plain may be held in memory."""
        return len(self._keys) + int(np.count_nonzero(self._special)) <= MAX_CACHED

    def ranges(self) -> Iterator[slice]:
        """Yield the ranges of rows that are written together."""
        for first in range(0, len(self._step), SPANS_PER_CHUNK):
            yield slice(first, min(first + SPANS_PER_CHUNK, len(self._step)))

    def all(self, progress: Progress | None) -> Iterator[bytes]:
        """Yield all lines."""
        for rows in self.ranges():
            yield from self.chunk(rows)
            if progress is not None:
                progress(rows.stop / len(self._step))

    def columns(self, rows: slice = slice(None)) -> tuple[Column, Column, Column]:
        """Return start, duration and step, contiguous: what differs between plain lines of one key."""
        return self._start_ns[rows], self._dur_ns[rows], self._step[rows]

    def rest(self, k: int) -> bytes:
        """Return the rest of the lines of a key that was found."""
        return self._keys.line(k).rest

    def chunk(self, rows: slice) -> Iterator[bytes]:
        """Yield the lines of these rows; before them, what their keys stand for."""
        rests: list[bytes] = []
        index = np.empty(0, "i4")
        for part in self.parts(rows):
            if isinstance(part, bytes):
                yield part
            elif isinstance(part, slice):
                start_ns, dur_ns, step = self.columns(part)
                key = index[part.start - rows.start : part.stop - rows.start]
                yield chrome_lines.render(rests, start_ns, dur_ns, key, step)
            else:
                numbers, index = part
                rests = [self.rest(k) for k in numbers]

    def parts(self, rows: slice) -> Iterator[bytes | slice | tuple[list[int], NDArray[np.int32]]]:
        """Yield what the lines of these rows are made of, in the order of the file.

        First the numbers of the keys that occur, and per row its index in them; then texts, and ranges of
        rows that are plain.
        """
        new_keys, numbers, index = self._keys.of_rows(rows)
        yield numbers, index
        if new_keys is not None:
            yield own_event(self._ids, table=new_keys)
        special = (np.flatnonzero(self._special[rows]) + rows.start).tolist()
        begin = rows.start
        for row in [*special, rows.stop]:
            if row > begin:
                yield slice(begin, row)
            if row < rows.stop:
                yield self._one(row, self._keys.line(numbers[index[row - rows.start]]))
            begin = row + 1

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
