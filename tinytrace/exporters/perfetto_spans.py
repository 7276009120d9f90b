"""Spans as Perfetto's track events, a range of rows at a time.

Nearly all are plain: a packet that begins the slice, from a template of their key, and one that ends it. So are
instants, which end as they begin: the importer would put what begins at the same time into an event of the type
made for them. The others are spans that do not nest or lie too deep, on tracks of their own, and ends of arrows.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis import chrome_lines
from tinytrace.analysis.chrome_tables import KEY_DTYPES
from tinytrace.analysis.counting import count_trace
from tinytrace.exporters.chrome_text import CATEGORIES
from tinytrace.exporters.flow_ends import drawable
from tinytrace.exporters.perfetto_sequence import Numbering, Sequence
from tinytrace.exporters.perfetto_tracks import LEVELS, FileTracks
from tinytrace.exporters.perfetto_wire import (
    NUMBER_WIDTH,
    DebugAnnotation,
    EventType,
    InternedData,
    Template,
    TracePacket,
    TrackEvent,
    field,
    fill,
    fixed64,
    padded,
    template,
    varint,
)
from tinytrace.exporters.registry import Progress
from tinytrace.exporters.span_keys import MAX_CACHED, Figures, distinct_rows
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace
from tinytrace.tracer.trees import depth_and_last

SPANS_PER_CHUNK = 16_384  # some 3 MB of packets
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def span_packets(
    trace: Trace, numbering: Numbering, tracks: FileTracks, progress: Progress | None
) -> Iterator[bytes]:
    """Yield the spans, thread by thread."""
    shared = _Shared(trace, numbering, tracks)
    count = len(trace.spans)
    bounds = np.searchsorted(trace.spans.thread, np.arange(len(trace.threads) + 1)).tolist()
    for thread, (first, end) in enumerate(itertools.pairwise(bounds)):
        if first == end:
            continue
        spans = _ThreadSpans(shared, thread)
        for begin in range(first, end, SPANS_PER_CHUNK):
            stop = min(begin + SPANS_PER_CHUNK, end)
            yield spans.chunk(begin, stop, is_last=stop == end)
            if progress is not None:
                progress(stop / count)


class _Shared:
    """What all threads use."""

    def __init__(self, trace: Trace, numbering: Numbering, tracks: FileTracks) -> None:
        self.trace = trace
        self.numbering = numbering
        self.tracks = tracks
        self.counts = count_trace(trace)
        self.key_columns = [getattr(trace.spans, name) for name in KEY_DTYPES]
        self.flows = _flow_fields(trace, numbering)
        self.flow_rows = np.array(sorted(self.flows), "i8")


def _flow_fields(trace: Trace, numbering: Numbering) -> dict[int, bytes]:
    """Return what is added to the events at the ends of arrows, by row.

    An arrow is drawn to a slice that begins after its sender's; the others are not drawn.
    """
    fields: dict[int, bytes] = {}
    for source, target in zip(*(rows.tolist() for rows in drawable(trace)), strict=True):
        number = numbering.uuid()
        fields[source] = fields.get(source, b"") + fixed64(TrackEvent.FLOW_IDS, number)
        fields[target] = fields.get(target, b"") + fixed64(TrackEvent.TERMINATING_FLOW_IDS, number)
    return fields


class _Body(NamedTuple):
    """The fields of an event that are the same for all spans of a key, and its plain template."""

    fields: bytes
    step: bytes
    plain: Template


class _Nesting(NamedTuple):
    """How spans nest, those that are still open from before first.

    Attributes:
        rows: of the table of spans.
        fits: whether it is shown on the thread's track.
        instant: whether it has no extent.
        depth: how many spans lie around it.
        opens, closes: places of its two events in the order of all events.
        still_open: the rows that are open when the next span begins, outermost first.
    """

    rows: Ints
    fits: Mask
    instant: Mask
    depth: Ints
    opens: Ints
    closes: Ints
    still_open: Ints


class _ThreadSpans:
    """Renders the spans of one thread, in order."""

    def __init__(self, shared: _Shared, thread: int) -> None:
        self._shared = shared
        self._spans = shared.trace.spans
        self._thread = thread
        self._sequence = Sequence.of_track(shared.numbering, shared.tracks.threads[thread])
        self._open = np.empty(0, "i8")
        self._bodies: dict[tuple[int, ...], _Body] = {}
        self._end = self._template(EventType.SLICE_END)
        self._deeper: dict[int, int] = {}  # tracks of spans too deep for the thread's
        self._lanes: list[tuple[int, int]] = []  # tracks of spans that do not nest: free from, uuid

    def chunk(self, begin: int, stop: int, *, is_last: bool) -> bytes:
        """Return the packets of these rows, and the ends of earlier ones that come between them."""
        if self._sequence.full or len(self._bodies) > MAX_CACHED:
            self._sequence.forget()
            self._bodies.clear()
        nesting = self._nest(np.append(self._open, np.arange(begin, stop)))
        known = len(self._open)
        bodies, index = self._bodies_of(slice(begin, stop))
        templates = [self._end, *(body.plain for body in bodies)]
        opening = np.append(np.zeros(known, "i8"), index + 1)
        closing = np.zeros(len(nesting.rows), "i8")
        described = []
        for at in self._special(nesting, known).tolist():
            uuid, description = self._track(nesting, at)
            described.append(description)
            track = field(TrackEvent.TRACK_UUID, uuid) if uuid else b""
            closing[at] = len(templates)
            templates.append(self._template(EventType.SLICE_END, track))
            if at >= known:
                opening[at] = len(templates)
                body = bodies[index[at - known]]
                templates.append(self._opening(int(nesting.rows[at]), body, track))
        self._open = nesting.still_open[:0] if is_last else nesting.still_open
        closed = np.ones(len(nesting.rows), "?")
        closed[np.searchsorted(nesting.rows, self._open)] = False
        packets = self._fill(
            templates, nesting, known,
            opening=opening, closing=closing, closed=np.flatnonzero(closed),
        )  # fmt: skip
        return self._sequence.take() + b"".join(described) + packets

    def _fill(
        self,
        templates: list[Template],
        nesting: _Nesting,
        known: int,
        *,
        opening: Ints,
        closing: Ints,
        closed: Ints,
    ) -> bytes:
        rows = nesting.rows
        order = np.argsort(np.append(nesting.opens[known:], nesting.closes[closed]))
        start_ns = self._spans.start_ns[rows]
        end_ns = (start_ns + np.where(nesting.instant, 0, self._spans.dur_ns[rows]))[closed]
        steps = np.append(self._spans.step[rows[known:]].astype("i8"), np.zeros(len(closed), "i8"))
        return fill(
            templates,
            np.append(opening[known:], closing[closed])[order],
            self._shared.numbering.times(np.append(start_ns[known:], end_ns)[order]),
            padded(np.maximum(steps, 0)[order], NUMBER_WIDTH),
        )

    def _nest(self, rows: Ints) -> _Nesting:
        spans = self._spans
        dur_ns = spans.dur_ns[rows]
        instant = (spans.kind[rows] == Kind.INSTANT) | (dur_ns < 0)
        apart = instant | (spans.flags[rows] & Flag.DETACHED != 0)
        told, fits = chrome_lines.nest(
            spans.thread[rows], spans.start_ns[rows], dur_ns, apart.astype("u1")
        )
        parent = told.astype("i8")
        depth, last = depth_and_last(parent)
        opens = 2 * np.arange(len(rows)) - depth
        at = len(rows) - 1
        chain = [at] if fits[at] else []
        while (at := int(parent[at])) >= 0:
            chain.append(at)
        return _Nesting(rows, fits, instant, depth, opens, 2 * last + 1 - depth, rows[chain[::-1]])

    def _special(self, nesting: _Nesting, known: int) -> Ints:
        """Spans that have packets of their own."""
        odd_instant = nesting.instant & (self._spans.dur_ns[nesting.rows] != 0)
        special = (~nesting.fits & ~nesting.instant) | odd_instant | (nesting.depth >= LEVELS)
        begin = int(nesting.rows[known])
        with_flows = self._shared.flow_rows
        first, end = np.searchsorted(with_flows, [begin, begin + len(special) - known])
        special[with_flows[first:end] - begin + known] = True
        return np.flatnonzero(special)

    def _bodies_of(self, rows: slice) -> tuple[list[_Body], Ints]:
        """Find what these spans begin with: the different ones, and per span its index in them."""
        figures = Figures.of(self._shared.counts, rows)
        has_step = (self._spans.step[rows] >= 0).astype("i4")
        columns = [*(column[rows] for column in self._shared.key_columns), figures.state, has_step]
        first_rows, index = distinct_rows(columns)
        bodies = []
        for row in first_rows.tolist():
            key = tuple(int(column[row]) for column in columns)
            body = self._bodies.get(key)
            if body is None:
                arguments = figures.span_arguments(rows.start + row, row)
                body = self._bodies[key] = self._body(rows.start + row, *arguments)
            bodies.append(body)
        return bodies, index.astype("i8")

    def _body(self, row: int, given: dict[str, Any], own: dict[str, Any]) -> _Body:
        """Render the key of a span, with the program's arguments and ours."""
        trace, sequence, spans = self._shared.trace, self._sequence, self._spans
        uncounted = [name for name, value in own.items() if value is None]
        arguments = [sequence.annotation(name, value) for name, value in given.items()]
        for name, value in own.items():
            if value is not None:
                arguments.append(sequence.annotation(name, value, once=True))
        if uncounted:  # null in JSON; here there is none
            arguments.append(sequence.annotation("uncounted", ", ".join(uncounted), once=True))
        category = CATEGORIES[Kind(int(spans.kind[row]))]
        name = trace.strings[spans.name_id[row]]
        fields = field(TrackEvent.NAME_IID, sequence.intern(InternedData.EVENT_NAMES, name))
        number = sequence.intern(InternedData.EVENT_CATEGORIES, category)
        fields += field(TrackEvent.CATEGORY_IIDS, number)
        if spans.callsite_id[row] >= 0:
            place = sequence.location(trace, int(spans.callsite_id[row]))
            fields += field(TrackEvent.SOURCE_LOCATION_IID, place)
        fields += b"".join(field(TrackEvent.DEBUG_ANNOTATIONS, one) for one in arguments)
        step = self._step_prefix() if spans.step[row] >= 0 else b""
        return _Body(fields, step, self._template(EventType.SLICE_BEGIN, fields, step))

    def _step_prefix(self) -> bytes:
        """The argument ``step`` up to its value."""
        name = self._sequence.intern(InternedData.DEBUG_ANNOTATION_NAMES, "step")
        inside = field(DebugAnnotation.NAME_IID, name) + varint(DebugAnnotation.INT_VALUE << 3)
        length = len(inside) + NUMBER_WIDTH
        return varint(TrackEvent.DEBUG_ANNOTATIONS << 3 | 2) + varint(length) + inside

    def _opening(self, row: int, body: _Body, track: bytes) -> Template:
        """Return the template of a single span."""
        fields = track + body.fields + self._shared.flows.get(row, b"")
        spans = self._spans
        dur_ns = int(spans.dur_ns[row])
        if dur_ns and (spans.kind[row] == Kind.INSTANT or dur_ns < 0):
            argument = self._sequence.annotation("dur_ns", dur_ns)
            fields += field(TrackEvent.DEBUG_ANNOTATIONS, argument)
        return self._template(EventType.SLICE_BEGIN, fields, body.step)

    def _template(self, kind: EventType, fields: bytes = b"", step: bytes = b"") -> Template:
        return template(
            self._shared.numbering.time_width, self._sequence.head, TracePacket.TRACK_EVENT,
            field(TrackEvent.TYPE, kind) + fields,
            number=step, number_width=NUMBER_WIDTH if step else 0,
        )  # fmt: skip

    def _track(self, nesting: _Nesting, at: int) -> tuple[int, bytes]:
        """Find the track of a span; its number, 0 for that of the thread, and what describes it if it is new."""
        if not nesting.fits[at] and not nesting.instant[at]:
            return self._lane(int(nesting.rows[at]))
        level = int(nesting.depth[at]) // LEVELS
        if not level or level in self._deeper:
            return self._deeper.get(level, 0), b""
        self._deeper[level], description = self._shared.tracks.deeper(self._thread, level)
        return self._deeper[level], description

    def _lane(self, row: int) -> tuple[int, bytes]:
        """Find a track that is free for a span; its number, and what describes it if it is new."""
        start_ns = int(self._spans.start_ns[row])
        end_ns = start_ns + int(self._spans.dur_ns[row])
        if self._lanes and self._lanes[0][0] <= start_ns:
            uuid = self._lanes[0][1]
            heapq.heapreplace(self._lanes, (end_ns, uuid))
            return uuid, b""
        uuid, description = self._shared.tracks.overlapping(self._thread)
        heapq.heappush(self._lanes, (end_ns, uuid))
        return uuid, description
