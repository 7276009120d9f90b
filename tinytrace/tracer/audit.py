"""The self-audit of one process: what its recording took, and what it missed."""

from __future__ import annotations

import os
from typing import Any

COUNTED = (
    "dropped", "folded_spans", "folded_samples", "folded_counters", "folded_flows",
    "skipped_elements", "sites_left_out", "signatures_left_out", "stacks_left_out", "names_left_out",
)  # fmt: skip


LEFT_OUT = {
    "sites_left_out": "a call site is not known",
    "signatures_left_out": "the operands of an op are not known",
    "stacks_left_out": "the inner part of a stack is not known",
    "names_left_out": "a name is not known",
}


def left_out(stats: dict[str, int]) -> list[str]:
    """Say what was beyond the caps (`tracer.caps`) or the disk limit, a line for each.

    Example:
        >>> left_out({"sites_left_out": 1200, "stacks_left_out": 0})
        ['1,200 times a call site is not known: there were more than are kept']
    """
    return [
        f"{stats[key]:,} times {what}: there were more than are kept"
        for key, what in LEFT_OUT.items()
        if stats.get(key)
    ]


def self_audit(
    *,
    core: str,
    stats: dict[str, int],
    sampled: dict[str, int],
    asked_hz: float,
    cost_ns: int | None,
    wall_ns: int,
) -> dict[str, Any]:
    """Return the part of a trace's self-audit that only the recorded process knows.

    Args:
        core: ``c`` or ``python``.
        stats: of the recorder (`Recorder.stats`).
        sampled: statistics of the thread that samples and reads counters; {}: there was none.
        asked_hz: rate of sampling; 0: that thread read counters only.
        cost_ns: what recording one op takes; None: not known.
        wall_ns: how long was recorded.

    Example:
        >>> stats = {"spans": 1000, "dropped": 0}
        >>> audit = self_audit(core="c", stats=stats, sampled={}, asked_hz=0, cost_ns=100, wall_ns=10**7)
        >>> audit["own_overhead_percent"], audit["overhead_ns_per_op"]
        (1.0, 100)
    """
    audit: dict[str, Any] = {"core": core, **{key: stats.get(key, 0) for key in COUNTED}}
    if stats.get("errno"):
        audit["error"] = os.strerror(stats["errno"])
    busy_ns = int(sampled.get("busy_ns", 0))
    if sampled:
        audit["sampler_busy_ns"] = busy_ns
    if asked_hz:
        audit["asked_hz"] = asked_hz
        audit |= _sampling(sampled)
    if cost_ns:
        audit["overhead_ns_per_op"] = cost_ns
    spans = int(stats.get("spans", 0))
    if cost_ns or not spans:
        own_ns = busy_ns + spans * (cost_ns or 0)
        audit["own_overhead_percent"] = round(100 * own_ns / max(wall_ns, 1), 3)
    return audit


def _sampling(sampled: dict[str, int]) -> dict[str, Any]:
    rounds, sampled_ns = sampled.get("rounds", 0), sampled.get("sampled_ns", 0)
    if not rounds or not sampled_ns:
        return {}
    return {
        "mean_lateness_ns": int(sampled["late_ns"] / rounds),
        "largest_gap_ns": int(sampled["largest_gap_ns"]),
        "achieved_hz": round(rounds / (sampled_ns / 1e9), 1),
    }
