"""What a rank did in some stretches of its time: ops and waits for data exactly, the rest by samples.

To tell why a rank came late, what it did since it last met others is compared with what they did since then
(Scalasca calls the like *delay analysis*: Böhme et al., "Identifying the root causes of wait states", ICPP 2010).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.account import WHERE, Where, sample_lines
from tinytrace.analysis.between_ops import BetweenOps, within
from tinytrace.analysis.collectives import Place
from tinytrace.analysis.device_work import Sort, device_work
from tinytrace.analysis.intervals import Covered
from tinytrace.analysis.op_parts import (
    DETACHED,
    IN_COMMUNICATION,
    IN_DATA,
    OpParts,
    waiting_for_data,
)
from tinytrace.analysis.rank_times import Job
from tinytrace.analysis.rank_waits import is_begun_only
from tinytrace.analysis.stack_times import program_frames
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Kind

Ints = NDArray[np.int64]
DATA, ELSE, IDLE = "waiting for data", "not seen", "device idle"
# What samples between ops are called here, and whether their lines are told apart.
OF_SAMPLES = {
    Where.PYTHON: ("Python", True),
    Where.BLOCKED: ("blocked", True),
    Where.NOT_KNOWN_RUNNING: ("between ops", True),
    Where.IMPORTS: ("importing modules", False),
}


class What(NamedTuple):
    """Something that ranks do.

    Attributes:
        name: of an op, a kernel, or of a line of the account.
        file_id: a string of the trace; −1: not known.
        line: 0: not known.
    """

    name: str
    file_id: int = -1
    line: int = 0


class Doings:
    """What the ranks of a job did in stretches of their time.

    Args:
        parts: of the trace.
        job: its ranks.
    """

    def __init__(self, parts: OpParts, job: Job) -> None:
        self._parts, self._job, self._trace = parts, job, parts.trace
        trace, spans = self._trace, self._trace.spans
        self._between = BetweenOps(trace)
        elsewhere = parts.state & (DETACHED | IN_DATA | IN_COMMUNICATION) != 0
        self._counts = ~elsewhere[parts.part_of]
        data = spans.kind == Kind.DATA.value
        self._data = (
            np.flatnonzero(data & ~waiting_for_data(spans)) if data.any() else np.empty(0, "i8")
        )
        self._sample_line = sample_lines(trace)
        self._stack_frame = (
            np.append(program_frames(trace), -1) if len(trace.stacks) else np.array([-1])
        )
        self._cuts = [self._ends_of_meetings(row) for row in range(len(job.threads))]

    def _ends_of_meetings(self, member: int) -> Ints:
        """When a rank's main thread went on after it had met others: sorted, its beginning first."""
        found, spans = self._job.found, self._trace.spans
        calls = found.calls
        mine = (calls.member == member) & (calls.place == Place.CALL) & ~is_begun_only(found)
        mine[mine] = spans.thread[calls.span[mine]] == self._job.threads[member]
        begin_ns = int(self._trace.processes.start_ns[self._job.ranks.entries[member]["process"]])
        return np.concatenate([[begin_ns], np.sort(calls.end_ns[mine])])

    def after_start(self, member: int, sets: Ints) -> Ints:
        """Return those of some sets before which a rank had met others already; all, where there are no such.

        Before the first one lies the start of the program, with rendezvous that are not seen.
        """
        calls, cuts = self._job.found.calls, self._cuts[member]
        if len(cuts) < 2:
            return sets
        late = (calls.member == member) & (calls.start_ns >= cuts[1])
        after = np.zeros(self._job.found.n_sets + 1, "?")
        after[calls.set_id[late]] = True
        chosen = sets[after[sets]]
        return chosen if len(chosen) else sets

    def stretches(self, sets: Ints) -> list[Covered]:
        """Return per rank the time from when it last met others to its call of each of these sets."""
        calls = self._job.found.calls
        chosen = np.zeros(self._job.found.n_sets + 1, "?")
        chosen[sets] = True
        chosen &= np.arange(len(chosen)) < self._job.found.n_sets
        rows = np.flatnonzero(chosen[calls.set_id] & (calls.place == Place.CALL))
        found = []
        for member, cuts in enumerate(self._cuts):
            start_ns = np.sort(calls.start_ns[rows[calls.member[rows] == member]])
            at = np.searchsorted(cuts, start_ns, "right") - 1
            found.append(Covered(np.minimum(cuts[np.maximum(at, 0)], start_ns), start_ns))
        return found

    def of(self, member: int, time: Covered) -> dict[What, int]:
        """Return what the main thread of a rank did in some stretches, ns. They add up to these."""
        thread = self._job.threads[member]
        found: dict[What, int] = {}
        if thread is None or not time.total_ns:
            return found
        windows = time.start_ns, time.end_ns
        self._ops(thread, windows, found)
        self._waits_for_data(thread, windows, found)
        self._samples(thread, windows, found)
        rest_ns = time.total_ns - sum(found.values())
        if rest_ns > 0:
            found[What(ELSE)] = found.get(What(ELSE), 0) + rest_ns
        return found

    def _ops(self, thread: int, windows: tuple[Ints, Ints], found: dict[What, int]) -> None:
        parts, trace, spans = self._parts, self._trace, self._trace.spans
        low, high = np.searchsorted(parts.rows, np.searchsorted(spans.thread, [thread, thread + 1]))
        rows = parts.rows[low:high]
        taken = self._counts[low:high] & within(spans.start_ns[rows], windows)
        part_of, own_ns = parts.part_of[low:high][taken], parts.counts.own_ns[rows[taken]]
        spent_ns = sums(part_of, len(parts), own_ns)
        for part in np.flatnonzero(spent_ns).tolist():
            name = trace.strings[int(parts.name_id[part])]
            self._add(found, name, int(parts.callsite_id[part]), int(spent_ns[part]))

    def _waits_for_data(
        self, thread: int, windows: tuple[Ints, Ints], found: dict[What, int]
    ) -> None:
        spans = self._trace.spans
        mine = self._data[spans.thread[self._data] == thread]
        for row in mine[within(spans.start_ns[mine], windows)].tolist():
            self._add(found, DATA, int(spans.callsite_id[row]), int(spans.dur_ns[row]))

    def _samples(self, thread: int, windows: tuple[Ints, Ints], found: dict[What, int]) -> None:
        trace = self._trace
        rows, gap_ns = self._between.of(thread, windows)
        some = gap_ns > 0
        if not some.any():
            return
        line, gap_ns = self._sample_line[rows][some], gap_ns[some]
        frame = self._stack_frame[trace.samples.stack_id[rows][some]]
        places = [
            np.append(column, -1)[frame] for column in (trace.frames.file_id, trace.frames.line)
        ]
        ids, count = group_ids([line, *places])
        first = first_rows(ids, count)
        spent_ns = sums(ids, count, gap_ns)
        for i, row in enumerate(first.tolist()):
            name, by_line = OF_SAMPLES.get(WHERE[int(line[row])], (ELSE, False))
            self._add(found, name, int(frame[row]) if by_line else -1, int(spent_ns[i]))

    def _add(self, found: dict[What, int], name: str, frame: int, spent_ns: int) -> None:
        frames = self._trace.frames
        what = (
            What(name)
            if frame < 0
            else What(name, int(frames.file_id[frame]), int(frames.line[frame]))
        )
        found[what] = found.get(what, 0) + spent_ns

    def before_kernels(self, member: int, sets: Ints) -> dict[What, int]:
        """Return what the device of a rank did since it last communicated, before its kernels of these sets, ns."""
        work, found = device_work(self._trace), self._job.found
        calls = found.calls
        chosen = np.zeros(found.n_sets + 1, "?")
        chosen[sets] = True
        mine = (calls.member == member) & (calls.place == Place.DEVICE)
        rows = np.flatnonzero(mine & (calls.set_id >= 0) & chosen[calls.set_id])
        if work is None or not len(rows):
            return {}
        devices = np.isin(
            [device.process for device in work.devices],
            self._trace.threads.process[self._trace.spans.thread[calls.span[rows]]],
        )
        of_device = np.flatnonzero(devices[work.device])
        meets = of_device[work.sort[of_device] == Sort.COMMUNICATION]
        ends = np.sort(work.end_ns[meets])
        start_ns = np.sort(calls.start_ns[rows])
        at = np.searchsorted(ends, start_ns, "right") - 1
        begin_ns = np.append(ends, work.start_ns[of_device].min())[at]
        time = Covered(np.minimum(begin_ns, start_ns), start_ns)
        others = of_device[work.sort[of_device] != Sort.COMMUNICATION]
        inside_ns = time.within(work.start_ns[others], work.end_ns[others])
        busy = Covered(work.start_ns[others], work.end_ns[others])
        names, count = group_ids([self._trace.spans.name_id[work.row[others]]])
        spent_ns = sums(names, count, inside_ns)
        done = {
            What(self._trace.strings[int(self._trace.spans.name_id[work.row[others[row]]])]): int(
                ns
            )
            for row, ns in zip(first_rows(names, count).tolist(), spent_ns.tolist(), strict=True)
            if ns
        }
        idle_ns = time.total_ns - int(busy.within(time.start_ns, time.end_ns).sum())
        return {**done, What(IDLE): idle_ns}
