"""How well a run was seen: what a trace tells of its own recording."""

from __future__ import annotations

from dataclasses import dataclass

from tinytrace.analysis.counting import OpTimes
from tinytrace.tracer.trace import Trace


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


def audit_of(trace: Trace, times: OpTimes) -> Audit:
    """Return how well a run was seen.

    Args:
        trace: any trace.
        times: of its ops, with and without FLOPs.

    Example:
        >>> from tinytrace.analysis.counting import count_trace
        >>> audit_of(Trace(), OpTimes(count_trace(Trace()), "flops")).spans
        0
    """
    told = trace.meta.get("audit")
    told = told if isinstance(told, dict) else {}
    share = times.coverage()
    gap = number(told, "largest_gap_ns")
    core = told.get("core")
    return Audit(
        samples=len(trace.samples),
        asked_hz=number(told, "asked_hz"),
        achieved_hz=number(told, "achieved_hz"),
        largest_gap_ns=None if gap is None else int(gap),
        spans=len(trace.spans) + int(trace.aggregates.count.sum()),
        kept_spans=len(trace.spans),
        skipped_elements=_whole(told, "skipped_elements"),
        dropped=_whole(told, "dropped"),
        uncounted_ops=tuple(one.op for one in times.uncounted()),
        coverage_percent=None if share is None else 100 * share,
        overhead_ns_per_op=number(told, "overhead_ns_per_op"),
        own_overhead_percent=number(told, "own_overhead_percent"),
        core=core if isinstance(core, str) else None,
        folded_samples=_whole(told, "folded_samples") or 0,
        folded_counters=_whole(told, "folded_counters") or 0,
    )


def number(told: object, key: str) -> float | None:
    """Return a figure of what a trace tells of itself; None: it does not, or no number that can be."""
    told = told if isinstance(told, dict) else {}
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 2**63 else None


def _whole(told: object, key: str) -> int | None:
    value = number(told, key)
    return None if value is None else int(value)
