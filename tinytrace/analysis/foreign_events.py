"""The events of a Chrome trace, one by one: spans, instants, counters, ends of arrows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from tinytrace.analysis.foreign_tables import Strings, Tracks, arguments_json, text_of
from tinytrace.analysis.kineto import (
    DEVICE_CATEGORIES,
    STEP_NAME,
    Signatures,
    kind_of,
    memory_readings,
)
from tinytrace.analysis.kineto_links import Ends
from tinytrace.tracer.records import Flag, Kind

# In µs. Beyond it (285 years) doubles no longer tell one microsecond from the next.
MAX_TIME_US = 9.0e15


@dataclass
class Rows:
    """Spans and instants as they are read, one list per column; times in µs as in the file."""

    track: list[int] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    dur: list[float] = field(default_factory=list)
    name: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    signature: list[int] = field(default_factory=list)
    args: list[int] = field(default_factory=list)
    python: list[int] = field(default_factory=list)  # rows that are Python functions
    step: dict[int, int] = field(default_factory=dict)  # row of a step → its number

    def __len__(self) -> int:
        return len(self.track)


@dataclass(frozen=True)
class FlowPoint:
    """One end of an arrow: at a row, or at a time of a thread that may have no span yet."""

    key: tuple[str, str]  # category, id
    phase: str  # s, t or f
    pid: Any
    tid: Any
    ts: float
    row: int = -1


class EventReader:
    """Takes events over; what makes no sense is counted in ``skipped``."""

    def __init__(self) -> None:
        self.strings = Strings()
        self.tracks = Tracks(self.strings)
        self.signatures = Signatures()
        self.rows = Rows()
        self.counters: list[tuple[float, int, float]] = []
        self.points: list[FlowPoint] = []
        self.skipped: Counter[str] = Counter()
        self.ends = Ends()
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
        if not isinstance(args, dict):
            return
        key = "labels" if what == "process_labels" else "name"
        if what in ("process_name", "process_labels", "thread_name") and args.get(key):
            self.tracks.name(what, event.get("pid"), event.get("tid"), text_of(args[key]))

    def _row(self, event: dict[str, Any], ts: float, dur: float, kind: Kind, flags: int = 0) -> int:
        """Append a span; return its row."""
        category = text_of(event.get("cat"))
        name = text_of(event.get("name"))
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
        if category == "python_function":
            rows.python.append(row)
        elif isinstance(args, dict):
            self.ends.take(row, category, args)
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
        category = text_of(event.get("cat"))
        row = self._row(event, ts, dur, kind_of(category, text_of(event.get("name"))))
        self.latest = max(self.latest, ts + dur)
        if "bind_id" in event:
            for way, phase in (("flow_in", "f"), ("flow_out", "s")):
                if event.get(way):
                    key = ("bind_id", text_of(event["bind_id"]))
                    self.points.append(FlowPoint(key, phase, None, None, ts, row))

    def _begin(self, event: dict[str, Any], ts: float) -> None:
        kind = kind_of(text_of(event.get("cat")), text_of(event.get("name")))
        row = self._row(event, ts, 0, kind, Flag.OPEN)
        self.open.setdefault(self.rows.track[row], []).append(row)

    def _end(self, event: dict[str, Any], ts: float) -> None:
        track = self._track(event, text_of(event.get("cat")))
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
        args = event.get("args")
        if event.get("name") == "[memory]" and isinstance(args, dict):
            device, readings = memory_readings(args)
            if readings:
                pid = event.get("pid") if device is None else device
                process = self.tracks.process(pid, device is not None)
                for name, mb in readings:
                    self.counters.append((ts, self.tracks.series(process, name, "MB"), mb))

    def _counter(self, event: dict[str, Any], ts: float) -> None:
        args = event.get("args")
        if not isinstance(args, dict) or not args:
            self.skipped["counters without a value"] += 1
            return
        name = text_of(event.get("name"))
        process = self.tracks.process(event.get("pid"))
        for key, value in args.items():
            if not _is_number(value):
                self.skipped["counters without a value"] += 1
                continue
            full = name if len(args) == 1 or key == name else f"{name}.{key}"
            self.counters.append((ts, self.tracks.series(process, full), float(value)))

    def _flow(self, event: dict[str, Any], ts: float) -> None:
        category = text_of(event.get("cat"))
        key = (category or text_of(event.get("name")), text_of(event.get("id")))
        self.points.append(FlowPoint(key, event["ph"], event.get("pid"), event.get("tid"), ts))


def _in_order(events: Iterable[Any]) -> Iterable[Any]:
    """Put B, E, b and e in order of time, where a tool wrote them otherwise; the rest stays."""
    pairs = [
        (event["ts"], at)
        for at, event in enumerate(events)
        if isinstance(event, dict) and event.get("ph") in ("B", "E", "b", "e")
        if _is_time(event.get("ts"))
    ]
    if all(a[0] <= b[0] for a, b in itertools.pairwise(pairs)):
        return events
    result = list(events)
    for (_, at), (_, event_at) in zip(pairs, sorted(pairs), strict=True):
        result[at] = events[event_at]  # type: ignore[index]
    return result


def _is_number(value: Any) -> bool:
    if type(value) is float:
        return bool(np.isfinite(value))
    return type(value) is int and abs(value) < 1 << 1023


def _is_time(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and -MAX_TIME_US <= value <= MAX_TIME_US


def _async_key(event: dict[str, Any]) -> Hashable:
    return (
        text_of(event.get("cat")),
        text_of(event.get("id", event.get("id2"))),
        text_of(event.get("name")),
    )
