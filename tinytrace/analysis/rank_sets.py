"""When a collective could begin: who came last, how long the others waited, and how sure that is.

In a collective that synchronises, nobody leaves before all have come: what a rank spends in it before the last one
comes is **waiting**, the rest is **transfer** (and what the library does besides). From a root to all, everyone waits
for the root; from all to a root, the root waits for everyone, the others for nobody; a receive waits for its send.
This is the split that Scalasca calls *wait at barrier / wait at N×N, late broadcast, early reduce, late sender*
(Böhme et al., "Identifying the root causes of wait states in large-scale parallel applications", 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.collectives import Communication, Role
from tinytrace.tracer.communication_names import ALL_TO_ONE, ONE_TO_ALL, SYNCHRONISING

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Arrivals:
    """When calls could go on, and who came last.

    Attributes:
        ready_ns: per call, when all whom it waits for had come, its own start at least; −1: not known.
        least_ns: per call of a set that is not there whole, when the last of those that are in the trace had come: it
            waited for that long at least; −1: of other sets, or not known.
        last_call: per set, the call that came last, of those others waited for; −1: none, or not known.
        lead_ns: per set, by how much it came after the one before it; −1: there is none.
        is_sure: per set, whether that is more than what the clocks may be apart.
    """

    ready_ns: Ints
    least_ns: Ints
    last_call: Ints
    lead_ns: Ints
    is_sure: Bools


def arrivals(found: Communication, error_ns: Ints, ranks_missing: bool = False) -> Arrivals:
    """Return when each call's set was ready.

    Args:
        found: all communication.
        error_ns: per call, how far the clock of its rank may be off; −1: nobody knows. Sets with such calls and calls
            of other clocks are not split.
        ranks_missing: whether the job has more ranks than the trace: then a group whose members are not told is not
            known to be there whole.

    Example:
        >>> from tinytrace.analysis.collectives import communication
        >>> from tinytrace.tracer.trace import Trace
        >>> arrivals(communication(Trace()), np.empty(0, "i8")).ready_ns.tolist()
        []
    """
    calls, n_sets = found.calls, found.n_sets
    is_told, is_whole = _comparable(found, error_ns, ranks_missing)
    last, second = _last_two(found, _in(found, is_whole))
    sure = last >= 0
    both = np.flatnonzero(second >= 0)
    lead_ns = np.full(n_sets, -1, "i8")
    lead_ns[both] = calls.start_ns[last[both]] - calls.start_ns[second[both]]
    sure[both] = lead_ns[both] > error_ns[last[both]] + error_ns[second[both]]
    ready = np.where(_in(found, is_whole) & _for_nobody(found), calls.start_ns, -1)
    ready = np.maximum(ready, _came_ns(found, _in(found, is_whole), last))
    in_part = _in(found, is_told & ~is_whole)
    least = _came_ns(found, in_part, _last_two(found, in_part)[0])
    return Arrivals(ready, least, last, lead_ns, sure)


def _in(found: Communication, sets: Bools) -> Bools:
    """Per call whether it is in one of these sets."""
    return np.asarray(np.append(sets, False)[found.calls.set_id])


def _last_two(found: Communication, in_set: Bools) -> tuple[Ints, Ints]:
    """Per set the call that came last, and the one before it, of those others wait for; −1: there is none."""
    calls = found.calls
    last, second = np.full(found.n_sets, -1, "i8"), np.full(found.n_sets, -1, "i8")
    rows = np.flatnonzero(in_set & _awaited(found))
    if not len(rows):
        return last, second
    order = rows[np.lexsort((calls.start_ns[rows], calls.set_id[rows]))]
    sets = calls.set_id[order]
    ends = np.flatnonzero(np.append(sets[1:] != sets[:-1], True))
    last[sets[ends]] = order[ends]
    has_second = (ends > 0) & (sets[np.maximum(ends - 1, 0)] == sets[ends])
    second[sets[ends][has_second]] = order[ends[has_second] - 1]
    return last, second


def _came_ns(found: Communication, in_set: Bools, last: Ints) -> Ints:
    """Per call that waits in one of these sets, when the last had come, its own start at least; −1: other calls."""
    calls = found.calls
    known = in_set & _waits(found)
    known[known] = last[calls.set_id[known]] >= 0
    came_ns = np.full(len(calls), -1, "i8")
    last_ns = calls.start_ns[last[calls.set_id[known]]]
    came_ns[known] = np.maximum(last_ns, calls.start_ns[known])
    return came_ns


def _comparable(found: Communication, error_ns: Ints, ranks_missing: bool) -> tuple[Bools, Bools]:
    """Per set whether its group and its clocks are known; and whether all members of its group are in it, too."""
    calls = found.calls
    told = np.ones(found.n_sets, "?")
    rows = np.flatnonzero(calls.set_id >= 0)
    if ranks_missing:
        unknown = np.array([not group.ranks for group in found.groups], "?")
        collective = calls.role[rows] == Role.COLLECTIVE
        told[calls.set_id[rows[collective & unknown[calls.group_id[rows]]]]] = False
    told[calls.set_id[rows[error_ns[rows] < 0]]] = False
    return told, told & found.is_complete


def _is_root(found: Communication) -> Bools:
    calls = found.calls
    return np.asarray((calls.peer >= 0) & (calls.peer == calls.rank))


def _awaited(found: Communication) -> Bools:
    """Per call whether others of its set wait for it."""
    of_root = found.of_ops(ONE_TO_ALL) & _is_root(found)
    to_root = found.of_ops(ALL_TO_ONE)
    sends = found.calls.role == Role.SEND
    return np.asarray(found.of_ops(SYNCHRONISING) | of_root | to_root | sends)


def _waits(found: Communication) -> Bools:
    """Per call whether it waits for others of its set."""
    root = _is_root(found)
    waits = found.of_ops(SYNCHRONISING) | (found.of_ops(ONE_TO_ALL) & ~root)
    receives = found.calls.role == Role.RECEIVE
    return np.asarray(waits | (found.of_ops(ALL_TO_ONE) & root) | receives)


def _for_nobody(found: Communication) -> Bools:
    """Per call whether it is known to wait for nobody: the root that gives, and those who give to a root."""
    root, known = _is_root(found), found.calls.peer >= 0
    gives = (found.of_ops(ONE_TO_ALL) & root) | (found.of_ops(ALL_TO_ONE) & ~root)
    return np.asarray(gives & known)
