"""The ranks of a job: where the time of each went, who was waited for, and what communication was hidden.

Of each rank's main thread: time in ops, in communication (waiting for others and transfer apart: `rank_sets`), waiting
for data, and the rest by samples. All of them add up to its wall time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinytrace.analysis.collectives import Communication, Role
from tinytrace.analysis.op_parts import OpParts
from tinytrace.analysis.rank_sets import Arrivals
from tinytrace.analysis.rank_times import RankTime, job_of
from tinytrace.analysis.stragglers import Straggler, stragglers


@dataclass(frozen=True, slots=True)
class CollectiveTime:
    """The collectives of one operation and group, taken together.

    Attributes:
        op, group: what it is, among whom.
        n_sets: how many.
        bytes: that one rank gave in one of them, the median; None: not told.
        skew_ns: from the first arrival to the last, the median.
        waiting_ns, transfer_ns: of all ranks and sets.
        bytes_per_s: ``bytes`` by the median time from the last arrival to the last leaving; None: not known.
    """

    op: str
    group: str
    n_sets: int
    bytes: int | None
    skew_ns: int
    waiting_ns: int
    transfer_ns: int
    bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class RankReport:
    """The ranks of a job.

    Attributes:
        world_size: how many there were; None: not told.
        ranks: those that are in the trace, by number.
        stragglers: ranks that came last, those first for which the others waited longest.
        collectives: those whose sets are whole, the ones with most time first.
        n_sets: how many sets these are.
        undecided: of these, in which nobody was last by more than the clocks may be apart.
        unmatched: calls that belong to no whole set.
        first: the rank of the first process, whose account is the report's.
        missing: numbers of ranks that are not in the trace.
        warnings: what could not be matched.
    """

    world_size: int | None
    ranks: tuple[RankTime, ...]
    stragglers: tuple[Straggler, ...]
    collectives: tuple[CollectiveTime, ...]
    n_sets: int
    undecided: int
    unmatched: int
    first: int
    missing: tuple[int, ...]
    warnings: tuple[str, ...]

    def most_awaited(self, top: int) -> tuple[RankTime, ...]:
        """All ranks by number where they are few, else those that others waited for longest, the most first."""
        if len(self.ranks) <= top:
            return self.ranks
        return tuple(sorted(self.ranks, key=lambda t: -t.awaited_ns)[:top])

    @property
    def worth_naming(self) -> tuple[Straggler, ...]:
        """The stragglers for which the others waited at least a tenth of what they waited for the first.

        Where nobody is slower than the others somebody still comes last each time, now this one, now that one.
        """
        least_ns = self.stragglers[0].awaited_ns / 10 if self.stragglers else 0
        return tuple(s for s in self.stragglers if s.awaited_ns >= least_ns)


def rank_report(parts: OpParts, top: int = 10) -> RankReport | None:
    """Return where the time of each rank went; None: it is no job of several ranks.

    Args:
        parts: of the trace.
        top: how many collectives at most.

    Example:
        >>> from tinytrace.analysis.counting import count_trace
        >>> from tinytrace.analysis.op_parts import op_parts
        >>> from tinytrace.tracer.trace import Trace
        >>> rank_report(op_parts(count_trace(Trace()))) is None
        True
    """
    job = job_of(parts.trace)
    if job is None:
        return None
    ranks, found = job.ranks, job.found
    world_size, missing = job.world_size, job.missing
    times = tuple(job.time_of(i) for i in range(len(ranks.entries)))
    last = job.arrived.last_call
    whole = (last >= 0) & found.is_transfer[last] if found.n_sets else last >= 0
    return RankReport(
        world_size=world_size,
        ranks=tuple(sorted(times, key=lambda t: t.rank)),
        stragglers=stragglers(times, parts, job),
        collectives=_collectives(found, job.arrived, top),
        n_sets=int(whole.sum()),
        undecided=int((whole & ~job.arrived.is_sure).sum()),
        unmatched=int(
            (found.is_transfer & (job.arrived.ready_ns < 0) & (found.calls.role != Role.SEND)).sum()
        ),
        first=int(ranks.rank[0]),
        missing=missing,
        warnings=found.warnings,
    )


def _collectives(found: Communication, arrived: Arrivals, top: int) -> tuple[CollectiveTime, ...]:
    calls = found.calls
    rows = np.flatnonzero((calls.set_id >= 0) & (arrived.ready_ns >= 0) & (calls.done_ns >= 0))
    rows = rows[found.is_transfer[rows]]
    kinds: dict[tuple[int, int], list[int]] = {}
    for row in rows.tolist():
        kinds.setdefault((int(calls.op_id[row]), int(calls.group_id[row])), []).append(row)
    first_ns = np.full(found.n_sets, np.iinfo("i8").max)
    last_ns = np.zeros(found.n_sets, "i8")
    in_set = np.flatnonzero(calls.set_id >= 0)  # of a receive the send, too
    np.minimum.at(first_ns, calls.set_id[in_set], calls.start_ns[in_set])
    np.maximum.at(last_ns, calls.set_id[in_set], calls.start_ns[in_set])
    tables = []
    for (op, group), listed in kinds.items():
        mine = np.array(listed)
        sets, number = np.unique(calls.set_id[mine], return_inverse=True)
        first, last, done = first_ns[sets], last_ns[sets], np.zeros(len(sets), "i8")
        np.maximum.at(done, number, calls.done_ns[mine])
        ready = np.minimum(arrived.ready_ns[mine], calls.done_ns[mine])
        given = calls.bytes[mine]
        size = int(np.median(given[given >= 0])) if (given >= 0).any() else None
        took_ns = float(np.median(done - last))
        tables.append(
            CollectiveTime(
                op=found.ops[op],
                group=found.groups[group].name,
                n_sets=len(sets),
                bytes=size,
                skew_ns=int(np.median(last - first)),
                waiting_ns=int((ready - calls.start_ns[mine]).sum()),
                transfer_ns=int((calls.done_ns[mine] - ready).sum()),
                bytes_per_s=size * 1e9 / took_ns if size and took_ns > 0 else None,
            )
        )
    tables.sort(key=lambda t: -(t.waiting_ns + t.transfer_ns))
    return tuple(tables[:top])
