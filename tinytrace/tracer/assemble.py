"""A run folder → one `Trace`: segments become columns, the processes of a run are put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinytrace.errors import StoreError, TinytraceError
from tinytrace.tracer import ranks
from tinytrace.tracer.arrows import arrows, say_lost
from tinytrace.tracer.condensing import SUM_FIELDS
from tinytrace.tracer.groups import lookup
from tinytrace.tracer.reading import ProcessRecords, whole_number
from tinytrace.tracer.records import CPU_NOT_KNOWN, FORMAT_VERSION, RECORD_BYTES, Flag, Kind
from tinytrace.tracer.run_audit import audit_of_run
from tinytrace.tracer.step_numbers import step_numbers
from tinytrace.tracer.store import RUN_NAME, process_folders
from tinytrace.tracer.tables import Tables, read_tables
from tinytrace.tracer.trace import (
    Aggregates,
    Column,
    Counters,
    Flows,
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
from tinytrace.tracer.trees import nest, parents

INT32_MAX = 2**31 - 1
OP_JSON_BYTES = 250  # of an op event
SPANS_PER_KEPT = 2  # so that `fit`, which knows their sizes, has some to choose from
LEAST_SPANS = 100_000


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


def _shown(kind: Column) -> Column:
    """In a `Trace` an op that the program names is an op."""
    shown = kind.astype(np.uint8)
    shown[kind == Kind.LABELLED_OP.value] = Kind.OP
    return shown


class _Process:
    """One process folder being read."""

    def __init__(self, folder: Path, names: _Names, parts: _Parts, span_limit: int) -> None:
        self.folder, self.names, self.parts, self.row = folder, names, parts, 0
        self.tables: Tables = read_tables(folder)
        self.meta = self.tables.meta
        self.records = ProcessRecords(folder, self.meta, span_limit)
        self.pid = whole_number(self.meta.get("pid"), _pid_of(folder))
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
        self.first_row: dict[int, int] = {}  # by thread, of its spans
        self.lost_flows = 0  # an end was summed up
        self.arguments = {i: names.string(a) for i, (_, a) in self.tables.labels.items() if a}
        self.times = self._times()

    def _times(self) -> list[int]:
        """The earliest and the latest of what was recorded; [] for nothing."""
        r, found = self.records, []
        for spans in r.spans.values():
            found += [spans["start_ns"].min(), (spans["start_ns"] + spans["dur_ns"]).max()]
        for sums in r.sums.values():
            found += [sums["start_ns"].min(initial=2**62), sums["end_ns"].max(initial=0)]
        if len(r.samples):
            begin_ns = r.samples["t_ns"] - r.samples["weight_ns"]
            found += [begin_ns.min(), r.samples["t_ns"].max()]
        if len(r.counters):
            found += [r.counters["t_ns"].min(), r.counters["t_ns"].max()]
        return [int(t) for t in found if 0 < t < 2**62]

    @property
    def start_ns(self) -> int:
        first_ns = min(self.times, default=0)
        return min(whole_number(self.meta.get("start_ns"), first_ns), first_ns or 2**62)

    @property
    def end_ns(self) -> int:
        return max([self.start_ns, whole_number(self.meta.get("end_ns"), 0), *self.times])

    def thread(self, index: int) -> int:
        if index not in self.thread_rows:
            tid, name = self.tables.threads.get(index, (0, ""))
            tid = whole_number(tid, 0)
            self.thread_rows[index] = len(self.parts.threads)
            if not name:  # threading, which knows the names, was not imported
                name = "MainThread" if tid == self.pid else f"thread {tid}"
            self.parts.threads.append((self.row, tid, self.names.string(name)))
        return self.thread_rows[index]

    def read(self) -> None:
        for index in sorted(self.tables.threads):
            self.thread(index)
        self.read_sums()
        for index in self.records.spans:
            self.read_spans(index)
        self.read_flows()
        self.read_samples()
        self.read_pyspy()
        self.read_counters()
        self.parts.warnings += [*self.tables.warnings, *self.records.warnings]

    def name_ids(self, what: Column, kind: Column) -> tuple[Column, Column, Column]:
        """Name, arguments and signature of ``what``, which means a signature for ops and a label else."""
        names, t = self.names, self.tables
        op_names = {i: names.string(s.op) for i, s in t.signatures.items()}
        by_label = {i: names.string(name) for i, (name, _) in t.labels.items()}
        name, signature = lookup(op_names, what), lookup(self.signatures, what)
        others = np.flatnonzero(kind != Kind.OP.value)
        is_step = kind[others] == Kind.STEP
        label = np.where(is_step, 0, what[others])
        name[others] = lookup(by_label, label)
        name[others[is_step]] = names.string("step")
        name[name < 0] = names.string("(not known)")
        signature[others] = -1
        arguments = np.full(len(what), -1, "i4")
        arguments[others] = lookup(self.arguments, label)
        return name, arguments, signature

    def read_spans(self, index: int) -> None:
        r, position = self.records.spans[index], self.records.index[index]
        # The records are read for this alone: their columns become those of the trace.
        start, dur, flags = r["start_ns"].view("i8"), r["dur_ns"].view("i8"), r["flags"]
        still_open = (flags & np.uint8(Flag.OPEN)) != 0
        dur[still_open] = self.end_ns - start[still_open]
        parent = parents(r["parent"], position, start)
        nest(start + dur, parent, flags)
        name, arguments, signature = self.name_ids(r["what"], r["kind"])
        base = sum(len(s) for s in self.parts.tables.get(Spans, []))
        self.first_row[index] = base
        parent[parent >= 0] += base
        steps = np.flatnonzero(r["kind"] == Kind.STEP.value)
        number = r["what"][steps]
        step = np.full(len(start), -1, "i4")
        step[steps] = np.where(number <= INT32_MAX, number, np.int64(-1))
        self.parts.add(
            Spans(
                start_ns=start,
                dur_ns=dur,
                name_id=name,
                kind=_shown(r["kind"]),
                flags=flags,
                thread=np.full(len(start), self.thread(index), "i4"),
                parent=parent,
                signature_id=signature,
                callsite_id=lookup(self.frames, r["site"]),
                step=step,
                args_id=arguments,
            )
        )

    def read_sums(self) -> None:
        for index, r in self.records.sums.items():
            name, arguments, signature = self.name_ids(r["what"], r["kind"])
            self.parts.add(
                Aggregates(
                    name_id=name,
                    kind=_shown(r["kind"]),
                    thread=np.full(len(r), self.thread(index)),
                    signature_id=signature,
                    callsite_id=lookup(self.frames, r["site"]),
                    args_id=arguments,
                    outer_args_id=lookup(self.arguments, r["outer"]),
                    **{n: r[n] for n in SUM_FIELDS},
                )
            )

    def read_flows(self) -> None:
        labels = {i: self.names.string(name) for i, (name, _) in self.tables.labels.items()}
        flows, self.lost_flows = arrows(
            self.records.flows, self.records.index, self.first_row, labels
        )
        self.parts.add(flows)

    def read_samples(self) -> None:
        r = self.records.samples
        if not len(r):
            return
        rows = {int(i): self.thread(int(i)) for i in sorted(set(r["thread"].tolist()))}
        thread = lookup(rows, r["thread"])
        cpu = r["cpu_low"] | r["cpu_high"].astype(np.int64) << 32
        cpu[r["cpu_low"] == CPU_NOT_KNOWN] = -1
        order = np.lexsort((r["t_ns"], thread))
        self.parts.add(
            Samples(
                t_ns=r["t_ns"],
                weight_ns=r["weight_ns"],
                cpu_ns=cpu,
                thread=thread,
                stack_id=lookup(self.stacks, r["stack"]),
            ).take(order)
        )

    def read_pyspy(self) -> None:
        """Add what py-spy saw from outside, on the same clock."""
        if not any(self.folder.glob("pyspy.*")):
            return  # importing what reads it takes as long as reading 50,000 spans
        from tinytrace.tracer.pyspy_merge import as_samples
        from tinytrace.tracer.pyspy_samples import read_samples

        found = read_samples(self.folder)
        if found is None:
            return
        self.parts.warnings += found.warnings
        self.meta["py_spy"] = found.facts()
        if len(found.tid):
            self.times += [found.begin_ns, found.end_ns]
            self.parts.add(as_samples(found, self.tables, self.names, self.thread))

    def read_counters(self) -> None:
        r, rows = self.records.counters, dict[int, int]()
        for i, (name, unit) in self.tables.series.items():
            rows[i] = len(self.parts.series)
            self.parts.series.append((self.names.string(name), self.names.string(unit), self.row))
        series = lookup(rows, r["series"])
        keep = series >= 0
        if not keep.all():
            lost = len(keep) - int(keep.sum())
            self.parts.warnings.append(f"{lost} values of counters without a name were left out")
        order = np.lexsort((r["t_ns"][keep], series[keep]))
        self.parts.add(
            Counters(
                t_ns=r["t_ns"][keep][order],
                series_id=series[keep][order],
                value=r["value"][keep][order],
            )
        )


def _pid_of(folder: Path) -> int:
    number = folder.name[1:].partition("-")[0]
    return int(number) if number.isdecimal() and len(number) < 18 else 0


def _processes(run: Path, names: _Names, parts: _Parts, span_limit: int | None) -> list[_Process]:
    """The processes of a run that can be read, in order of their start."""
    processes: list[_Process] = []
    problems: list[TinytraceError] = []
    limits = _shared_out(process_folders(run), span_limit)
    for folder, limit in limits.items():
        try:
            processes.append(_Process(folder, names, parts, limit))
        except TinytraceError as problem:
            problems.append(problem)
    if len(problems) == 1 and not processes:
        raise problems[0]
    parts.warnings += map(str, problems)
    if not processes:
        raise StoreError(f"nothing in {run} can be read: {'; '.join(parts.warnings)}")
    return sorted(processes, key=lambda p: (p.start_ns, p.folder))


def _shared_out(folders: list[Path], span_limit: int | None) -> dict[Path, int]:
    """Give each process the part of a limit that it has of the spans; no limit where all spans are under it."""
    counts = {
        f: sum(s.stat().st_size for s in f.glob("spans-*.seg")) // RECORD_BYTES for f in folders
    }
    total = sum(counts.values())
    if span_limit is None or total <= span_limit:
        return dict.fromkeys(folders, total)
    return {folder: span_limit * count // total for folder, count in counts.items()}


def _say_condensed(processes: list[_Process], spans: Spans) -> list[str]:
    """Say what was read whole of processes with too many spans."""
    said = [p for p in processes if p.records.condensed is not None]
    if not said:
        return []
    count = len(spans) + sum(int(r["count"].sum()) for p in said for r in p.records.sums.values())
    kept = {p.records.condensed or "nothing" for p in said}
    return [
        f"only {len(spans):,} of {count:,} spans were read whole, so that they fit into memory; the others were "
        f"summed up (sums are exact); kept whole: {'; '.join(sorted(kept))}; a larger --budget keeps more"
    ]


def span_limit_for(budget_bytes: int) -> int:
    """Return how many spans to read for a trace file of a size: about twice as many as it will hold.

    >>> span_limit_for(200_000_000)
    1600000
    """
    return max(LEAST_SPANS, SPANS_PER_KEPT * budget_bytes // OP_JSON_BYTES)


def read_run(run: Path, span_limit: int | None = None) -> Trace:
    """Read everything that the processes of a run recorded, finished or not.

    Args:
        run: its folder.
        span_limit: about how many spans are read whole, which take some 150 bytes of memory each. Of more, the
            trace has some stretches of time (whole steps, where there are any) and exact sums of the rest. None:
            all of them, however many.

    Raises:
        StoreError: nothing readable is there.
        TraceFormatError: it was recorded by a newer version.
    """
    names, parts = _Names(), _Parts()
    processes = _processes(run, names, parts, span_limit)
    for row, p in enumerate(processes):
        p.row = row
        p.read()
    by_pid: dict[int, int] = {}
    for p in processes:
        parent = by_pid.get(whole_number(p.meta.get("parent_pid"), 0), -1)
        by_pid[p.pid] = p.row
        name = names.string(str(p.meta.get("name", "python")))
        parts.processes.append((p.pid, name, p.start_ns, p.end_ns, parent))
    spans, flows = parts.joined(Spans), parts.joined(Flows)
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
        flows = Flows(rank[flows.from_span], rank[flows.to_span], flows.kind_id)
    spans = Spans(**{**dict(spans.columns()), "step": step_numbers(spans, threads.process)})
    samples = parts.joined(Samples)
    meta = {k: v for k, v in processes[0].meta.items() if k != "audit"}
    try:
        meta |= dict(json.loads((run / RUN_NAME).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        parts.warnings.append("the description of the run is lost")
    meta["format_version"] = FORMAT_VERSION
    if of_ranks := ranks.entries([p.meta for p in processes], [p[4] for p in parts.processes]):
        meta["ranks"] = of_ranks
    meta["audit"] = audit_of_run(processes, len(spans), len(samples))
    parts.warnings += _say_condensed(processes, spans)
    parts.warnings += say_lost(len(flows), meta["audit"].get("folded_flows", 0))
    return Trace(
        strings=tuple(names.strings), signatures=tuple(names.signatures), spans=spans,
        aggregates=parts.joined(Aggregates), samples=samples,
        stacks=Stacks(*_columns(list(names.stacks), 2)), frames=Frames(*_columns(list(names.frames), 3)),
        counters=parts.joined(Counters), series=Series(*_columns(parts.series, 3)), flows=flows,
        processes=Processes(*_columns(parts.processes, 5)), threads=threads,
        meta=meta, warnings=tuple(dict.fromkeys(parts.warnings)),
    )  # fmt: skip


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> Column:
    """Rows as columns."""
    columns: Column = np.array(rows, np.int64).reshape(-1, width).T
    return columns
