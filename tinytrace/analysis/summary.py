"""The figures of the summary at the end of a run: where the time went, and how well it was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytrace.analysis.counting import OpTimes, count_trace
from tinytrace.analysis.op_groups import OpGroup, grouped
from tinytrace.analysis.places import function_name, place
from tinytrace.analysis.stack_times import StackTimes
from tinytrace.tracer.trace import Trace


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
    ops: tuple[OpGroup, ...]
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
    ops = grouped(counts, "op")
    spent_ns = ops.sum(ops.parts.self_ns)
    stacks = StackTimes(trace)
    lines = tuple(
        LineRow(
            place=place(trace, line.frame_id),
            function=function_name(trace, line.frame_id),
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
        op_ns=int(spent_ns.sum()),
        sampled_ns=int(trace.samples.weight_ns.sum()),
        ops=ops.rows(ops.largest(spent_ns, top)),
        n_ops=ops.count,
        lines=lines,
        n_lines=stacks.n_lines,
        import_ns=stacks.import_ns,
        tinytrace_ns=stacks.tinytrace_ns,
        memory=_memory(trace),
        audit=_audit(trace, OpTimes(counts, "flops")),
        warnings=tuple(dict.fromkeys(trace.warnings)),
    )


def _percent(part_ns: float, whole_ns: int) -> float:
    return 100 * part_ns / whole_ns if whole_ns else 0.0


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
