"""Ranks that the others waited for, and what they did more of than the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinytrace.analysis.op_parts import OpParts
from tinytrace.analysis.places import place
from tinytrace.analysis.rank_times import Job, RankTime

FEW = 3  # of what a rank spent more time in than the others
BESIDE_OPS = {
    "Python between ops": "python_ns",
    "waiting for data": "data_ns",
    "blocked, idle or not seen": "other_ns",
}


@dataclass(frozen=True, slots=True)
class Excess:
    """Time that a rank spent in one thing beyond the median of the others.

    Attributes:
        name: of an op, or of a line of the account.
        place: ``train.py:42``; None: not known.
        spent_ns: in this rank.
        others_ns: the median of the others.
    """

    name: str
    place: str | None
    spent_ns: int
    others_ns: int


@dataclass(frozen=True, slots=True)
class Straggler:
    """A rank that the others waited for, and what it did more of than they: with the most of it first."""

    rank: int
    last: int
    awaited_ns: int
    more: tuple[Excess, ...]


def stragglers(times: tuple[RankTime, ...], parts: OpParts, job: Job) -> tuple[Straggler, ...]:
    """Return the ranks that came last in collectives, those first for which the others waited longest.

    Args:
        times: of the ranks, in the order of ``job.ranks``.
        parts: of the trace.
        job: the ranks.
    """
    keys, spent_ns = _op_table(parts, job)
    found = []
    for row, time in enumerate(times):
        if not time.last:
            continue
        rest = [i for i in range(len(times)) if i != row]
        more = []
        for column, (name, where) in enumerate(keys):
            usual = int(np.median(spent_ns[rest, column])) if rest else 0
            more.append(Excess(name, where, int(spent_ns[row, column]), usual))
        for name, field in BESIDE_OPS.items():
            usual = int(np.median([getattr(times[i], field) for i in rest])) if rest else 0
            more.append(Excess(name, None, getattr(time, field), usual))
        more = [e for e in more if e.spent_ns > e.others_ns]
        more.sort(key=lambda e: e.others_ns - e.spent_ns)
        found.append(Straggler(time.rank, time.last, time.awaited_ns, tuple(more[:FEW])))
    return tuple(sorted(found, key=lambda s: -s.awaited_ns))


def _op_table(
    parts: OpParts, job: Job
) -> tuple[list[tuple[str, str | None]], np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """Self time of the main threads' ops, communication apart: their names and places, (ranks, these) ns."""
    trace = parts.trace
    communicates = np.zeros(len(trace.spans), "?")
    communicates[job.found.calls.span] = True
    mine = np.ones(len(parts), "?")
    mine[parts.part_of[communicates[parts.rows]]] = False
    rank_of = {thread: row for row, thread in enumerate(job.threads) if thread is not None}
    columns: dict[tuple[str, str | None], int] = {}
    cells: list[tuple[int, int, int]] = []
    for part in np.flatnonzero(mine).tolist():
        row = rank_of.get(int(parts.thread[part]))
        if row is None:
            continue
        site = int(parts.callsite_id[part])
        key = (
            trace.strings[int(parts.name_id[part])],
            place(trace, site) if site >= 0 else None,
        )
        column = columns.setdefault(key, len(columns))
        cells.append((row, column, int(parts.self_ns[part])))
    spent_ns = np.zeros((len(job.threads), len(columns)), "i8")
    for row, column, self_ns in cells:
        spent_ns[row, column] += self_ns
    return list(columns), spent_ns
