"""Chrome traces that other tools wrote, as a `Trace` with whatever they hold.

torch.profiler (Kineto), viztracer and py-spy are known by name; any other Chrome JSON is read the
same way. Spans (``X``, ``B``/``E``, asynchronous ``b``/``e``), instants, counters, names and flows
are taken over; arguments are kept as they are, with the category beside them. What lies in what is
worked out from the times. Events that make no sense are skipped and counted, never a reason to
stop.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.foreign_events import EventReader, FlowPoint, Rows
from tinytrace.analysis.kineto import CATEGORIES, LAUNCH_FLOWS
from tinytrace.analysis.kineto_links import Links, call_sites, link, steps_of_work
from tinytrace.analysis.nesting import Nesting, innermost_at, nest
from tinytrace.errors import TraceFormatError
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Counters, Flows, Spans, Trace

Int64 = NDArray[np.int64]


def load_foreign(
    events: list[dict[str, Any]] | dict[str, Any], path: str | os.PathLike[str]
) -> Trace:
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
    reader = EventReader()
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


def _to_ns(times_us: Iterable[float]) -> Int64:
    """Round to whole ns; the whole µs apart from the rest, so that no digit of the file is lost."""
    us = np.fromiter(times_us, np.float64)
    whole = np.floor(us)
    return np.asarray(whole.astype(np.int64) * 1000 + np.rint((us - whole) * 1000).astype(np.int64))


def _assemble(reader: EventReader, header: dict[str, Any]) -> Trace:
    rows = reader.rows
    start, end = _times(rows)
    track = np.array(rows.track, np.int64)
    flags = np.array(rows.flags, np.int64)
    largest_us = float(np.abs(end).max(initial=0)) / 1000
    tolerance_ns = 1000 if reader.whole_us else 1 + int(np.ceil(np.spacing(largest_us) * 1000))
    nesting = nest(track, start, end, (flags & Flag.DETACHED) != 0, tolerance_ns)
    order = nesting.order
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    kind = np.array(rows.kind, np.int64)[order]
    name_id = np.array(rows.name, np.int64)[order]
    links = link(reader.ends, place, start[order], track[order])
    is_python = np.zeros(len(order), "?")
    is_python[place[rows.python]] = True
    sites, frames = call_sites(
        reader.strings, name_id=name_id, is_python=is_python, kind=kind, parent=nesting.parent, links=links,
    )  # fmt: skip
    step = _steps(rows, order, start[order], nesting.end_ns)
    steps_of_work(step, place[[row for row, _ in reader.ends.device]], links)
    spans = Spans(
        start_ns=start[order],
        dur_ns=nesting.end_ns - start[order],
        name_id=name_id,
        kind=kind,
        flags=flags[order] | np.where(nesting.detached, int(Flag.DETACHED), 0),
        thread=track[order],
        parent=nesting.parent,
        signature_id=np.array(rows.signature, np.int64)[order],
        callsite_id=sites,
        step=step,
        args_id=np.array(rows.args, np.int64)[order],
    )
    flows, one_ended = _flows(reader, nesting, spans, place, links)
    counters = _counters(reader)
    producer = producer_of(header, reader.categories)
    warnings = _warnings(reader, producer, nesting, tolerance_ns, one_ended)
    times = np.concatenate([start, end, counters.t_ns])
    bounds = (int(times.min()), int(times.max())) if len(times) else (0, 0)
    processes, threads, series = reader.tracks.tables(*bounds)
    return Trace(
        strings=reader.strings.all(),
        signatures=tuple(reader.signatures.table),
        spans=spans, frames=frames, counters=counters, series=series, flows=flows, processes=processes,
        threads=threads, meta={"foreign": {"producer": producer, "header": header}},
        warnings=warnings,
    )  # fmt: skip


def _times(rows: Rows) -> tuple[Int64, Int64]:
    """Return start and end in ns. Start and duration are rounded, as both stand in the file."""
    start = _to_ns(rows.start)
    return start, start + _to_ns(rows.dur)


def _steps(rows: Rows, order: Int64, start: Int64, end: Int64) -> Int64:
    """Return per span the number of the step that it began in (the latest, if several), or −1."""
    result = np.full(len(order), -1, np.int64)
    place = {int(row): at for at, row in enumerate(order.tolist()) if row in rows.step}
    for row in sorted(rows.step, key=lambda r: int(start[place[r]])):
        at = place[row]
        result[(start >= start[at]) & (start < end[at])] = rows.step[row]
        result[at] = rows.step[row]
    return result


def _counters(reader: EventReader) -> Counters:
    t_ns = _to_ns(c[0] for c in reader.counters)
    series = np.array([c[1] for c in reader.counters], np.int64)
    value = np.array([c[2] for c in reader.counters], np.float64)
    order = np.lexsort((t_ns, series))
    return Counters(t_ns[order], series[order], value[order])


def _rows_of_points(
    reader: EventReader, points: list[FlowPoint], nesting: Nesting, spans: Spans, place: Int64
) -> list[int]:
    """Return the span of each end of an arrow: the one it names, else the innermost one there."""
    tracks = [reader.tracks.either(p.pid, p.tid) if p.row < 0 else -1 for p in points]
    solid = spans.kind != Kind.INSTANT
    at, of = _to_ns(p.ts for p in points), np.array(tracks, np.int64)
    found: list[int]
    found = innermost_at(nesting, solid, spans.thread, spans.start_ns, at=at, of=of).tolist()
    for k, point in enumerate(points):
        if point.row >= 0:
            found[k] = int(place[point.row])
    return found


def _flows(
    reader: EventReader, nesting: Nesting, spans: Spans, place: Int64, links: Links
) -> tuple[Flows, int]:
    """Join the ends of each arrow in order of time; also return how many ends have no other one.

    Launches are known by their numbers, whether the file has arrows for them or not.
    """
    points = [
        p
        for p in reader.points
        if p.key[0] not in LAUNCH_FLOWS or p.key[1] not in reader.ends.launch
    ]
    chains: dict[tuple[str, str], list[tuple[float, str, int]]] = {}
    for point, row in zip(
        points, _rows_of_points(reader, points, nesting, spans, place), strict=True
    ):
        if row >= 0:
            chains.setdefault(point.key, []).append((point.ts, point.phase, row))
    arrows: list[tuple[int, int, int]] = []
    one_ended = 0
    for (category, _), chain in chains.items():
        kind = reader.strings.of(category)
        chain.sort(key=lambda p: (p[0], "stf".index(p[1])))
        source = -1
        joined = 0
        for _, phase, row in chain:
            if phase != "s" and source >= 0 and source != row:
                arrows.append((source, row, kind))
                joined += 1
            source = source if phase == "f" else row
        one_ended += not joined and category not in LAUNCH_FLOWS
    tables = [np.array(arrows, np.int64).reshape(-1, 3)]
    drawn = {kind for _, _, kind in arrows}
    for name, pairs in (("ac2g", links.launches), ("fwdbwd", links.backward)):
        if len(pairs) and reader.strings.of(name) not in drawn:
            kinds = np.full((len(pairs), 1), reader.strings.of(name))
            tables.append(np.concatenate([pairs, kinds], axis=1))
    table = np.concatenate(tables)
    return Flows(table[:, 0], table[:, 1], table[:, 2]), one_ended


def _warnings(
    reader: EventReader, producer: str, nesting: Nesting, tolerance_ns: int, one_ended: int
) -> tuple[str, ...]:
    """Say what is not known about this trace, and what was not taken over."""
    texts = [
        f"trace of another tool ({producer}): its clock is not known, times are as in the file"
    ]
    if producer == "torch.profiler":
        if reader.signatures.table:
            texts.append(
                "torch.profiler records no outputs and not which inputs are the same memory: outputs are worked "
                "out from the inputs' shapes, each input counts once; where that is not certain, an op is "
                "uncounted (docs/counting.md)"
            )
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
        texts.append(
            f"{detached} spans overlap others of their thread: their parents are not known"
        )
    lost = sum(key not in reader.ends.launch for _, key in reader.ends.device)
    if lost:
        texts.append(
            f"what started {lost} kernels and copies is not in the trace: it happened before the "
            "profiler began, or was not recorded"
        )
    if one_ended:
        texts.append(f"{one_ended} arrows have only one end in the file")
    return tuple(texts)
