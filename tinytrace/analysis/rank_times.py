"""Where the time of one rank of a job went, and what of its communication was hidden behind computing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import main_thread
from tinytrace.analysis.collectives import Communication, Place
from tinytrace.analysis.intervals import Covered
from tinytrace.analysis.rank_sets import Arrivals, arrivals
from tinytrace.analysis.rank_table import Ranks, is_number
from tinytrace.analysis.spans import leaf_ops
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RankTime:
    """Where the time of one rank went, ns. The first seven add up to ``wall_ns``.

    Attributes:
        rank, name, host: number, name of its process, machine (None: not told).
        ops_ns: in operations, outside of communication.
        waiting_ns: in communication, before all had come that it waited for.
        transfer_ns: in communication, thereafter.
        unsplit_ns: in communication of which that is not known.
        data_ns: waiting for data.
        python_ns: running Python, by samples.
        other_ns: blocked, idle, or not seen.
        wall_ns: of its main process.
        in_flight_ns: when communication of it was going on, in whatever thread or device.
        hidden_ns: of that, when it computed at the same time; None: its computing was not seen.
        last: collectives in which it came last, by more than the clocks may be apart.
        awaited_ns: how long others waited in those, all of them together.
        error_ns: how far its clock may be off from that of the first; None: not told.
    """

    rank: int
    name: str
    host: str | None
    ops_ns: int
    waiting_ns: int
    transfer_ns: int
    unsplit_ns: int
    data_ns: int
    python_ns: int
    other_ns: int
    wall_ns: int
    in_flight_ns: int
    hidden_ns: int | None
    last: int
    awaited_ns: int
    error_ns: int | None

    @property
    def communication_ns(self) -> int:
        """In communication, its main thread."""
        return self.waiting_ns + self.transfer_ns + self.unsplit_ns


class Job:
    """The ranks of a trace, and what they said to each other.

    Attributes:
        trace, ranks, found: of what.
        arrived: when their communication could go on.
        threads: per rank its main thread; None: it has none.
    """

    def __init__(self, trace: Trace, ranks: Ranks, found: Communication) -> None:
        self.trace, self.ranks, self.found = trace, ranks, found
        errors = [e.get("error_ns") for e in ranks.entries]
        error = np.array([e if is_number(e) else 0 for e in errors] or [0], "i8")
        member = np.minimum(found.calls.member, len(error) - 1)
        self.arrived: Arrivals = arrivals(found, error[member])
        self.threads = [main_thread(trace, e["process"]) for e in ranks.entries]
        self._solid = trace.spans.flags & Flag.DETACHED.value == 0

    def time_of(self, row: int) -> RankTime:
        """Return where the time of one rank went."""
        trace, entry, thread = self.trace, self.ranks.entries[row], self.threads[row]
        spans, processes = trace.spans, trace.processes
        process = entry["process"]
        wall_ns = int(processes.end_ns[process] - processes.start_ns[process])
        mine = np.flatnonzero((spans.thread == thread) & self._solid)
        waiting, splittable, all_of_it = self._communication(row, thread)
        data = self._covered(mine[spans.kind[mine] == Kind.DATA.value])
        ops = self._covered(mine[spans.kind[mine] == Kind.OP.value])
        inside = Covered(
            np.concatenate([all_of_it.start_ns, data.start_ns]),
            np.concatenate([all_of_it.end_ns, data.end_ns]),
        )
        busy = Covered(
            np.concatenate([inside.start_ns, ops.start_ns]),
            np.concatenate([inside.end_ns, ops.end_ns]),
        )
        communication_ns, ops_ns = all_of_it.total_ns, busy.total_ns - inside.total_ns
        split_ns = splittable.total_ns
        wall_ns = max(wall_ns, busy.total_ns)
        rest_ns = wall_ns - busy.total_ns
        python_ns = min(rest_ns, self._python_ns(thread, busy))
        in_flight, hidden_ns = self._overlap(row)
        last, awaited_ns = self._awaited(row)
        error, host = entry.get("error_ns"), entry.get("host")
        return RankTime(
            rank=entry["rank"],
            name=trace.strings[int(processes.name_id[process])],
            host=host if isinstance(host, str) else None,
            ops_ns=ops_ns,
            waiting_ns=waiting.total_ns,
            transfer_ns=split_ns - waiting.total_ns,
            unsplit_ns=communication_ns - split_ns,
            data_ns=inside.total_ns - communication_ns,
            python_ns=python_ns,
            other_ns=rest_ns - python_ns,
            wall_ns=wall_ns,
            in_flight_ns=in_flight,
            hidden_ns=hidden_ns,
            last=last,
            awaited_ns=awaited_ns,
            error_ns=error if is_number(error) else None,
        )

    def _covered(self, rows: Ints) -> Covered:
        spans = self.trace.spans
        return Covered(spans.start_ns[rows], spans.start_ns[rows] + spans.dur_ns[rows])

    def _communication(self, row: int, thread: int | None) -> tuple[Covered, Covered, Covered]:
        """Of a rank's main thread in communication: waiting for others; what could be split; all of it."""
        calls = self.found.calls
        rows = np.flatnonzero((calls.member == row) & (calls.place == Place.CALL))
        rows = rows[self.trace.spans.thread[calls.span[rows]] == thread]
        begun = calls.begun_by[rows]
        what = np.where(begun >= 0, begun, rows)  # a wait is for what began earlier
        ready_ns = self.arrived.ready_ns[what]
        start_ns, end_ns = calls.start_ns[rows], calls.end_ns[rows]
        known = ready_ns >= 0
        ready_ns = np.clip(ready_ns, start_ns, end_ns)
        return (
            Covered(start_ns[known], ready_ns[known]),
            Covered(start_ns[known], end_ns[known]),
            Covered(start_ns, end_ns),
        )

    def _python_ns(self, thread: int | None, busy: Covered) -> int:
        """What samples say of the rest: running."""
        samples = self.trace.samples
        mine = np.flatnonzero((samples.thread == thread) & samples.on_cpu)
        t_ns, weight_ns = samples.t_ns[mine], samples.weight_ns[mine]
        return int((weight_ns - busy.within(t_ns - weight_ns, t_ns)).sum())

    def _overlap(self, row: int) -> tuple[int, int | None]:
        """When communication went on, and of that when this rank computed: in ops, in threads that communicate not.

        A rank whose GPU communicates computes on that: there, other kernels of the same device's process count.
        """
        calls, spans, trace = self.found.calls, self.trace.spans, self.trace
        mine = np.flatnonzero(self.found.is_transfer & (calls.member == row))
        ended = mine[calls.done_ns[mine] >= 0]
        flying = Covered(calls.start_ns[ended], calls.done_ns[ended])
        on_device = bool((calls.place[mine] == Place.DEVICE).any())
        members = self.ranks.member[trace.threads.process] == row
        if on_device:
            places = np.unique(trace.threads.process[spans.thread[calls.span[mine]]])
            members = np.isin(trace.threads.process, places)
        candidates = leaf_ops(spans) & members[spans.thread] & self._solid
        candidates[calls.span] = False
        rows = np.flatnonzero(candidates)
        if not len(rows):
            return flying.total_ns, None
        computing = self._covered(rows)
        return flying.total_ns, int(computing.within(flying.start_ns, flying.end_ns).sum())

    def _awaited(self, row: int) -> tuple[int, int]:
        """In how many sets this rank came last for sure, and how long the others waited in them."""
        calls, arrived = self.found.calls, self.arrived
        last = arrived.last_call
        sets = np.flatnonzero((last >= 0) & arrived.is_sure)
        mine = sets[calls.member[last[sets]] == row]
        chosen = np.zeros(self.found.n_sets + 1, "?")
        chosen[mine] = True
        waits = chosen[calls.set_id] & (arrived.ready_ns >= 0) & (calls.member != row)
        waited = np.minimum(arrived.ready_ns, calls.end_ns) - calls.start_ns
        several = np.bincount(calls.set_id[waits], minlength=len(chosen))[mine] > 0
        return int(several.sum()), int(np.maximum(waited[waits], 0).sum())
