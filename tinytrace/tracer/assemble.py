"""A run folder → one `Trace`: segments become columns, the processes of a run are put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinytrace.errors import StoreError
from tinytrace.tracer.pyspy_merge import as_samples
from tinytrace.tracer.pyspy_samples import read_samples
from tinytrace.tracer.records import (
    FORMAT_VERSION,
    RECORD_BYTES,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAGIC,
    STREAM_NAMES,
    SUM_BYTES,
    SUMS_HEADER,
    SUMS_HEADER_BYTES,
    SUMS_MAGIC,
    Flag,
    Kind,
    Stream,
)
from tinytrace.tracer.step_numbers import step_numbers
from tinytrace.tracer.store import RUN_NAME, process_folders
from tinytrace.tracer.tables import Tables, read_tables
from tinytrace.tracer.trace import (
    Aggregates,
    Column,
    Counters,
    Frames,
    Processes,
    Samples,
    Series,
    Signature,
    Spans,
    Stacks,
    Threads,
    Trace,
)

SPAN_DTYPE = np.dtype(
    [("start_ns", "<u8"), ("dur_ns", "<u8"), ("what", "<u4"), ("site", "<u4"), ("parent", "<u4"),
     ("kind", "u1"), ("flags", "u1"), ("zero", "<u2")]
)  # fmt: skip
SAMPLE_DTYPE = np.dtype(
    [("t_ns", "<u8"), ("weight_ns", "<u8"), ("cpu_ns", "<u4"), ("thread", "<u4"), ("stack", "<u4"), ("zero", "<u4")]
)  # fmt: skip
COUNTER_DTYPE = np.dtype(
    [("t_ns", "<u8"), ("value", "<f8"), ("series", "<u4"), ("zero", "<u4"), ("zero2", "<u8")]
)
SUM_DTYPE = np.dtype(
    [(n, "<u4") for n in ("what", "site", "kind", "zero")]
    + [(n, "<u8") for n in ("count", "leaves", "total_ns", "self_ns", "min_ns", "max_ns", "start_ns", "end_ns")]
)  # fmt: skip
SUM_FIELDS = (SUM_DTYPE.names or ())[4:]
DTYPES = {Stream.SPANS: SPAN_DTYPE, Stream.SAMPLES: SAMPLE_DTYPE, Stream.COUNTERS: COUNTER_DTYPE}
CPU_NOT_KNOWN = 0xFFFFFFFF
_TIME = {Stream.SPANS: "start_ns", Stream.SAMPLES: "t_ns", Stream.COUNTERS: "t_ns"}


@dataclass
class _Names:
    """The strings, frames, stacks and signatures of the trace being put together."""

    strings: dict[str, int] = field(default_factory=dict)
    frames: dict[tuple[int, int, int], int] = field(default_factory=dict)
    stacks: dict[tuple[int, int], int] = field(default_factory=dict)  # (frame, parent)
    signatures: dict[Signature, int] = field(default_factory=dict)

    def string(self, text: str) -> int:
        return self.strings.setdefault(text, len(self.strings))

    def frame(self, function: str, file: str, line: int) -> int:
        key = (self.string(function), self.string(file), line)
        return self.frames.setdefault(key, len(self.frames))

    def stack(self, frame: int, parent: int) -> int:
        return self.stacks.setdefault((frame, parent), len(self.stacks))


@dataclass
class _Parts:
    """Columns of all processes so far."""

    tables: dict[type, list[Any]] = field(default_factory=dict)
    threads: list[tuple[int, int, int]] = field(default_factory=list)
    processes: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    series: list[tuple[int, int, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, table: Any) -> None:
        self.tables.setdefault(type(table), []).append(table)

    def joined(self, cls: Any) -> Any:
        tables = self.tables.get(cls, [])
        if not tables:
            return cls.empty()
        if len(tables) == 1:
            return tables[0]
        return cls(**{n: np.concatenate([getattr(t, n) for t in tables]) for n in cls.DTYPES})


def _segments(
    folder: Path, stream: Stream, parts: _Parts
) -> dict[int, list[tuple[int, int, Column]]]:
    """Per thread: (number, index of the first record, records) in order; broken files are named."""
    found: dict[int, list[tuple[int, int, Column]]] = {}
    for path in folder.glob(f"{STREAM_NAMES[stream]}-*.seg"):
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        if len(data) < SEGMENT_HEADER_BYTES or bytes(data[:8]) != SEGMENT_MAGIC:
            if data.any():
                parts.warnings.append(f"{path.name} is not a segment and was left out")
            continue
        head = SEGMENT_HEADER.unpack(bytes(data[: SEGMENT_HEADER.size]))
        _, version, kind, size, capacity, thread, number, _, first, _, _ = head
        if version > FORMAT_VERSION or kind != stream or size != RECORD_BYTES:
            parts.warnings.append(
                f"{path.name} has a layout that is not known here and was left out"
            )
            continue
        whole = min(capacity, (len(data) - SEGMENT_HEADER_BYTES) // RECORD_BYTES)
        if whole < capacity:
            parts.warnings.append(f"{path.name} is cut off: {capacity - whole} slots are lost")
        body = data[SEGMENT_HEADER_BYTES : SEGMENT_HEADER_BYTES + whole * RECORD_BYTES]
        found.setdefault(thread, []).append((number, first, body.view(DTYPES[stream])))
    for segments in found.values():
        segments.sort(key=lambda s: s[0])
    return found


def _written(segments: list[tuple[int, int, Column]], stream: Stream) -> tuple[Column, Column]:
    """The records that were written, and the index of each in its thread."""
    records = np.concatenate([s[2] for s in segments])
    index = np.concatenate([np.arange(len(s[2]), dtype=np.int64) + s[1] for s in segments])
    keep = records[_TIME[stream]] != 0
    return (records, index) if keep.all() else (records[keep], index[keep])


def _lookup(ids: dict[int, int], column: Column) -> Column:
    """Map ids of a process to rows of the trace; unknown ones to −1."""
    table = np.full(max([int(column.max(initial=0)), *ids], default=0) + 1, -1, np.int32)
    if ids:
        table[np.fromiter(ids.keys(), np.int64)] = np.fromiter(ids.values(), np.int64)
    return table[column]


def _shown(kind: Column) -> Column:
    """In a `Trace` an op that the program names is an op."""
    return np.where(kind == Kind.LABELLED_OP, Kind.OP, kind).astype(np.uint8)


def _nest(end: Column, parent: Column, flags: Column) -> None:
    """Detach spans that outlive their parent, in place. A detached span has no children.

    What its thread did meanwhile may have been done by others (a coroutine, a generator).
    """
    up = parent.copy()
    while True:
        loose = (flags & np.uint8(Flag.DETACHED)) != 0
        parent[loose] = -1
        while (inner := (parent >= 0) & loose[parent]).any():
            parent[inner] = up[parent[inner]]
        late = parent >= 0
        late[late] = end[late] > end[parent[late]]
        if not late.any():
            return
        flags[late] |= np.uint8(Flag.DETACHED)


class _Process:
    """One process folder being read."""

    def __init__(self, folder: Path, names: _Names, parts: _Parts, row: int) -> None:
        self.folder, self.names, self.parts, self.row = folder, names, parts, row
        self.tables: Tables = read_tables(folder)
        self.first_thread = len(parts.threads)
        self.thread_rows: dict[int, int] = {}
        self.frames = {i: names.frame(*site) for i, site in self.tables.sites.items()}
        self.stacks: dict[int, int] = {0: -1}
        for i, (parent, site) in self.tables.stacks.items():
            if site in self.frames:
                self.stacks[i] = names.stack(self.frames[site], self.stacks.get(parent, -1))
        self.signatures = {
            i: names.signatures.setdefault(s, len(names.signatures))
            for i, s in self.tables.signatures.items()
        }
        self.times: list[int] = []

    def thread(self, index: int) -> int:
        if index not in self.thread_rows:
            tid, name = self.tables.threads.get(index, (0, ""))
            self.thread_rows[index] = len(self.parts.threads)
            if not name:  # threading, which knows the names, was not imported
                name = "MainThread" if tid == self.tables.meta.get("pid") else f"thread {tid}"
            self.parts.threads.append((self.row, tid, self.names.string(name)))
        return self.thread_rows[index]

    def read(self) -> None:
        for index in sorted(self.tables.threads):
            self.thread(index)
        sums = self.read_sums()
        self.read_spans(sums)
        self.read_samples()
        self.read_pyspy()
        self.read_counters()
        self.parts.warnings += self.tables.warnings

    def name_ids(self, what: Column, kind: Column) -> tuple[Column, Column, Column]:
        """Name, arguments and signature of ``what``, which means a signature for ops and a label else."""
        names, t = self.names, self.tables
        unknown = names.string("(not known)")
        is_op, is_step = kind == Kind.OP, kind == Kind.STEP
        signature = np.where(is_op, _lookup(self.signatures, np.where(is_op, what, 0)), -1)
        op_names = {i: names.string(s.op) for i, s in t.signatures.items()}
        by_label = {i: names.string(name) for i, (name, _) in t.labels.items()}
        arguments = {i: names.string(a) for i, (_, a) in t.labels.items() if a}
        label = np.where(is_op | is_step, 0, what)
        name = np.where(
            is_op, _lookup(op_names, np.where(is_op, what, 0)), _lookup(by_label, label)
        )
        name[is_step] = names.string("step")
        name[name < 0] = unknown
        return name, _lookup(arguments, label), signature

    def read_spans(self, folded: dict[int, int]) -> None:
        for index, segments in sorted(_segments(self.folder, Stream.SPANS, self.parts).items()):
            live = [s for s in segments if s[0] != folded.get(index)]
            if not live:
                continue
            r, position = _written(live, Stream.SPANS)
            if not len(r):
                continue
            start = r["start_ns"].astype(np.int64)
            dur = r["dur_ns"].astype(np.int64)
            flags = r["flags"].copy()
            still_open = (flags & np.uint8(Flag.OPEN)) != 0
            if still_open.any():
                last = int((start + dur).max())
                dur[still_open] = last - start[still_open]
            up = position - r["parent"]
            parent = np.searchsorted(position, up)
            found = (r["parent"] != 0) & (parent < len(position))
            found[found] = position[parent[found]] == up[found]
            parent = np.where(found, parent, -1)
            _nest(start + dur, parent, flags)
            name, arguments, signature = self.name_ids(r["what"], r["kind"])
            base = sum(len(s) for s in self.parts.tables.get(Spans, []))
            self.times += [int(start[0]), int((start + dur).max())]
            self.parts.add(
                Spans(
                    start_ns=start,
                    dur_ns=dur,
                    name_id=name,
                    kind=_shown(r["kind"]),
                    flags=flags,
                    thread=np.full(len(r), self.thread(index)),
                    parent=np.where(parent >= 0, parent + base, -1),
                    signature_id=signature,
                    callsite_id=_lookup(self.frames, r["site"]),
                    step=np.where(r["kind"] == Kind.STEP, r["what"].astype(np.int64), -1),
                    args_id=arguments,
                )
            )

    def read_sums(self) -> dict[int, int]:
        """Add the folded segments; returns per thread the number of the segment folded last."""
        last: dict[int, int] = {}
        for path in sorted(self.folder.glob("sums-*.tt")):
            data = path.read_bytes()
            if len(data) < SUMS_HEADER_BYTES or data[:8] != SUMS_MAGIC:
                self.parts.warnings.append(f"{path.name} is not readable: folded spans are lost")
                continue
            _, _, number, thread, count, _, _ = SUMS_HEADER.unpack_from(data)
            count = min(count, (len(data) - SUMS_HEADER_BYTES) // SUM_BYTES)
            r = np.frombuffer(data, SUM_DTYPE, count, SUMS_HEADER_BYTES)
            last[thread] = number
            name, _, signature = self.name_ids(r["what"], r["kind"])
            self.parts.add(
                Aggregates(
                    name_id=name,
                    kind=_shown(r["kind"]),
                    thread=np.full(count, self.thread(thread)),
                    signature_id=signature,
                    callsite_id=_lookup(self.frames, r["site"]),
                    **{n: r[n] for n in SUM_FIELDS},
                )
            )
        return last

    def read_samples(self) -> None:
        segments = _segments(self.folder, Stream.SAMPLES, self.parts).get(0, [])
        r = _written(segments, Stream.SAMPLES)[0] if segments else np.empty(0, SAMPLE_DTYPE)
        if not len(r):
            return
        rows = {int(i): self.thread(int(i)) for i in sorted(set(r["thread"].tolist()))}
        thread = _lookup(rows, r["thread"])
        cpu = r["cpu_ns"].astype(np.int64)
        cpu[cpu == CPU_NOT_KNOWN] = -1
        order = np.lexsort((r["t_ns"], thread))
        self.times += [int((r["t_ns"] - r["weight_ns"]).min()), int(r["t_ns"].max())]
        self.parts.add(
            Samples(
                t_ns=r["t_ns"],
                weight_ns=r["weight_ns"],
                cpu_ns=cpu,
                thread=thread,
                stack_id=_lookup(self.stacks, r["stack"]),
            ).take(order)
        )

    def read_pyspy(self) -> None:
        """Add what py-spy saw from outside, on the same clock."""
        found = read_samples(self.folder)
        if found is None:
            return
        self.parts.warnings += found.warnings
        self.tables.meta["py_spy"] = found.facts()
        if len(found.tid):
            self.times += [found.begin_ns, found.end_ns]
            self.parts.add(as_samples(found, self.tables, self.names, self.thread))

    def read_counters(self) -> None:
        segments = _segments(self.folder, Stream.COUNTERS, self.parts).get(0, [])
        r = _written(segments, Stream.COUNTERS)[0] if segments else np.empty(0, COUNTER_DTYPE)
        rows: dict[int, int] = {}
        for i, (name, unit) in self.tables.series.items():
            rows[i] = len(self.parts.series)
            self.parts.series.append((self.names.string(name), self.names.string(unit), self.row))
        if not len(r):
            return
        series = _lookup(rows, r["series"])
        keep = series >= 0
        order = np.lexsort((r["t_ns"][keep], series[keep]))
        self.times += [int(r["t_ns"].min()), int(r["t_ns"].max())]
        self.parts.add(
            Counters(
                t_ns=r["t_ns"][keep][order],
                series_id=series[keep][order],
                value=r["value"][keep][order],
            )
        )


def _audit(
    processes: list[_Process], parts: _Parts, spans: Spans, samples: Samples
) -> dict[str, Any]:
    """The self-audit: counted from the records where they tell, else as each process left it."""
    audits = [p.tables.meta.get("audit", {}) for p in processes]
    audit: dict[str, Any] = dict(audits[0]) if audits else {}
    summed = ("dropped", "folded_spans", "skipped_elements", "sampler_busy_ns")
    for key in summed:
        known = [a[key] for a in audits if key in a]
        if known:
            audit[key] = sum(known)
    audit["spans"] = len(spans)
    audit["samples"] = len(samples)
    audit["unfinished_processes"] = sum("audit" not in p.tables.meta for p in processes)
    first = parts.tables.get(Samples, [None])[0]
    by_pyspy = processes[0].tables.meta.get("py_spy") if processes else None
    if by_pyspy:  # it says when stacks changed, not when it looked
        audit["asked_hz"] = by_pyspy["rate_hz"]
    elif first is not None and len(times := np.unique(first.t_ns)) > 1:
        seconds = (int(times[-1]) - int((first.t_ns - first.weight_ns).min())) / 1e9
        audit["achieved_hz"] = round(len(times) / seconds, 1)
        audit["largest_gap_ns"] = int(np.diff(times).max())
    return audit


def read_run(run: Path) -> Trace:
    """Read everything that the processes of a run recorded, finished or not.

    Raises:
        StoreError: nothing readable is there.
        TraceFormatError: it was recorded by a newer version.
    """
    names, parts = _Names(), _Parts()
    processes: list[_Process] = []
    for folder in process_folders(run):
        try:
            process = _Process(folder, names, parts, len(processes))
        except StoreError as problem:
            parts.warnings.append(str(problem))
            continue
        process.read()
        processes.append(process)
    if not processes:
        raise StoreError(f"nothing in {run} can be read: {'; '.join(parts.warnings)}")
    by_pid: dict[int, int] = {}
    for p in processes:
        meta = p.tables.meta
        start = int(meta.get("start_ns", min(p.times, default=0)))
        end = max([int(meta.get("end_ns", start)), *p.times])
        pid = int(meta.get("pid", 0))
        parent = by_pid.get(int(meta.get("parent_pid", -1)), -1)
        by_pid[pid] = p.row
        parts.processes.append(
            (pid, names.string(str(meta.get("name", "python"))), start, end, parent)
        )
    spans = parts.joined(Spans)
    threads = (
        Threads(*(np.array(c) for c in zip(*parts.threads, strict=True)))
        if parts.threads
        else Threads.empty()
    )
    order = np.lexsort((spans.start_ns, spans.thread))
    if not np.array_equal(order, np.arange(len(order))):
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        moved = np.where(spans.parent >= 0, rank[spans.parent], -1)
        spans = Spans(**{**dict(spans.columns()), "parent": moved}).take(order)
    spans = Spans(**{**dict(spans.columns()), "step": step_numbers(spans, threads.process)})
    samples = parts.joined(Samples)
    meta = {k: v for k, v in processes[0].tables.meta.items() if k != "audit"}
    try:
        meta |= json.loads((run / RUN_NAME).read_text())
    except (OSError, ValueError):
        parts.warnings.append("the description of the run is lost")
    meta["format_version"] = FORMAT_VERSION
    meta["audit"] = _audit(processes, parts, spans, samples)
    return Trace(
        strings=tuple(names.strings), signatures=tuple(names.signatures), spans=spans,
        aggregates=parts.joined(Aggregates), samples=samples,
        stacks=Stacks(*_columns(list(names.stacks), 2)), frames=Frames(*_columns(list(names.frames), 3)),
        counters=parts.joined(Counters), series=Series(*_columns(parts.series, 3)),
        processes=Processes(*_columns(parts.processes, 5)), threads=threads,
        meta=meta, warnings=tuple(dict.fromkeys(parts.warnings)),
    )  # fmt: skip


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> Column:
    """Rows as columns."""
    columns: Column = np.array(rows, np.int64).reshape(-1, width).T
    return columns
