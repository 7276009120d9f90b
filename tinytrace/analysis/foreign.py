"""Chrome traces that other tools wrote, as a `Trace` with whatever they hold.

torch.profiler (Kineto), viztracer and py-spy are known by name; any other Chrome JSON is read the same
way. Spans (``X``, ``B``/``E``, asynchronous ``b``/``e``), instants, counters, names and flows are
taken over; arguments are kept as they are, with the category beside them. What lies in what is worked
out from the times. Events that make no sense are skipped and counted, never a reason to stop.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.foreign_tables import Strings, Tracks, arguments_json
from tinytrace.analysis.kineto import (
    CATEGORIES,
    DEVICE_CATEGORIES,
    STEP_NAME,
    Signatures,
    kind_of,
)
from tinytrace.analysis.nesting import Nesting, innermost_at, nest
from tinytrace.errors import TraceFormatError
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Counters, Flows, Spans, Trace

# In µs. Beyond it (285 years) doubles no longer tell one microsecond from the next.
MAX_TIME_US = 9.0e15
_IGNORED_METADATA = frozenset(
    {"process_sort_index", "thread_sort_index", "trace_buffer_overflowed", "num_cpus"}
)


@dataclass
class _Rows:
    """Spans and instants as they are read, one list per column; times in µs as in the file."""

    track: list[int] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    dur: list[float] = field(default_factory=list)
    name: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    signature: list[int] = field(default_factory=list)
    args: list[int] = field(default_factory=list)
    step: dict[int, int] = field(default_factory=dict)  # row of a step → its number

    def __len__(self) -> int:
        return len(self.track)


@dataclass(frozen=True)
class _FlowPoint:
    """One end of an arrow: at a row, or at a time on a track."""

    key: Hashable
    phase: str  # s, t or f
    track: int
    ts: float
    row: int = -1


class _Reader:
    def __init__(self) -> None:
        self.strings = Strings()
        self.tracks = Tracks(self.strings)
        self.signatures = Signatures()
        self.rows = _Rows()
        self.counters: list[tuple[float, int, float]] = []
        self.points: list[_FlowPoint] = []
        self.skipped: Counter[str] = Counter()
        self.open: dict[int, list[int]] = {}  # track → rows of B without their E
        self.open_async: dict[Hashable, list[int]] = {}
        self.categories: set[str] = set()
        self.whole_us = True  # no time so far had decimals
        self.latest = -np.inf

    def read(self, events: Iterable[Any]) -> None:
        """Take over all events."""
        handlers = {
            "X": self._complete, "B": self._begin, "E": self._end, "i": self._instant,
            "I": self._instant, "R": self._instant, "C": self._counter, "b": self._begin_async,
            "e": self._end_async, "n": self._instant, "s": self._flow, "t": self._flow,
            "f": self._flow,
        }  # fmt: skip
        for event in _in_order(events):
            if not isinstance(event, dict):
                self.skipped["not objects"] += 1
                continue
            phase = event.get("ph")
            if phase == "M":
                self._metadata(event)
                continue
            handler = handlers.get(phase) if isinstance(phase, str) else None
            if handler is None:
                self.skipped["of a type that is not known"] += 1
                continue
            ts = event.get("ts")
            if not _is_time(ts):
                self.skipped["without a time"] += 1
                continue
            handler(event, ts)
            self.latest = max(self.latest, ts)
        self._close_the_open()

    def _metadata(self, event: dict[str, Any]) -> None:
        args = event.get("args")
        what = event.get("name")
        if not isinstance(args, dict) or what in _IGNORED_METADATA:
            return
        key = "labels" if what == "process_labels" else "name"
        if what in ("process_name", "process_labels", "thread_name") and args.get(key):
            self.tracks.name(what, event.get("pid"), event.get("tid"), str(args[key]))

    def _row(self, event: dict[str, Any], ts: float, dur: float, kind: Kind, flags: int = 0) -> int:
        """Append a span; return its row."""
        category = _text(event.get("cat"))
        name = _text(event.get("name"))
        args = event.get("args")
        rows = self.rows
        row = len(rows)
        self.categories.add(category)
        self.whole_us = self.whole_us and ts == int(ts) and dur == int(dur)
        rows.track.append(self._track(event, category))
        rows.start.append(ts)
        rows.dur.append(dur)
        rows.name.append(self.strings.of(name))
        rows.kind.append(kind)
        rows.flags.append(flags)
        rows.signature.append(
            self.signatures.of(name, args)
            if category == "cpu_op" and isinstance(args, dict)
            else -1
        )
        rows.args.append(self._args(args, category))
        if kind is Kind.STEP:
            number = STEP_NAME.fullmatch(name)
            rows.step[row] = int(number[1][:9]) if number else len(rows.step)
        return row

    def _args(self, args: Any, category: str) -> int:
        text = arguments_json(args, category)
        if text is None:
            self.skipped["arguments that are no JSON"] += 1
            return -1
        return self.strings.of(text) if text else -1

    def _track(self, event: dict[str, Any], category: str) -> int:
        return self.tracks.of(event.get("pid"), event.get("tid"), category in DEVICE_CATEGORIES)

    def _complete(self, event: dict[str, Any], ts: float) -> None:
        dur = event.get("dur")
        if not _is_time(dur) or dur < 0 or not _is_time(ts + dur):
            self.skipped["without a duration"] += 1
            return
        category = _text(event.get("cat"))
        row = self._row(event, ts, dur, kind_of(category, _text(event.get("name"))))
        self.latest = max(self.latest, ts + dur)
        if "bind_id" in event:
            for way, phase in (("flow_in", "f"), ("flow_out", "s")):
                if event.get(way):
                    key = ("bind_id", _text(event["bind_id"]))
                    self.points.append(_FlowPoint(key, phase, self.rows.track[row], ts, row))

    def _begin(self, event: dict[str, Any], ts: float) -> None:
        kind = kind_of(_text(event.get("cat")), _text(event.get("name")))
        row = self._row(event, ts, 0, kind, Flag.OPEN)
        self.open.setdefault(self.rows.track[row], []).append(row)

    def _end(self, event: dict[str, Any], ts: float) -> None:
        track = self._track(event, _text(event.get("cat")))
        self._finish(self.open.get(track, []), ts)

    def _begin_async(self, event: dict[str, Any], ts: float) -> None:
        row = self._row(event, ts, 0, Kind.SPAN, Flag.OPEN | Flag.DETACHED)
        self.open_async.setdefault(_async_key(event), []).append(row)

    def _end_async(self, event: dict[str, Any], ts: float) -> None:
        self._finish(self.open_async.get(_async_key(event), []), ts)

    def _finish(self, open_rows: list[int], ts: float) -> None:
        if not open_rows or ts < self.rows.start[open_rows[-1]]:
            self.skipped["ends without a beginning"] += 1
            return
        row = open_rows.pop()
        self.rows.dur[row] = ts - self.rows.start[row]
        self.rows.flags[row] &= ~Flag.OPEN
        self.whole_us = self.whole_us and ts == int(ts)

    def _close_the_open(self) -> None:
        """What began and never ended lasts to the end of the trace, and says so."""
        for rows in (*self.open.values(), *self.open_async.values()):
            for row in rows:
                self.rows.dur[row] = self.latest - self.rows.start[row]

    def _instant(self, event: dict[str, Any], ts: float) -> None:
        self._row(event, ts, 0, Kind.INSTANT)

    def _counter(self, event: dict[str, Any], ts: float) -> None:
        args = event.get("args")
        if not isinstance(args, dict) or not args:
            self.skipped["counters without a value"] += 1
            return
        name = _text(event.get("name"))
        process = self.tracks.process(event.get("pid"))
        for key, value in args.items():
            if not _is_number(value):
                self.skipped["counters without a value"] += 1
                continue
            full = name if len(args) == 1 or key == name else f"{name}.{key}"
            self.counters.append((ts, self.tracks.series(process, full), float(value)))

    def _flow(self, event: dict[str, Any], ts: float) -> None:
        category = _text(event.get("cat"))
        key = (category or _text(event.get("name")), _text(event.get("id")))
        track = self.tracks.either(event.get("pid"), event.get("tid"))
        self.points.append(_FlowPoint(key, event["ph"], track, ts))


def load_foreign(events: list[dict[str, Any]] | dict[str, Any], path: str | os.PathLike[str]) -> Trace:
    """Read a Chrome trace that another tool wrote.

    Args:
        events: the parsed JSON: a list of events, or the object that has them as ``traceEvents``
            (better: its other fields say who wrote it).
        path: where it is from; for messages only.

    Returns:
        The trace; ``meta["foreign"]`` has ``producer`` (``"torch.profiler"``, ``"viztracer"``,
        ``"py-spy"`` or ``"unknown"``) and ``header``, the object's other fields; ``warnings`` say
        what is not known and what was skipped.

    Raises:
        TraceFormatError: no list of events in it, or no event that can be read.

    Example:
        >>> event = {"ph": "X", "name": "f", "ts": 1.5, "dur": 2, "pid": 1, "tid": 1}
        >>> trace = load_foreign([event], "trace.json")
        >>> trace.spans.start_ns.tolist(), trace.spans.dur_ns.tolist()
        ([1500], [2000])
    """
    header: dict[str, Any] = {}
    if isinstance(events, dict):
        header = {key: value for key, value in events.items() if key != "traceEvents"}
        events = events.get("traceEvents", [])
    if not isinstance(events, list):
        raise TraceFormatError(f"{os.fspath(path)}: no list of trace events in it")
    reader = _Reader()
    reader.read(events)
    if events and not reader.rows and not reader.counters:
        raise TraceFormatError(f"{os.fspath(path)}: none of its {len(events)} events can be read")
    return _assemble(reader, header)


def producer_of(header: dict[str, Any], categories: Iterable[str]) -> str:
    """Return who wrote a trace: ``torch.profiler``, ``viztracer``, ``py-spy`` or ``unknown``."""
    categories = set(categories)
    if "viztracer_metadata" in header:
        return "viztracer"
    if categories & CATEGORIES or "schemaVersion" in header:
        return "torch.profiler"
    if "py-spy" in categories:
        return "py-spy"
    return "viztracer" if "FEE" in categories else "unknown"


def _in_order(events: Iterable[Any]) -> Iterable[Any]:
    """Put B, E, b and e in order of time, where a tool wrote them otherwise; the rest stays."""
    pairs = [
        (event["ts"], at)
        for at, event in enumerate(events)
        if isinstance(event, dict) and event.get("ph") in ("B", "E", "b", "e")
        if _is_time(event.get("ts"))
    ]
    if all(a[0] <= b[0] for a, b in zip(pairs, pairs[1:], strict=False)):
        return events
    result = list(events)
    for (_, at), (_, event_at) in zip(pairs, sorted(pairs), strict=True):
        result[at] = events[event_at]  # type: ignore[index]
    return result


def _is_number(value: Any) -> bool:
    if type(value) is float:
        return bool(np.isfinite(value))
    return type(value) is int and abs(value) < 1 << 1023


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and -MAX_TIME_US <= value <= MAX_TIME_US


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)[:1000]


def _async_key(event: dict[str, Any]) -> Hashable:
    return _text(event.get("cat")), _text(event.get("id", event.get("id2"))), _text(event.get("name"))


def _to_ns(times_us: Iterable[float]) -> NDArray[np.int64]:
    """Round to whole ns; the whole µs apart from the rest, so that no digit of the file is lost."""
    us = np.fromiter(times_us, np.float64)
    whole = np.floor(us)
    return np.asarray(whole.astype(np.int64) * 1000 + np.rint((us - whole) * 1000).astype(np.int64))


def _assemble(reader: _Reader, header: dict[str, Any]) -> Trace:
    rows = reader.rows
    start, end = _times(rows)
    track = np.array(rows.track, np.int64)
    flags = np.array(rows.flags, np.int64)
    largest_us = float(np.abs(end).max(initial=0)) / 1000
    tolerance_ns = 1000 if reader.whole_us else 1 + int(np.ceil(np.spacing(largest_us) * 1000))
    nesting = nest(track, start, end, (flags & Flag.DETACHED) != 0, tolerance_ns)
    order = nesting.order
    kind = np.array(rows.kind, np.int64)[order]
    spans = Spans(
        start_ns=start[order],
        dur_ns=nesting.end_ns - start[order],
        name_id=np.array(rows.name, np.int64)[order],
        kind=kind,
        flags=flags[order] | np.where(nesting.detached, int(Flag.DETACHED), 0),
        thread=track[order],
        parent=nesting.parent,
        signature_id=np.array(rows.signature, np.int64)[order],
        callsite_id=np.full(len(order), -1),
        step=_steps(rows, order, start[order], nesting.end_ns),
        args_id=np.array(rows.args, np.int64)[order],
    )
    flows, one_ended = _flows(reader, nesting, spans)
    counters = _counters(reader)
    producer = producer_of(header, reader.categories)
    warnings = _warnings(reader, producer, nesting, tolerance_ns, one_ended)
    first_last = np.concatenate([start, end, counters.t_ns])
    processes, threads, series = reader.tracks.tables(
        int(first_last.min(initial=first_last[0] if len(first_last) else 0)),
        int(first_last.max(initial=first_last[0] if len(first_last) else 0)),
    )
    return Trace(
        strings=reader.strings.all(),
        signatures=tuple(reader.signatures.table),
        spans=spans, counters=counters, series=series, flows=flows, processes=processes,
        threads=threads, meta={"foreign": {"producer": producer, "header": header}},
        warnings=warnings,
    )  # fmt: skip


def _times(rows: _Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start and end in ns. Start and duration are rounded, as both stand in the file."""
    start = _to_ns(rows.start)
    return start, start + _to_ns(rows.dur)


def _steps(
    rows: _Rows, order: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return per span the number of the step that it began in (the latest, if several), or −1."""
    result = np.full(len(order), -1, np.int64)
    place = {int(row): at for at, row in enumerate(order.tolist()) if row in rows.step}
    for row in sorted(rows.step, key=lambda r: int(start[place[r]])):
        at = place[row]
        result[(start >= start[at]) & (start < end[at])] = rows.step[row]
        result[at] = rows.step[row]
    return result


def _counters(reader: _Reader) -> Counters:
    t_ns = _to_ns(c[0] for c in reader.counters)
    series = np.array([c[1] for c in reader.counters], np.int64)
    value = np.array([c[2] for c in reader.counters], np.float64)
    order = np.lexsort((t_ns, series))
    return Counters(t_ns[order], series[order], value[order])


def _flows(reader: _Reader, nesting: Nesting, spans: Spans) -> tuple[Flows, int]:
    """Join the ends of each arrow in order of time; also return how many ends have no other one."""
    points = reader.points
    place = np.empty(len(nesting.order), np.int64)
    place[nesting.order] = np.arange(len(nesting.order))
    at = _to_ns(p.ts for p in points)
    of = np.array([p.track for p in points], np.int64)
    found = innermost_at(
        nesting, spans.thread, spans.start_ns, spans.kind != Kind.INSTANT, at, of
    ).tolist()
    chains: dict[Hashable, list[tuple[float, str, int]]] = {}
    for point, row in zip(points, found, strict=True):
        here = int(place[point.row]) if point.row >= 0 else row
        if here >= 0:
            chains.setdefault(point.key, []).append((point.ts, point.phase, here))
    arrows: list[tuple[int, int, int]] = []
    one_ended = 0
    for key, chain in chains.items():
        kind = reader.strings.of(str(key[0]) if isinstance(key, tuple) else "")
        chain.sort(key=lambda p: (p[0], "stf".index(p[1])))
        source = -1
        joined = 0
        for _, phase, row in chain:
            if phase != "s" and source >= 0 and source != row:
                arrows.append((source, row, kind))
                joined += 1
            source = source if phase == "f" else row
        one_ended += not joined
    table = np.array(arrows, np.int64).reshape(-1, 3)
    return Flows(table[:, 0], table[:, 1], table[:, 2]), one_ended


def _warnings(
    reader: _Reader, producer: str, nesting: Nesting, tolerance_ns: int, one_ended: int
) -> tuple[str, ...]:
    """Say what is not known about this trace, and what was not taken over."""
    texts = [f"trace of another tool ({producer}): its clock is not known, times are as in the file"]
    if producer == "torch.profiler":
        if reader.signatures.table:
            texts.append("torch.profiler records no outputs: FLOPs and bytes of its ops are not known")
        else:
            texts.append(
                "no shapes (torch.profiler has record_shapes=True): FLOPs and bytes are not known"
            )
    else:
        texts.append(f"{producer} records no operands: FLOPs and bytes are not known")
    if producer == "py-spy":
        texts.append(
            "py-spy's spans are runs of equal samples: separate calls may be merged, "
            "durations are those of the sampling"
        )
    if reader.skipped:
        parts = ", ".join(f"{n} {what}" for what, n in sorted(reader.skipped.items()))
        texts.append(f"events that were skipped: {parts}")
    if nesting.clipped:
        texts.append(
            f"{nesting.clipped} spans end up to {tolerance_ns} ns early: in the file they overlap "
            "by less than its resolution"
        )
    detached = int(nesting.detached.sum())
    if detached:
        texts.append(f"{detached} spans overlap others of their thread: their parents are not known")
    if one_ended:
        texts.append(f"{one_ended} arrows have only one end in the file")
    return tuple(texts)
