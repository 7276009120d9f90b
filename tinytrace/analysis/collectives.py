"""Communication between ranks: which spans are it, and which call of one rank belongs to which of another.

A *call* is one span (the outermost, where a library's spans lie in each other) of one process; a *set* is what
belongs together: the calls of a collective in all ranks of its group, or a send and its receive.

**How calls are matched.** All members of a group must call its collectives in the same order, and messages from one
rank to another with the same tag arrive in the order in which they were sent (MPI 4.1, sections 6.14 and 3.5;
torch.distributed asks the same). So the n-th collective of a group in one rank belongs to the n-th in the others, and
the n-th send from a to b with a tag to the n-th receive there. Where the library counts itself (torch's ``Seq``), its
numbers are taken. As soon as the collectives of one number differ in what they are, or in their bytes where these must
agree, neither they nor any later ones of the group are matched: somewhere before, a call was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.communication_calls import Calls, Group, Role, calls_of
from tinytrace.analysis.communication_facts import Place
from tinytrace.analysis.communication_sets import match
from tinytrace.analysis.rank_table import ranks_of
from tinytrace.tracer.communication_names import SYNCHRONISING
from tinytrace.tracer.groups import distinct, group_ids
from tinytrace.tracer.trace import Trace

__all__ = ["Calls", "Communication", "Group", "Place", "Role", "communication"]


@dataclass(frozen=True)
class Communication:
    """All communication of a trace.

    Attributes:
        calls: one row each.
        ops: names of operations (`tracer.communication_names`).
        groups: what ``group_id`` means.
        is_complete: (sets,) bool: every member of the group is in the set; where the members are not known, all
            those that ever called something in it.
        is_certain: (sets,) bool: nothing speaks against it; false where later calls of its group did not match.
        warnings: what could not be matched, as sentences with numbers.
    """

    calls: Calls
    ops: tuple[str, ...]
    groups: tuple[Group, ...]
    is_complete: NDArray[np.bool_]
    is_certain: NDArray[np.bool_]
    warnings: tuple[str, ...]

    @property
    def n_sets(self) -> int:
        """How many sets there are: ``Calls.set_id`` is −1 or below it."""
        return len(self.is_complete)

    def of_ops(self, ops: frozenset[str]) -> NDArray[np.bool_]:
        """Return per call whether it is one of these operations."""
        wanted = np.array([*(op in ops for op in self.ops), False], "?")
        return np.asarray(wanted[self.calls.op_id])

    @property
    def synchronises(self) -> NDArray[np.bool_]:
        """Bool per call: a collective that nobody leaves before all have come."""
        return self.of_ops(SYNCHRONISING)

    @property
    def is_transfer(self) -> NDArray[np.bool_]:
        """Bool per call: it is to be counted as communication.

        One collective may be there twice: where the program calls it, and where it is carried out. What a GPU does
        is transfer (`Place.DEVICE`), and so are the calls that we recorded (in a rank whose GPU was seen: those of
        which it is known when they were done). Threads of a library (`Place.WORKER`) count in a rank without such
        calls, and torch.profiler's calls in a rank that has nothing else. Waits are none: `Calls.done_ns` of what they
        wait for has them.
        """
        calls = self.calls
        member, count = group_ids([calls.member])

        def has(which: NDArray[np.bool_]) -> NDArray[np.bool_]:
            return np.asarray(np.bincount(member[which], minlength=count)[member] > 0)

        on_device = calls.place == Place.DEVICE
        own = calls.is_own & (calls.role != Role.WAIT)
        own &= ~(has(on_device) & (calls.done_ns < 0))
        by_worker = (calls.place == Place.WORKER) & ~has(own)
        rest = ~has(own | on_device | by_worker)
        return np.asarray((on_device | own | by_worker | rest) & (calls.role != Role.WAIT))


def communication(trace: Trace) -> Communication:
    """Find the communication of a trace, and match the calls of its ranks.

    Args:
        trace: of one rank, or of several that were merged.

    Example:
        >>> communication(Trace()).n_sets
        0
    """
    kept: list[Any] = trace.spans.derived("communication", list)
    if not kept or kept[0] is not trace.meta:  # which says what rank a process is
        kept[:] = trace.meta, _communication(trace)
    result: Communication = kept[1]
    return result


def _communication(trace: Trace) -> Communication:
    calls, ops, groups = calls_of(trace)
    summed = _summed_up(trace, calls)
    sets = match(calls, ops, groups, np.isin(calls.member, list(summed)))
    columns = {**dict(calls.columns()), "set_id": sets.set_id}
    warnings = sets.warnings
    if len(set(calls.member.tolist())) > 1:
        warnings += tuple(
            f"{count:,} communication calls of rank {rank} were summed up: its calls are not matched"
            for rank, count in summed.values()
        )
    return Communication(Calls(**columns), ops, groups, sets.is_complete, sets.is_certain, warnings)


def _summed_up(trace: Trace, calls: Calls) -> dict[int, tuple[int, int]]:
    """Members of whose calls some are sums only, so that their order tells nothing: rank, how many."""
    names = distinct(trace.spans.name_id[calls.span])
    rows = trace.aggregates.take(np.isin(trace.aggregates.name_id, names))
    ranks = ranks_of(trace)
    found: dict[int, tuple[int, int]] = {}
    for thread, count in zip(rows.thread.tolist(), rows.count.tolist(), strict=True):
        process = int(trace.threads.process[thread])
        member, rank = int(ranks.member[process]), int(ranks.rank[process])
        found[member] = rank, found.get(member, (0, 0))[1] + count
    return found
