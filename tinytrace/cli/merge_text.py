"""What ``merge`` says of the ranks: whose clock was moved by how much, and how sure that is."""

from __future__ import annotations

from typing import Any

from tinytrace.analysis.figures import format_ns
from tinytrace.tracer.communication_names import COLLECTIVE_FLOW, MESSAGE_FLOW
from tinytrace.tracer.trace import Trace

SHOWN_RANKS = 32


def lines_of(trace: Trace) -> list[str]:
    """Return one line per rank, then what was matched, then what could not be.

    Args:
        trace: of `analysis.merge.merge_traces`.
    """
    ranks: list[dict[str, Any]] = trace.meta["ranks"]
    lines = [_line(entry) for entry in ranks[:SHOWN_RANKS]]
    if len(ranks) > SHOWN_RANKS:
        lines.append(f"… and {len(ranks) - SHOWN_RANKS} more ranks")
    kinds = [trace.strings[i] for i in trace.flows.kind_id.tolist()]
    lines.append(
        f"{kinds.count(MESSAGE_FLOW):,} messages matched, {kinds.count(COLLECTIVE_FLOW):,} arrows between the "
        "calls of collectives"
    )
    missing = set(trace.meta["missing"])
    return lines + [text for text in trace.warnings if text not in missing]


def _line(entry: dict[str, Any]) -> str:
    host = f" on {entry['host']}" if entry.get("host") else ""
    return f"rank {entry['rank']}{host}: {entry['file']}; {_clock(entry)}"


def _clock(entry: dict[str, Any]) -> str:
    method, offset_ns = entry["method"], entry["offset_ns"]
    if method == "same clock":
        return "the clock of the first" + (f", moved by {_signed(offset_ns)}" if offset_ns else "")
    if method == "same host":
        return "the clock of the day of the same host (error not known)"
    if method == "collectives":
        drift = f", drifting by {entry['drift_ppm']:+.2f} ppm" if "drift_ppm" in entry else ""
        error_ns = entry["error_ns"]
        error = f"± {format_ns(error_ns)}" if error_ns is not None else "(error not known)"
        return f"clock moved by {_signed(offset_ns)} {error}{drift} (from {entry['calls']:,} matched calls)"
    if method == "clock of the day":
        return f"clock moved by {_signed(offset_ns)}, by the clocks of the day (error not known)"
    return "clock not aligned"


def _signed(ns: int) -> str:
    """Nanoseconds with a sign; to the microsecond, whatever their size."""
    return f"{ns / 1e6:+,.3f} ms"
