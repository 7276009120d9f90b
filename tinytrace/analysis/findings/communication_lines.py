"""Calls of a job that block its main threads while something is transferred, and the lines that they are at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinytrace.analysis.collectives import Place, Role
from tinytrace.analysis.findings.case import Ints
from tinytrace.analysis.rank_times import Job
from tinytrace.analysis.rank_waits import is_begun_only
from tinytrace.tracer.groups import group_ids, sums


class Blocking(NamedTuple):
    """Collectives that block the main thread of a rank, by rank, then start; one entry each.

    Attributes:
        call: row of ``Communication.calls``.
        member: rank.
        frame: row of ``Trace.frames``; −1: not known.
        transfer_ns: from when all had come whom it waits for to its end.
    """

    call: Ints
    member: Ints
    frame: Ints
    transfer_ns: Ints


def blocking(job: Job) -> Blocking:
    """Return the collectives that block main threads, and of which it is known how long they waited."""
    calls, spans, waits = job.found.calls, job.trace.spans, job.waits
    rows = waits.call
    main = np.array([-2 if t is None else t for t in job.threads], "i8")
    mine = (waits.waiting_ns >= 0) & (calls.role[rows] == Role.COLLECTIVE)
    mine &= (calls.place[rows] == Place.CALL) & ~is_begun_only(job.found)[rows]
    mine &= calls.member[rows] < len(main)
    mine[mine] = spans.thread[calls.span[rows[mine]]] == main[calls.member[rows[mine]]]
    rows, waiting_ns = rows[mine], waits.waiting_ns[mine]
    order = np.lexsort((calls.start_ns[rows], calls.member[rows]))
    rows, waiting_ns = rows[order], waiting_ns[order]
    return Blocking(
        rows,
        calls.member[rows].astype("i8"),
        spans.callsite_id[calls.span[rows]].astype("i8"),
        calls.end_ns[rows] - calls.start_ns[rows] - waiting_ns,
    )


class Line(NamedTuple):
    """Some of these calls that are at one line: how many a rank has, and the sum of a value in each rank."""

    frame: int
    rows: Ints
    per_rank: int
    spent_ns: Ints


def by_line(job: Job, found: Blocking, spent_ns: Ints) -> list[Line]:
    """Return the lines of calls, with the sum of a value per rank; most first."""
    frames, known = job.trace.frames, np.flatnonzero(found.frame >= 0)
    if not len(known):
        return []
    frame, n = found.frame[known], len(job.threads)
    ids, count = group_ids([frames.file_id[frame], frames.line[frame]])
    lines = []
    for i in range(count):
        rows = known[ids == i]
        each = sums(found.member[rows], n, spent_ns[rows])
        lines.append(Line(int(found.frame[rows[0]]), rows, len(rows) // n, each))
    return sorted(lines, key=lambda line: -int(line.spent_ns.sum()))
