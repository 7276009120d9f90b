"""The figures of the summary at the end of a run: where the time went, and how well it was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import (
    UNCOUNTED,
    Figure,
    OpTimes,
    TraceCounts,
    count_trace,
)
from tinytrace.analysis.spans import first_rows, group_ids, self_ns, sums
from tinytrace.analysis.stack_times import StackTimes
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OpRow:
    """All calls of one op.

    Attributes:
        name: NumPy's name of the op.
        callsite: the place in which it spent most of its time, ``train.py:42 forward``; None: not
            known.
        n_callsites: how many places called it.
        self_ns: time in it and not in other spans inside it, summed over threads.
        percent: of the wall time of the run. Threads add up, so that several can make more than
            100.
        calls: how often it ran.
        gflops: 10⁹ FLOPs per second of its counted calls; None: no call is counted.
        gbps: 10⁹ bytes (compulsory) per second; None: no call is counted.
        flops_per_byte: of the calls for which both are known; None: none, or no bytes.
        gtranscendentals: 10⁹ evaluations of exp, log… per second; None: not known.
        uncounted_calls: calls without a formula, or that did not end normally.
        only_outer: other ops ran inside all of its calls, and have the figures that are None.
    """

    name: str
    callsite: str | None
    n_callsites: int
    self_ns: int
    percent: float
    calls: int
    gflops: float | None
    gbps: float | None
    flops_per_byte: float | None
    gtranscendentals: float | None
    uncounted_calls: int
    only_outer: bool


@dataclass(frozen=True, slots=True)
class LineRow:
    """Samples whose innermost frame was one line.

    Attributes:
        place: ``train.py:42``; None: not known.
        function: its name; None: not known.
        self_ns: weight of the samples in it.
        percent: of the wall time of the run; threads add up.
        on_cpu_percent: share of that time in which the thread ran; None: not known.
        function_percent: of the wall time, in the whole function and all that it called.
    """

    place: str | None
    function: str | None
    self_ns: int
    percent: float
    on_cpu_percent: float | None
    function_percent: float


@dataclass(frozen=True, slots=True)
class MemoryPeak:
    """The largest memory that was seen in one process, in MB (10⁶ bytes); None: not recorded."""

    pid: int
    process: str
    rss_mb: float | None
    array_mb: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """How well the run was seen; None: not known.

    Attributes:
        samples: in the trace.
        asked_hz, achieved_hz: sampling rate.
        largest_gap_ns: longest time without a sample.
        spans: recorded, those that were aggregated too.
        kept_spans: those that are in the trace one by one.
        skipped_elements: reads and writes of single elements that were not recorded.
        dropped: spans that could not be recorded.
        uncounted_ops: names of ops without a formula, longest first.
        coverage_percent: share of op time whose FLOPs are counted; None: no op.
        overhead_ns_per_op: measured on this machine, per op.
        own_overhead_percent: of the wall time, as estimated.
        core: the recorder, ``c`` or ``python``.
        folded_samples, folded_counters: samples and counter values that were folded into fewer while
            recording, to bound the disk.
    """

    samples: int
    asked_hz: float | None
    achieved_hz: float | None
    largest_gap_ns: int | None
    spans: int
    kept_spans: int
    skipped_elements: int | None
    dropped: int | None
    uncounted_ops: tuple[str, ...]
    coverage_percent: float | None
    overhead_ns_per_op: float | None
    own_overhead_percent: float | None
    core: str | None
    folded_samples: int = 0
    folded_counters: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did, in few figures.

    Attributes:
        wall_ns: from the first to the last that was recorded.
        processes, threads: how many.
        op_ns: self time of all ops, summed over threads.
        sampled_ns: weight of all samples, summed over threads.
        ops: top ops by self time.
        n_ops: how many different ops ran.
        lines: top lines of the program by weight of samples, those of imports and of tinytrace left out.
        n_lines: how many different lines were seen.
        import_ns: weight of the samples taken while modules that are not the program's were imported.
        tinytrace_ns: weight of the samples taken in tinytrace itself.
        memory: per process in which it was recorded, largest RSS first.
        audit: how well the run was seen.
        warnings: of the trace, each once.
    """

    wall_ns: int
    processes: int
    threads: int
    op_ns: int
    sampled_ns: int
    ops: tuple[OpRow, ...]
    n_ops: int
    lines: tuple[LineRow, ...]
    n_lines: int
    import_ns: int
    tinytrace_ns: int
    memory: tuple[MemoryPeak, ...]
    audit: Audit
    warnings: tuple[str, ...]


def summarise(trace: Trace, top: int = 10) -> Summary:
    """Return the figures of the summary.

    Aggregated spans are in all of them. A rate is work over the self time of the calls whose work
    is known.

    Args:
        trace: any trace, empty ones and those of other tools too.
        top: how many ops and lines at most.

    Example:
        >>> from tinytrace.tracer.trace import Trace
        >>> summarise(Trace()).ops
        ()
    """
    wall_ns = max(0, trace.end_ns - trace.start_ns)
    counts = count_trace(trace)
    ops = _Ops(trace, counts)
    stacks = StackTimes(trace)
    lines = tuple(
        LineRow(
            place=place(trace, line.frame_id),
            function=_name(trace, line.frame_id),
            self_ns=line.self_ns,
            percent=_percent(line.self_ns, wall_ns),
            on_cpu_percent=line.on_cpu_percent,
            function_percent=_percent(line.function_ns, wall_ns),
        )
        for line in stacks.top_lines(top)
    )
    return Summary(
        wall_ns=wall_ns,
        processes=len(trace.processes),
        threads=len(trace.threads),
        op_ns=int(ops.self_ns.sum()),
        sampled_ns=int(trace.samples.weight_ns.sum()),
        ops=ops.top(top, wall_ns),
        n_ops=ops.count,
        lines=lines,
        n_lines=stacks.n_lines,
        import_ns=stacks.import_ns,
        tinytrace_ns=stacks.tinytrace_ns,
        memory=_memory(trace),
        audit=_audit(trace, OpTimes(counts, "flops")),
        warnings=tuple(dict.fromkeys(trace.warnings)),
    )


def place(trace: Trace, frame_id: int) -> str | None:
    """Return file (without folder) and line of a frame: ``train.py:42``; None: not known."""
    file_id, line = int(trace.frames.file_id[frame_id]), int(trace.frames.line[frame_id])
    return file_and_line(trace.strings[file_id] if file_id >= 0 else None, line)


def file_and_line(path: str | None, line: int) -> str | None:
    """Return a file without its folder, and a line: ``train.py:42``; None: not known.

    >>> file_and_line("/home/me/train.py", 42), file_and_line("/v/numpy/__init__.py", 0)
    ('train.py:42', 'numpy/__init__.py')
    """
    if path is None:
        return None
    parts = path.replace("\\", "/").rsplit("/", 2)
    file = "/".join(parts[-2:]) if parts[-1] in ("__init__.py", "__main__.py") else parts[-1]
    return f"{file}:{line}" if line else file


def _name(trace: Trace, frame_id: int) -> str | None:
    name_id = int(trace.frames.name_id[frame_id])
    return trace.strings[name_id] if name_id >= 0 else None


def _site(trace: Trace, frame_id: int) -> str | None:
    if frame_id < 0:
        return None
    parts = [part for part in (place(trace, frame_id), _name(trace, frame_id)) if part]
    return " ".join(parts) or None


def _percent(part_ns: float, whole_ns: int) -> float:
    return 100 * part_ns / whole_ns if whole_ns else 0.0


class _Ops:
    """Op spans and aggregated ops together, one row each, and sums over them."""

    def __init__(self, trace: Trace, counts: TraceCounts) -> None:
        self._trace = trace
        spans, folded = trace.spans, trace.aggregates
        rows = np.flatnonzero(spans.kind == Kind.OP)
        folds = np.flatnonzero(folded.kind == Kind.OP)
        own_ns = self_ns(spans)
        self.name_id = np.concatenate([spans.name_id[rows], folded.name_id[folds]])
        self.callsite_id = np.concatenate([spans.callsite_id[rows], folded.callsite_id[folds]])
        self.signature_id = np.concatenate([spans.signature_id[rows], folded.signature_id[folds]])
        self.self_ns = np.concatenate([own_ns[rows], folded.self_ns[folds]])
        self.calls = np.concatenate([np.ones(len(rows), "i8"), folded.count[folds]])
        self.leaves = np.concatenate([counts.leaf[rows].astype("i8"), folded.leaves[folds]])
        # An op with figures of its own stands for all that ran inside it: its whole time is theirs.
        whole_ns = np.concatenate([spans.dur_ns[rows], folded.total_ns[folds]])
        declared = np.concatenate([counts.declared()[rows], np.zeros(len(folds), "?")])
        self.work_ns = np.where((self.leaves > 0) & ~declared, self.self_ns, whole_ns)
        self.flops = self._figure(counts, "flops", rows, folds)
        self.bytes = self._figure(counts, "bytes", rows, folds)
        uncounted_spans = counts.leaf[rows] & (counts.per_span("flops")[rows] < 0)
        unknown = np.array([work is None for work in counts.per_aggregate("flops")], "?")
        uncounted_folds = np.where(unknown[folds], folded.leaves[folds], 0)
        self.uncounted = np.concatenate([uncounted_spans.astype("i8"), uncounted_folds])
        evaluations = np.append(counts.transcendentals, UNCOUNTED)[self.signature_id]
        self.transcendentals = np.where(
            evaluations < 0, np.nan, evaluations.astype("f8") * self.leaves
        )
        self.ids, self.count = group_ids([self.name_id])

    def _figure(self, counts: TraceCounts, figure: Figure, rows: Ints, folds: Ints) -> Floats:
        """Work per row; NaN: uncounted, or counted in an op around or inside."""
        of_spans = counts.per_span(figure)[rows].astype("f8")
        of_spans[(of_spans < 0) | counts.elsewhere(figure)[rows]] = np.nan
        of_folded = np.array(
            [np.nan if w is None else w for w in counts.per_aggregate(figure)], "f8"
        )
        per_signature = counts.flops if figure == "flops" else counts.bytes
        own = np.append(per_signature, UNCOUNTED)[self.signature_id[len(rows) :]]
        of_folded = of_folded[folds]
        of_folded[(of_folded == 0) & ((own != 0) | (self.leaves[len(rows) :] == 0))] = np.nan
        return np.concatenate([of_spans, of_folded])

    def top(self, top: int, wall_ns: int) -> tuple[OpRow, ...]:
        """The ops that took most time, with their figures."""
        spent_ns = sums(self.ids, self.count, self.self_ns)
        chosen = np.argsort(-spent_ns, kind="stable")[:top]
        first = first_rows(self.ids, self.count)
        calls = sums(self.ids, self.count, self.calls)
        leaves = sums(self.ids, self.count, self.leaves)
        uncounted_calls = sums(self.ids, self.count, self.uncounted)
        sites = self._sites()
        gflops = self._ratio(self.flops, self.work_ns)
        gbps = self._ratio(self.bytes, self.work_ns)
        intensity = self._ratio(self.flops, self.bytes)
        evaluations = self._ratio(self.transcendentals, self.work_ns)
        return tuple(
            OpRow(
                name=self._trace.strings[self.name_id[first[i]]],
                callsite=_site(self._trace, sites[i][0]),
                n_callsites=sites[i][1],
                self_ns=int(spent_ns[i]),
                percent=_percent(int(spent_ns[i]), wall_ns),
                calls=int(calls[i]),
                gflops=_known(gflops[i]),
                gbps=_known(gbps[i]),
                flops_per_byte=_known(intensity[i]),
                gtranscendentals=_known(evaluations[i]),
                uncounted_calls=int(uncounted_calls[i]),
                only_outer=not leaves[i],
            )
            for i in chosen.tolist()
        )

    def _ratio(self, above: Any, below: Any) -> Floats:
        """Per op, sums over the rows in which both are known, divided; NaN where there are none."""
        known = ~(np.isnan(above) | np.isnan(below))
        ids = self.ids[known]
        numerator = np.bincount(ids, above[known], self.count)
        denominator = np.bincount(ids, below[known], self.count)
        result = np.full(self.count, np.nan)
        np.divide(numerator, denominator, out=result, where=denominator > 0)
        return result

    def _sites(self) -> dict[int, tuple[int, int]]:
        """Per op, the call site in which it spent most time, and how many there are."""
        pairs, n_pairs = group_ids([self.ids, self.callsite_id])
        first = first_rows(pairs, n_pairs)
        spent_ns = sums(pairs, n_pairs, self.self_ns)
        found: dict[int, tuple[int, int]] = {}
        for pair in np.argsort(-spent_ns, kind="stable").tolist():
            op, site = int(self.ids[first[pair]]), int(self.callsite_id[first[pair]])
            best, number = found.get(op, (site, 0))
            found[op] = (best, number + 1)
        return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _memory(trace: Trace) -> tuple[MemoryPeak, ...]:
    counters, series, strings = trace.counters, trace.series, trace.strings
    names = [strings[i] for i in series.name_id]
    peaks: dict[int, dict[str, float]] = {}
    for number, name in enumerate(names):
        kind = {"rss_mb": "rss", "array_mb": "array", "array_peak_mb": "array"}.get(name)
        values = counters.value[counters.series_id == number] if kind else np.empty(0)
        values = values[np.isfinite(values)]
        if kind and len(values):
            mine = peaks.setdefault(int(series.process[number]), {})
            mine[kind] = max(float(values.max()), mine.get(kind, -math.inf))
    found = [
        MemoryPeak(
            pid=int(trace.processes.pid[process]),
            process=strings[trace.processes.name_id[process]],
            rss_mb=peak.get("rss"),
            array_mb=peak.get("array"),
        )
        for process, peak in peaks.items()
    ]
    return tuple(sorted(found, key=lambda p: -(p.rss_mb or 0)))


def _audit(trace: Trace, times: OpTimes) -> Audit:
    told = trace.meta.get("audit")
    told = told if isinstance(told, dict) else {}
    share = times.coverage()
    gap = _number(told, "largest_gap_ns")
    core = told.get("core")
    return Audit(
        samples=len(trace.samples),
        asked_hz=_number(told, "asked_hz"),
        achieved_hz=_number(told, "achieved_hz"),
        largest_gap_ns=None if gap is None else int(gap),
        spans=len(trace.spans) + int(trace.aggregates.count.sum()),
        kept_spans=len(trace.spans),
        skipped_elements=_whole(told, "skipped_elements"),
        dropped=_whole(told, "dropped"),
        uncounted_ops=tuple(one.op for one in times.uncounted()),
        coverage_percent=None if share is None else 100 * share,
        overhead_ns_per_op=_number(told, "overhead_ns_per_op"),
        own_overhead_percent=_number(told, "own_overhead_percent"),
        core=core if isinstance(core, str) else None,
        folded_samples=_whole(told, "folded_samples") or 0,
        folded_counters=_whole(told, "folded_counters") or 0,
    )


def _number(told: dict[Any, Any], key: str) -> float | None:
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 2**63 else None


def _whole(told: dict[Any, Any], key: str) -> int | None:
    value = _number(told, key)
    return None if value is None else int(value)
