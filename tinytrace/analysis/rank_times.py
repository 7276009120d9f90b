"""Where the time of one rank of a job went, and what of its communication was hidden behind computing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import WHERE, Where, main_thread, sample_lines
from tinytrace.analysis.between_ops import BetweenOps
from tinytrace.analysis.collectives import Communication, Place, communication
from tinytrace.analysis.device_account import DeviceAccounts, Spent, device_windows
from tinytrace.analysis.device_work import device_work
from tinytrace.analysis.intervals import Covered
from tinytrace.analysis.op_parts import in_communication
from tinytrace.analysis.rank_sets import Arrivals, arrivals
from tinytrace.analysis.rank_table import Ranks, is_number, ranks_of
from tinytrace.analysis.rank_waits import Lateness, Waits, lateness_of, waits_of
from tinytrace.analysis.spans import leaf_ops
from tinytrace.analysis.step_report import MAD_TO_SIGMA
from tinytrace.tracer.groups import sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RankTime:
    """Where the time of one rank went, ns. The first nine add up to ``wall_ns``.

    Attributes:
        rank, name, host: number, name of its process, machine (None: not told).
        ops_ns: in operations, outside of communication.
        waiting_ns: in communication, before all had come that it waited for.
        transfer_ns: in communication, thereafter.
        unsplit_ns: in communication of which that is not known.
        data_ns: waiting for data.
        python_ns: running Python, by samples.
        imports_ns: importing modules, by samples.
        blocked_ns: blocked or idle, by samples.
        other_ns: not seen, or not known which of these.
        wall_ns: of its main process.
        in_flight_ns: when communication of it was going on, in whatever thread; of a rank with devices, on these, as
            in their accounts.
        hidden_ns: of that, when it computed at the same time; None: its computing was not seen.
        exposed_ns: communication behind which nothing is computed: of a rank with devices, on these; else of its
            main thread. Waiting for others is in it.
        last: collectives in which it came last, by more than the clocks may be apart.
        awaited_ns: how long others waited in those, all of them together.
        error_ns: how far its clock may be off from that of the first; None: not known.
        steps: how many steps its main thread marked.
        step_ns, step_spread_ns: their median, and 1.4826 · median absolute deviation from it (as in
            `step_report.StepReport`, but with the warm-up); None: none, or one.
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
    imports_ns: int
    blocked_ns: int
    other_ns: int
    wall_ns: int
    in_flight_ns: int
    hidden_ns: int | None
    exposed_ns: int
    last: int
    awaited_ns: int
    error_ns: int | None
    steps: int
    step_ns: float | None
    step_spread_ns: float | None

    @property
    def communication_ns(self) -> int:
        """In communication, its main thread."""
        return self.waiting_ns + self.transfer_ns + self.unsplit_ns


def job_of(trace: Trace) -> Job | None:
    """Return the job that a trace is of; None: it is of no rank, or of one that never communicates.

    Example:
        >>> job_of(Trace()) is None
        True
    """
    ranks, found = ranks_of(trace), communication(trace)
    if not ranks.entries or (len(ranks.entries) == 1 and not len(found.calls)):
        return None
    return Job(trace, ranks, found)


class Job:
    """The ranks of a trace, and what they said to each other.

    Attributes:
        trace, ranks, found: of what.
        world_size: how many ranks there were; None: not told.
        missing: numbers of ranks that are not in the trace.
        arrived: when their communication could go on.
        waits: how long they waited in it.
        late: who was the last, and what that cost.
        threads: per rank its main thread; None: it has none.
    """

    def __init__(self, trace: Trace, ranks: Ranks, found: Communication) -> None:
        self.trace, self.ranks, self.found = trace, ranks, found
        worlds = [e["world_size"] for e in ranks.entries if is_number(e.get("world_size"))]
        present = {entry["rank"] for entry in ranks.entries}
        self.world_size: int | None = max(worlds, default=None)
        self.missing = tuple(r for r in range(self.world_size or 0) if r not in present)
        error = np.array([_error_ns(e) for e in ranks.entries] or [0], "i8")
        member = np.minimum(found.calls.member, len(error) - 1)
        self.arrived: Arrivals = arrivals(found, error[member], bool(self.missing))
        self.waits: Waits = waits_of(found, self.arrived)
        self.late: Lateness = lateness_of(found, self.arrived, self.waits)
        self.threads = [main_thread(trace, e["process"]) for e in ranks.entries]
        self._solid = trace.spans.flags & Flag.DETACHED.value == 0
        self._between, self._sample_line = BetweenOps(trace), sample_lines(trace)
        computes = leaf_ops(trace.spans) & ~in_communication(trace) & self._solid
        self._computing = np.flatnonzero(computes)
        self._devices = _device_communication(trace)

    def cost_ns(self, row: int) -> int:
        """Return what the job would take less, at most, had a rank come with the one before it each time.

        No more than the rank that waited for it longest did: each set counts what one rank waited in it, and they may
        be different ones that do not wait for each other.
        """
        calls, waits = self.found.calls, self.waits
        mine = self.late.member == row
        chosen = np.zeros(self.found.n_sets + 1, "?")
        chosen[self.late.set_id[mine]] = True
        rows = np.flatnonzero(chosen[calls.set_id[waits.what]] & (waits.waiting_ns >= 0))
        member = calls.member[waits.what[rows]]
        n = int(calls.member.max(initial=-1)) + 1
        of_member = sums(member, n, np.where(member == row, 0, waits.waiting_ns[rows]))
        return int(min(self.late.cost_ns[mine].sum(), of_member.max(initial=0)))

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
        between = self._between_ops(thread, rest_ns)
        in_flight, hidden_ns, exposed_ns = self._overlap(row, communication_ns)
        mine = self.late.member == row
        error, host = entry.get("error_ns"), entry.get("host")
        steps, step_ns, step_spread_ns = self._steps(thread)
        return RankTime(
            rank=entry["rank"],
            name=trace.strings[int(processes.name_id[process])],
            host=host if isinstance(host, str) else None,
            ops_ns=ops_ns,
            waiting_ns=waiting.total_ns,
            transfer_ns=split_ns - waiting.total_ns,
            unsplit_ns=communication_ns - split_ns,
            data_ns=inside.total_ns - communication_ns,
            python_ns=between[0],
            imports_ns=between[1],
            blocked_ns=between[2],
            other_ns=rest_ns - sum(between),
            wall_ns=wall_ns,
            in_flight_ns=in_flight,
            hidden_ns=hidden_ns,
            exposed_ns=exposed_ns,
            last=int(mine.sum()),
            awaited_ns=int(self.late.awaited_ns[mine].sum()),
            error_ns=error if is_number(error) else None,
            steps=steps,
            step_ns=step_ns,
            step_spread_ns=step_spread_ns,
        )

    def _covered(self, rows: Ints) -> Covered:
        spans = self.trace.spans
        return Covered(spans.start_ns[rows], spans.start_ns[rows] + spans.dur_ns[rows])

    def _communication(self, row: int, thread: int | None) -> tuple[Covered, Covered, Covered]:
        """Of a rank's main thread in communication: waiting for others; what could be split; all of it."""
        calls = self.found.calls
        rows = np.flatnonzero((calls.member == row) & (calls.place == Place.CALL))
        rows = rows[self.trace.spans.thread[calls.span[rows]] == thread]
        at = np.searchsorted(self.waits.call, rows)
        waiting_ns = self.waits.waiting_ns[at]
        start_ns, end_ns = calls.start_ns[rows], calls.end_ns[rows]
        known = waiting_ns >= 0
        ready_ns = start_ns + np.where(known, waiting_ns, self.waits.least_ns[at])
        return (
            Covered(start_ns, ready_ns),
            Covered(start_ns, np.where(known, end_ns, ready_ns)),
            Covered(start_ns, end_ns),
        )

    def _between_ops(self, thread: int | None, room_ns: int) -> tuple[int, int, int]:
        """What samples say of the rest: Python, imports, blocked."""
        if thread is None:
            return 0, 0, 0
        rows, gap_ns = self._between.of(thread)
        of_line = sums(self._sample_line[rows], len(WHERE), gap_ns)
        part = min(
            1.0, room_ns / max(1, int(of_line.sum()))
        )  # folded ops are seen by samples alone
        python, imports, blocked = (
            int(of_line[WHERE.index(where)] * part)
            for where in (Where.PYTHON, Where.IMPORTS, Where.BLOCKED)
        )
        return python, imports, blocked

    def _overlap(self, row: int, main_ns: int) -> tuple[int, int | None, int]:
        """When communication went on; of that when this rank computed; and when nothing hid it.

        Of a rank whose devices communicate, their accounts tell. Else computing is an op outside of communication,
        in any thread of its processes.
        """
        mine = self.ranks.member[self.trace.threads.process] == row
        processes = np.unique(self.trace.threads.process[mine])
        pairs = [pair for process, pair in self._devices.items() if process in processes]
        in_flight_ns = sum(pair[0] for pair in pairs)
        if in_flight_ns:
            exposed_ns = sum(pair[1] for pair in pairs)
            return in_flight_ns, in_flight_ns - exposed_ns, exposed_ns
        calls, spans = self.found.calls, self.trace.spans
        ended = np.flatnonzero(
            self.found.is_transfer & (calls.member == row) & (calls.done_ns >= 0)
        )
        flying = Covered(calls.start_ns[ended], calls.done_ns[ended])
        rows = self._computing[mine[spans.thread[self._computing]]]
        if not len(rows):
            return flying.total_ns, None, main_ns
        hidden_ns = int(self._covered(rows).within(flying.start_ns, flying.end_ns).sum())
        return flying.total_ns, hidden_ns, main_ns

    def _steps(self, thread: int | None) -> tuple[int, float | None, float | None]:
        """Marked steps of a thread: how many, their median, their spread."""
        spans = self.trace.spans
        whole = spans.flags & Flag.OPEN.value == 0
        rows = np.flatnonzero((spans.kind == Kind.STEP.value) & (spans.thread == thread) & whole)
        if not len(rows):
            return 0, None, None
        dur_ns = spans.dur_ns[rows]
        median_ns = float(np.median(dur_ns))
        spread_ns = MAD_TO_SIGMA * float(np.median(np.abs(dur_ns - median_ns)))
        return len(rows), median_ns, spread_ns if len(rows) > 1 else None


def _error_ns(entry: dict[str, Any]) -> int:
    """How far a clock may be off; −1: nobody knows.

    On one host the clock of the day is one clock, and a trace that goes by it is taken at its word.
    """
    error = entry.get("error_ns", 0)
    if is_number(error):
        return int(error)
    return 0 if entry.get("method") == "same host" else -1


def _device_communication(trace: Trace) -> dict[int, tuple[int, int]]:
    """Per process of a device: how long it communicated in its account, and how long of that exposed, ns."""
    work = device_work(trace)
    if work is None:
        return {}
    accounts, windows = DeviceAccounts(trace, work), device_windows(trace, work)
    found = {}
    for number, device in enumerate(work.devices):
        account = accounts.of(number, windows)
        exposed_ns = account.spent_ns(Spent.COMMUNICATION)
        found[device.process] = account.communication_ns, exposed_ns
    return found
