"""Who waited for whom: what a rank that comes last costs the others, collective by collective.

A rank waits in a call that synchronises until the last has come. Where it only began something and went on, it waits
in the call that ends it (`Wait`, `Work.wait`), if it still has to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.collectives import Communication, Place, Role
from tinytrace.analysis.rank_sets import Arrivals
from tinytrace.tracer.groups import first_rows, group_ids, sums

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Waits:
    """Waiting, one row per call in which a rank can wait.

    Attributes:
        call: row of `Communication.calls` in which it waits.
        what: the row that it waits for: the same, or what was begun earlier.
        waiting_ns: how long; −1: not known.
        least_ns: how long at least, where that is not known: until the last of those that are in the trace had come.
    """

    call: Ints
    what: Ints
    waiting_ns: Ints
    least_ns: Ints


def waits_of(found: Communication, arrived: Arrivals) -> Waits:
    """Return how long each call waited for other ranks.

    Args:
        found: all communication.
        arrived: when each call could go on.

    Example:
        >>> from tinytrace.analysis.collectives import communication
        >>> from tinytrace.analysis.rank_sets import arrivals
        >>> from tinytrace.tracer.trace import Trace
        >>> none = communication(Trace())
        >>> waits_of(none, arrivals(none, np.empty(0, "i8"))).call.tolist()
        []
    """
    calls = found.calls
    rows = np.flatnonzero(found.is_transfer | (calls.place == Place.CALL))
    begun = calls.begun_by[rows]
    what = np.where(begun >= 0, begun, rows)
    start_ns, end_ns = calls.start_ns[rows], calls.end_ns[rows]
    ready_ns, least_ns = arrived.ready_ns[what], arrived.least_ns[what]
    waiting_ns = np.where(ready_ns < 0, -1, np.clip(ready_ns, start_ns, end_ns) - start_ns)
    least_ns = np.where(least_ns < 0, 0, np.clip(least_ns, start_ns, end_ns) - start_ns)
    return Waits(rows, what, waiting_ns, least_ns)


@dataclass(frozen=True, eq=False)
class Lateness:
    """What came of it that one call of a set was the last, one row per set of transfers in which that is sure.

    Attributes:
        set_id: which.
        member: of the rank that came last, a row of `rank_table.Ranks`.
        awaited_ns: how long the others waited in it, all of them together.
        cost_ns: what the one that waited longest would have waited less, had the last one come with the one before it.
    """

    set_id: Ints
    member: Ints
    awaited_ns: Ints
    cost_ns: Ints


def lateness_of(found: Communication, arrived: Arrivals, waits: Waits) -> Lateness:
    """Return who was the last in each set, and what that cost. Sets in which nobody else took part in vain count not.

    Args:
        found: all communication.
        arrived: when each call could go on.
        waits: how long each waited.
    """
    calls, last = found.calls, arrived.last_call
    sets = np.flatnonzero((last >= 0) & arrived.is_sure)
    sets = sets[found.is_transfer[last[sets]]]
    set_id = calls.set_id[waits.what]
    chosen = np.zeros(found.n_sets + 1, "?")
    chosen[sets] = True
    rows = np.flatnonzero(chosen[set_id] & (waits.waiting_ns >= 0))
    rows = rows[calls.member[waits.what[rows]] != calls.member[last[set_id[rows]]]]
    own = set_id[rows]
    pair, count = group_ids([own, calls.member[waits.what[rows]]])
    of_pair = own[first_rows(pair, count)]
    pair_ns = sums(pair, count, waits.waiting_ns[rows])
    awaited_ns = sums(of_pair, found.n_sets, pair_ns)
    longest_ns = np.zeros(found.n_sets, "i8")
    np.maximum.at(longest_ns, of_pair, pair_ns)
    waited = np.bincount(of_pair, minlength=found.n_sets)[sets] > 0
    sets = sets[waited]
    lead_ns = arrived.lead_ns[sets]
    cost_ns = np.where(lead_ns < 0, longest_ns[sets], np.minimum(lead_ns, longest_ns[sets]))
    return Lateness(sets, calls.member[last[sets]].astype("i8"), awaited_ns[sets], cost_ns)


def is_begun_only(found: Communication) -> NDArray[np.bool_]:
    """Return per call whether the program goes on at once: what was begun is done later."""
    calls = found.calls
    return np.asarray((calls.role != Role.WAIT) & (calls.done_ns != calls.end_ns))
