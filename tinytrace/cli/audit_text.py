"""The self-audit in words: how far to trust the rest."""

from __future__ import annotations

from collections.abc import Callable

from tinytrace.analysis.figures import format_ns, format_rate
from tinytrace.analysis.self_audit import Audit

MOST_NAMES = 5


def audit_text(audit: Audit, name: Callable[[str], str]) -> str:
    """Return it as one paragraph.

    Args:
        audit: of a trace.
        name: shows a name that comes from it.
    """
    core = {"c": "compiled core", "python": "pure-Python core"}.get(
        audit.core or "", "core not known"
    )
    parts = [
        _sampling(audit),
        f"{_spans(audit)} ({core})",
        _uncounted(audit, name),
        _dropped(audit),
        _overhead(audit),
    ]
    return f"Self-audit: {'; '.join(parts)}."


def _uncounted(audit: Audit, name: Callable[[str], str]) -> str:
    if audit.coverage_percent is None:
        return "no ops to count"
    if not audit.uncounted_ops:
        return "no uncounted ops"
    names = ", ".join(name(op) for op in audit.uncounted_ops[:MOST_NAMES])
    more = len(audit.uncounted_ops) - MOST_NAMES
    names += f" and {more} more" if more > 0 else ""
    return f"FLOPs counted for {audit.coverage_percent:.1f} % of op time, uncounted ops: {names}"


def _sampling(audit: Audit) -> str:
    if not audit.samples and audit.asked_hz is None:
        return "not sampled"
    achieved = (
        "at a rate not known" if audit.achieved_hz is None else f"at {audit.achieved_hz:,.0f} Hz"
    )
    asked = "" if audit.asked_hz is None else f" of {audit.asked_hz:,.0f} asked"
    gap = "not known" if audit.largest_gap_ns is None else format_ns(audit.largest_gap_ns)
    return f"sampled {achieved}{asked}, largest gap {gap}"


def _spans(audit: Audit) -> str:
    return f"{audit.spans:,} spans recorded"


def _dropped(audit: Audit) -> str:
    parts = []
    if aggregated := audit.spans - audit.kept_spans:
        parts.append(f"{aggregated:,} aggregated")
    if audit.folded_samples:
        parts.append(f"{audit.folded_samples:,} samples aggregated")
    if audit.folded_counters:
        parts.append(f"{audit.folded_counters:,} counter values aggregated")
    if audit.dropped:
        parts.append(f"{audit.dropped:,} dropped")
    if audit.skipped_elements:
        parts.append(f"{audit.skipped_elements:,} element accesses not recorded")
    if audit.dropped is None:
        parts.append("dropped: not known")
    return ", ".join(parts) or "nothing dropped or aggregated"


def _overhead(audit: Audit) -> str:
    if audit.own_overhead_percent is None:
        return "own overhead not known"
    text = f"own overhead about {format_rate(audit.own_overhead_percent)} % (estimate"
    if audit.overhead_ns_per_op is not None:
        text += f", {audit.overhead_ns_per_op:,.0f} ns per op"
    return f"{text})"
