"""Ranks that the others waited for, what that cost, and what they did more of than the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinytrace.analysis.op_parts import OpParts
from tinytrace.analysis.places import file_and_line
from tinytrace.analysis.rank_doings import Doings, What
from tinytrace.analysis.rank_times import Job, RankTime

FEW = 3  # of what a rank spent more time in than the others
MOST_EXPLAINED = 8  # ranks, those first that were awaited longest
SOME = 0.02  # of what it did more of in all: less is no explanation


@dataclass(frozen=True, slots=True)
class Excess:
    """Time that a rank spent in one thing beyond the median of the others, since it had last met them.

    Attributes:
        name: of an op (of a kernel on a device), or ``Python``, ``blocked``, ``waiting for data``…
        file: path; None: not known.
        line: 0: not known.
        spent_ns: in this rank, before the collectives in which it came last.
        others_ns: the median of the others, before the same ones.
    """

    name: str
    file: str | None
    line: int
    spent_ns: int
    others_ns: int

    @property
    def place(self) -> str | None:
        """File without folder, and line: ``train.py:42``; None: not known."""
        return file_and_line(self.file, self.line)

    @property
    def excess_ns(self) -> int:
        """What it spent more."""
        return self.spent_ns - self.others_ns


@dataclass(frozen=True, slots=True)
class Straggler:
    """A rank that the others waited for.

    Attributes:
        rank: its number.
        last: in how many collectives and messages it came last, by more than the clocks may be apart.
        awaited_ns: how long the others waited in those, all of them together.
        cost_ns: what the job would take less, at most, had it come with the one before it each time.
        more: what it did more of than the others before, the most first; (): nothing, or not looked at.
    """

    rank: int
    last: int
    awaited_ns: int
    cost_ns: int
    more: tuple[Excess, ...]


def stragglers(times: tuple[RankTime, ...], parts: OpParts, job: Job) -> tuple[Straggler, ...]:
    """Return the ranks that came last in collectives, those first for which the others waited longest.

    Args:
        times: of the ranks, in the order of ``job.ranks``.
        parts: of the trace.
        job: the ranks.
    """
    late = [row for row, time in enumerate(times) if time.last]
    late.sort(key=lambda row: -times[row].awaited_ns)
    doings = Doings(parts, job) if late else None
    found = []
    for number, row in enumerate(late):
        more: tuple[Excess, ...] = ()
        if doings is not None and number < MOST_EXPLAINED:
            more = _more(row, doings, job)
        time = times[row]
        found.append(Straggler(time.rank, time.last, time.awaited_ns, job.cost_ns(row), more))
    return tuple(found)


def _more(row: int, doings: Doings, job: Job) -> tuple[Excess, ...]:
    """What a rank did more of than the others, before the sets in which it came last."""
    sets = doings.after_start(row, job.late.set_id[job.late.member == row])
    stretches = doings.stretches(sets)
    done = [doings.of(member, time) for member, time in enumerate(stretches)]
    on_device = [doings.before_kernels(member, sets) for member in range(len(done))]
    strings = job.trace.strings
    return tuple(
        Excess(
            what.name, strings[what.file_id] if what.file_id >= 0 else None, what.line, spent, usual
        )
        for what, spent, usual in (
            *_beyond_others(row, done, [m for m, t in enumerate(stretches) if t.total_ns]),
            *_beyond_others(row, on_device, [m for m, d in enumerate(on_device) if d]),
        )
    )


def _beyond_others(
    row: int, done: Sequence[dict[What, int]], took_part: Sequence[int]
) -> list[tuple[What, int, int]]:
    """What one spent more on than the median of the others that took part: what, its time, theirs."""
    others = [member for member in took_part if member != row]
    if not others:
        return []
    more = []
    for what, spent_ns in done[row].items():
        usual_ns = int(np.median([done[member].get(what, 0) for member in others]))
        if spent_ns > usual_ns:
            more.append((what, spent_ns, usual_ns))
    more.sort(key=lambda found: found[2] - found[1])
    whole_ns = sum(spent_ns - usual_ns for _, spent_ns, usual_ns in more)
    return [found for found in more[:FEW] if found[1] - found[2] >= SOME * whole_ns]
