"""The traces of a job's ranks as one: processes kept apart and named, clocks aligned, arrows between calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.clocks import Aligned, align
from tinytrace.analysis.collectives import Communication, Role, communication
from tinytrace.analysis.merged_tables import Joined, join, retimed
from tinytrace.analysis.rank_table import is_number, ranks_of
from tinytrace.tracer.communication_names import COLLECTIVE_FLOW, MESSAGE_FLOW
from tinytrace.tracer.trace import Flows, Trace

Ints = NDArray[Any]
# Of the self-audit: counts, of which the result has the sum; figures of which it has the worst. All else is the
# first rank's.
SUMMED = (
    "dropped", "folded_spans", "folded_samples", "folded_counters", "skipped_elements", "sites_left_out",
    "signatures_left_out", "stacks_left_out", "names_left_out", "sampler_busy_ns", "unfinished_processes",
)  # fmt: skip
WORST: dict[str, Callable[[list[float]], float]] = {
    "achieved_hz": min, "largest_gap_ns": max, "overhead_ns_per_op": max, "own_overhead_percent": max,
}  # fmt: skip
SHOWN_RANKS = 12


@dataclass(frozen=True)
class Part:
    """A trace to be merged.

    Attributes:
        name: of its file or folder, for people.
        trace: what is in it.
    """

    name: str
    trace: Trace


def merge_traces(parts: Sequence[Part]) -> Trace:
    """Make one trace of those of several ranks.

    Ranks are put in their order. Times are those of the first one's clock (`analysis.clocks`). ``meta["ranks"]`` has an
    entry per rank: ``process`` (row of its first process), ``processes``, ``rank``, ``world_size``, ``host``, ``file``,
    ``offset_ns`` (what was added to its times at its start), ``error_ns`` (bound on what that may be wrong by; None:
    not known), ``method``, and for estimated clocks ``how``, ``calls`` and perhaps ``drift_ppm`` or ``jumps_ns``.
    ``meta["missing"]`` are those of the warnings that say which ranks are missing, unknown, or there twice.

    Args:
        parts: at least one; their order decides where they do not say which rank they are.

    Example:
        >>> merge_traces([Part("a.json", Trace()), Part("b.json", Trace())]).warnings
        ('a.json: it does not say which rank it is', 'b.json: it does not say which rank it is')
    """
    parts = sorted(parts, key=_first_rank)
    traces = [part.trace for part in parts]
    joined = join(traces)
    numbered = replace(joined.trace, meta={"ranks": _entries(parts, joined)})
    found = communication(numbered)
    aligned = align(traces, found, joined.part_of("processes"))
    trace = retimed(joined, [part.model for part in aligned])
    entries = _with_clocks(numbered.meta["ranks"], parts, joined, aligned)
    trace = _named(trace, entries)
    trace = _with_flows(trace, found)
    warnings = _of_parts(parts)
    missing = _missing(parts, entries)
    warnings += missing + _about_clocks(entries) + list(found.warnings)
    meta = _meta(parts, entries, trace) | {"missing": missing}
    return replace(trace, meta=meta, warnings=tuple(dict.fromkeys(warnings)))


def _first_rank(part: Part) -> float:
    entries = ranks_of(part.trace).entries
    return min((entry["rank"] for entry in entries), default=float("inf"))


def _who(part: Part) -> str:
    ranks = sorted({entry["rank"] for entry in ranks_of(part.trace).entries})
    return f"rank {ranks[0]}" if len(ranks) == 1 else part.name


def _of_parts(parts: Sequence[Part]) -> list[str]:
    """The warnings of the parts: each once, and who says so."""
    by_text: dict[str, list[str]] = {}
    for part in parts:
        for text in part.trace.warnings:
            by_text.setdefault(text, []).append(_who(part))
    return [
        f"{'all ranks' if 1 < len(parts) == len(who) else ', '.join(who)}: {text}"
        for text, who in by_text.items()
    ]


def _entries(parts: Sequence[Part], joined: Joined) -> list[dict[str, Any]]:
    """An entry per rank of each part, with the rows of the result."""
    entries = []
    for number, part in enumerate(parts):
        base = joined.begin("processes", number)
        of_part = ranks_of(part.trace)
        for row, entry in enumerate(of_part.entries):
            rows = np.flatnonzero(of_part.member == row)
            entries.append({
                **{k: v for k, v in entry.items() if k in ("rank", "world_size", "host", "restart")},
                "process": base + entry["process"], "processes": (base + rows).tolist(), "file": part.name,
            })  # fmt: skip
    return sorted(entries, key=lambda entry: (entry["rank"], entry["process"]))


def _with_clocks(
    entries: list[dict[str, Any]], parts: Sequence[Part], joined: Joined, aligned: Sequence[Aligned]
) -> list[dict[str, Any]]:
    part_of = joined.part_of("processes")
    result = []
    for entry in entries:
        part = int(part_of[entry["process"]])
        clock = aligned[part]
        start_ns = int(joined.trace.processes.start_ns[entry["process"]])
        told = {
            **entry, "offset_ns": clock.model.offset_at(start_ns), "error_ns": clock.error_ns,
            "method": clock.method,
        }  # fmt: skip
        if clock.fit is not None:
            told |= {"how": clock.fit.how, "calls": clock.n_sets}
            if clock.fit.how == "drifting":
                told["drift_ppm"] = round(clock.fit.drift_ppm, 3)
            if clock.fit.jumps_ns:
                told["jumps_ns"] = list(clock.fit.jumps_ns)
        result.append(told)
    return result


def _named(trace: Trace, entries: list[dict[str, Any]]) -> Trace:
    """Say in the names of processes which rank they are."""
    strings = {text: row for row, text in enumerate(trace.strings)}
    name_id = trace.processes.name_id.copy()
    hosts = {entry.get("host") for entry in entries}
    for entry in entries:
        who = f"rank {entry['rank']}"
        if len(hosts) > 1 and entry.get("host"):
            who += f" on {entry['host']}"
        for row in entry["processes"]:
            text = trace.strings[int(name_id[row])]
            if not text.startswith(f"rank {entry['rank']}"):  # of a trace that was merged before
                text = f"{who}: {text}"
            name_id[row] = strings.setdefault(text, len(strings))
    processes = type(trace.processes)(**{**dict(trace.processes.columns()), "name_id": name_id})
    return replace(trace, strings=tuple(strings), processes=processes)


def _with_flows(trace: Trace, found: Communication) -> Trace:
    """Add arrows from each send to its receive, and from the first of a collective to the others."""
    calls = found.calls
    rows = np.flatnonzero((calls.set_id >= 0) & found.is_transfer)
    if not len(rows):
        return trace
    start_ns = trace.spans.start_ns[calls.span[rows]]
    is_receive = calls.role[rows] == Role.RECEIVE
    message = is_receive | (calls.role[rows] == Role.SEND)
    order = np.lexsort((start_ns, is_receive, calls.set_id[rows]))
    rows, message = rows[order], message[order]
    set_id = calls.set_id[rows]
    first = np.flatnonzero(np.append(True, set_id[1:] != set_id[:-1]))
    head = np.repeat(first, np.diff(np.append(first, len(rows))))
    is_target = np.arange(len(rows)) != head
    source, target = calls.span[rows[head]][is_target], calls.span[rows][is_target]
    strings = {text: row for row, text in enumerate(trace.strings)}
    kinds = [strings.setdefault(text, len(strings)) for text in (COLLECTIVE_FLOW, MESSAGE_FLOW)]
    kind_id = np.where(message[is_target], kinds[1], kinds[0])
    flows = trace.flows
    return replace(
        trace,
        strings=tuple(strings),
        flows=Flows(
            np.concatenate([flows.from_span, source]),
            np.concatenate([flows.to_span, target]),
            np.concatenate([flows.kind_id, kind_id]),
        ),
    )


def _missing(parts: Sequence[Part], entries: list[dict[str, Any]]) -> list[str]:
    """Say which ranks are not there, are there twice, or do not say that they are."""
    warnings = [
        f"{part.name}: it does not say which rank it is"
        for part in parts
        if not ranks_of(part.trace).entries
    ]
    files: dict[int, list[str]] = {}
    for entry in entries:
        files.setdefault(entry["rank"], []).append(entry["file"])
    for rank, names in files.items():
        if len(names) > 1:
            warnings.append(f"rank {rank} is there {len(names)} times: {', '.join(names)}")
    sizes = sorted({entry["world_size"] for entry in entries if is_number(entry.get("world_size"))})
    if len(sizes) > 1:
        warnings.append(f"ranks of jobs of different sizes: {', '.join(map(str, sizes))}")
    if sizes:
        gone = sorted(set(range(sizes[-1])) - set(files)) if sizes[-1] < 10**6 else []
        if gone:
            shown = ", ".join(map(str, gone[:SHOWN_RANKS]))
            shown += ", …" if len(gone) > SHOWN_RANKS else ""
            verb = "is" if len(gone) == 1 else "are"
            warnings.append(f"{len(gone)} of {sizes[-1]} ranks {verb} missing: {shown}")
    return warnings


def _about_clocks(entries: list[dict[str, Any]]) -> list[str]:
    warnings = []
    for entry in entries:
        who = f"rank {entry['rank']}"
        if entry["method"] == "clock of the day":
            warnings.append(
                f"{who}: its clock could not be aligned by matched calls: times are by the clocks of the day, "
                "whose error is not known"
            )
        elif entry["method"] == "none":
            warnings.append(f"{who}: its times cannot be compared with those of other ranks")
        if jumps := entry.get("jumps_ns"):
            shown = ", ".join(f"{jump / 1e6:+.3f} ms" for jump in jumps[:4])
            warnings.append(
                f"{who}: its clock does not run evenly, or calls are matched wrongly: {len(jumps)} "
                f"jump{'s' if len(jumps) > 1 else ''} ({shown})"
            )
    return warnings


def _meta(parts: Sequence[Part], entries: list[dict[str, Any]], trace: Trace) -> dict[str, Any]:
    """What the first rank says of itself, sums of the audits, and the ranks."""
    meta = {k: v for k, v in parts[0].trace.meta.items() if k not in ("rank", "clock_domain")}
    audits = [a for part in parts if isinstance(a := part.trace.meta.get("audit"), dict)]
    if audits:
        audit = dict(audits[0])
        for key in SUMMED:
            known = [a[key] for a in audits if type(a.get(key)) is int]
            audit |= {key: sum(known)} if known else {}
        for key, worst in WORST.items():
            known = [a[key] for a in audits if type(a.get(key)) in (int, float)]
            audit |= {key: worst(known)} if known else {}
        audit |= {"spans": len(trace.spans), "samples": len(trace.samples)}
        meta["audit"] = audit
    return meta | {"ranks": entries, "merged": [part.name for part in parts]}
