"""The account: where the time of the main thread went, adding up to 100 %. docs/report.md explains each line.

Exact from spans: the time of ops and of waiting for data. From samples: what was done in between. Estimated: what
recording cost. What none of these tells is a line of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.between_ops import (
    WHOLE,
    between_ops_ns,
    communication_ns,
    data_wait_ns,
    within,
)
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.host_time import HostTime, host_time
from tinytrace.analysis.op_parts import (
    DETACHED,
    DISPATCHING,
    IN_COMMUNICATION,
    IN_DATA,
    OpParts,
    op_parts,
)
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.places import function_name, place
from tinytrace.analysis.roofline import BOUND, VERDICTS, Judged, PartRoofs, Verdict
from tinytrace.analysis.self_audit import number
from tinytrace.analysis.stack_times import Whose, calling_frames, whose_stacks
from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.analysis.torch_seen import torch_unseen
from tinytrace.tracer.groups import group_ids, sums
from tinytrace.tracer.records import FRAMEWORK_COST, FRAMEWORK_KINDS
from tinytrace.tracer.trace import Column, Trace

Ints = NDArray[np.int64]


class Where(Enum):
    """A line of the account. The values are what is printed."""

    COMPUTE = "compute-bound ops"
    MEMORY = "memory-bound ops"
    OVERHEAD = "overhead-bound ops"
    BALANCED = "balanced ops"
    LATENCY = "ops far from their roofs"
    UNCOUNTED = "uncounted ops"
    NOT_JUDGED = "ops without a verdict"
    DISPATCH = "dispatching work to devices"
    PYTHON = "Python between ops"
    TORCH_UNSEEN = "torch, or Python: not recorded"
    IMPORTS = "importing modules"
    DATA_WAIT = "waiting for data"
    COMMUNICATION = "communication"
    DEVICE_WAIT = "waiting for a device"
    BLOCKED = "blocked or idle"
    NOT_KNOWN_RUNNING = "between ops, running or waiting not known"
    PROFILER = "recording (estimated)"
    UNATTRIBUTED = "cannot be attributed"


WHERE = tuple(Where)
_OF_VERDICT = {
    Verdict.OVERHEAD: Where.OVERHEAD,
    Verdict.BALANCED: Where.BALANCED,
    Verdict.LATENCY: Where.LATENCY,
    Verdict.UNCOUNTED: Where.UNCOUNTED,
    Verdict.VIOLATION: Where.NOT_JUDGED,
    Verdict.NO_PEAKS: Where.NOT_JUDGED,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the account: what, ns, and % of the wall time."""

    where: Where
    spent_ns: int
    percent: float


@dataclass(frozen=True, slots=True)
class PythonLine:
    """Python between ops at one line: ``train.py:42``, its function, ns, % of the wall time."""

    place: str | None
    function: str | None
    spent_ns: int
    percent: float


@dataclass(frozen=True, slots=True)
class Account:
    """Where the time went.

    Attributes:
        thread: name of the thread.
        wall_ns: of the run; for steps, the mean of those that were taken together.
        n_windows: how many stretches were taken together: 1 for a run, else steps.
        entries: a line per `Where`, those of no time too; their ``spent_ns`` add up to ``wall_ns`` exactly.
        python: the lines of code with most of the Python between ops; of torch.profiler's traces where the functions
            begin.
        profiler_known: whether what recording cost is known; otherwise it is in the other lines.
        scaled: spans or samples told of more time than there was, and were scaled down: the trace has folded
            spans, whose times are not known, or spans that overlap.
    """

    thread: str
    wall_ns: int
    n_windows: int
    entries: tuple[Entry, ...]
    python: tuple[PythonLine, ...]
    profiler_known: bool
    scaled: bool

    def spent_ns(self, where: Where) -> int:
        """Return the time of a line."""
        return next(entry.spent_ns for entry in self.entries if entry.where is where)

    def percent(self, where: Where) -> float:
        """Return the share of a line, %."""
        return next(entry.percent for entry in self.entries if entry.where is where)


def account_of(
    trace: Trace, windows: tuple[Ints, Ints] | None = None, top: int = 10
) -> Account | None:
    """Return the account of the main thread; None for a trace without threads or without time.

    Args:
        trace: any trace.
        windows: starts and ends, ns, ascending and apart: the account of these together, such as steps; None:
            of the whole run.
        top: how many lines of Python at most.

    Example:
        >>> account_of(Trace()) is None
        True
    """
    parts = op_parts(count_trace(trace))
    return Accounts(parts, part_verdicts(parts)).of(windows, top)


def part_verdicts(parts: OpParts) -> Judged:
    """Return the verdict of each part, by the roofs that the trace brings along."""
    return PartRoofs(parts, Peaks.of(parts.trace)).judged(np.arange(len(parts)), len(parts))


def main_thread(trace: Trace, process: int = 0) -> int | None:
    """Return the row of a process's main thread: the one with its id, else the busiest; None: there is none.

    Args:
        trace: any trace.
        process: row of ``Trace.processes``: the first one is the program's.

    Example:
        >>> main_thread(Trace()) is None
        True
    """
    threads = trace.threads
    if not len(threads) or not 0 <= process < len(trace.processes):
        return None
    rows = np.flatnonzero(threads.process == process)
    named = rows[threads.tid[rows] == trace.processes.pid[process]]
    if len(named):
        return int(named[0])
    if not len(rows):
        return None
    n = len(threads)
    busy = np.bincount(trace.spans.thread, minlength=n) + np.bincount(
        trace.samples.thread, minlength=n
    )
    return int(rows[np.argmax(busy[rows])])


class Accounts:
    """Makes accounts of one trace.

    Args:
        parts: of the trace.
        judged: per part, see `part_verdicts`.

    Attributes:
        parts: of the trace.
    """

    def __init__(self, parts: OpParts, judged: Judged) -> None:
        self.parts = parts
        self._trace = parts.trace
        self._where = _where(judged)
        self._where[parts.state & DISPATCHING != 0] = WHERE.index(Where.DISPATCH)

    def of(self, windows: tuple[Ints, Ints] | None, top: int) -> Account | None:
        """See `account_of`."""
        trace, thread = self._trace, main_thread(self._trace)
        if thread is None:
            return None
        whole = _life(trace)
        starts, ends = whole if windows is None else windows
        wall_ns = int((ends - starts).sum())
        if wall_ns <= 0:
            return None
        found = dict.fromkeys(Where, 0)
        of_ops = sums(self._where, len(WHERE), self.op_ns(thread, windows))
        found |= dict(zip(WHERE, of_ops.tolist(), strict=True))
        found[Where.DATA_WAIT] = data_wait_ns(trace, thread, windows or WHOLE)
        found[Where.COMMUNICATION] = communication_ns(trace, thread, windows or WHOLE)
        host = None
        if not (trace.samples.thread == thread).any():
            host = host_time(trace, thread, (starts, ends), top)
        if host is not None:
            found[Where.DEVICE_WAIT] = host.wait_ns
            found[Where.DISPATCH] += host.call_ns
            found[Where.PYTHON] = host.python_ns
        scaled = _scale(found, wall_ns)
        gap = _Gap(trace, thread, (starts, ends))
        room_ns = wall_ns - sum(found.values())
        scaled |= gap.total_ns > room_ns
        part = min(1.0, room_ns / gap.total_ns) if gap.total_ns else 0.0
        for where, spent_ns in gap.spent_ns.items():
            found[where] += int(spent_ns * part)
        before_ns = found[Where.PYTHON]
        known = self._take_cost(found, thread, (starts, ends), gap.total_ns / wall_ns)
        found[Where.UNATTRIBUTED] = wall_ns - sum(found.values())
        n = len(starts)
        share = part * found[Where.PYTHON] / before_ns if before_ns else 0.0
        return Account(
            thread=trace.strings[trace.threads.name_id[thread]],
            wall_ns=wall_ns // n,
            n_windows=n,
            entries=_entries(found, wall_ns, n),
            python=tuple(gap.lines(top, share, wall_ns, n))
            if host is None
            else _python_lines(host, wall_ns, n),
            profiler_known=known,
            scaled=scaled,
        )

    def op_ns(self, thread: int, windows: tuple[Ints, Ints] | None) -> Ints:
        """Return per part the self time of its calls in this thread and in the windows."""
        parts = self.parts
        elsewhere = parts.state & (DETACHED | IN_DATA | IN_COMMUNICATION)
        mine = (parts.thread == thread) & (elsewhere == 0)
        if windows is None:
            return np.where(mine, parts.self_ns, 0)
        spans = self._trace.spans
        taken = mine[parts.part_of] & within(spans.start_ns[parts.rows], windows)
        own_ns = parts.counts.own_ns[parts.rows[taken]]
        return sums(parts.part_of[taken], len(parts), own_ns)

    def _take_cost(
        self, found: dict[Where, int], thread: int, windows: tuple[Ints, Ints], gap_share: float
    ) -> bool:
        """Move, in place, what recording cost to a line of its own; returns whether anything is known of it.

        Recording an op is work of its thread, beside the op. The thread that samples holds the interpreter's
        lock while it is at work; who wants it meanwhile waits. An op rather does not.
        """
        told = self._trace.meta.get("audit")
        each_ns, busy_ns = (number(told, key) for key in ("overhead_ns_per_op", "sampler_busy_ns"))
        share = self._share_of_life(windows)
        costs = (
            (Where.PYTHON, (each_ns or 0) * self._n_spans(thread, windows, share)),
            (Where.BLOCKED, (busy_ns or 0) * share * gap_share),
        )
        for where, cost_ns in costs:
            own_ns = min(found[where], max(0, int(cost_ns)))
            found[where] -= own_ns
            found[Where.PROFILER] += own_ns
        return each_ns is not None or busy_ns is not None

    def _share_of_life(self, windows: tuple[Ints, Ints]) -> float:
        starts, ends = windows
        life_ns = int((_life(self._trace)[1] - _life(self._trace)[0]).sum())
        return min(1.0, int((ends - starts).sum()) / max(1, life_ns))

    def _n_spans(self, thread: int, windows: tuple[Ints, Ints], share: float) -> float:
        """How many ops' worth of recording there was: calls in a framework cost more."""
        spans, folded = self._trace.spans, self._trace.aggregates
        mine = (spans.thread == thread) & within(spans.start_ns, windows)
        whole = _cost(spans.kind[mine]).sum()
        summed = (_cost(folded.kind) * folded.count)[folded.thread == thread].sum()
        return float(whole) + float(summed) * share


def _cost(kind: Column) -> Ints:
    return np.where(np.isin(kind, FRAMEWORK_KINDS), FRAMEWORK_COST, 1)


def _python_lines(host: HostTime, wall_ns: int, n: int) -> tuple[PythonLine, ...]:
    return tuple(
        PythonLine(one.place, one.function, one.spent_ns // n, 100 * one.spent_ns / wall_ns)
        for one in host.functions
        if one.spent_ns
    )


def _where(judged: Judged) -> Ints:
    """Per part the line of the account that its time belongs to: an index into `WHERE`."""
    of_verdict = np.array([WHERE.index(_OF_VERDICT.get(v, Where.COMPUTE)) for v in VERDICTS])
    bound = np.isin(judged.code, [VERDICTS.index(verdict) for verdict in BOUND])
    by_memory = bound & judged.by_memory
    return np.where(by_memory, WHERE.index(Where.MEMORY), of_verdict[judged.code])


def _life(trace: Trace) -> tuple[Ints, Ints]:
    """The time of the first process, and at least all that its threads recorded: one window."""
    start_ns, end_ns = int(trace.processes.start_ns[0]), int(trace.processes.end_ns[0])
    if len(trace.processes) == 1 or end_ns <= start_ns:
        start_ns, end_ns = trace.start_ns, trace.end_ns
    return np.array([start_ns]), np.array([end_ns])


def _scale(found: dict[Where, int], wall_ns: int) -> bool:
    """Scale times down, in place, that are more than there was; returns whether they were."""
    total_ns = sum(found.values())
    if total_ns <= wall_ns:
        return False
    for where, spent_ns in found.items():
        found[where] = spent_ns * wall_ns // total_ns
    return True


def _entries(found: dict[Where, int], wall_ns: int, n: int) -> tuple[Entry, ...]:
    """The lines, per window; what dividing leaves over cannot be attributed."""
    each = {where: spent_ns // n for where, spent_ns in found.items()}
    each[Where.UNATTRIBUTED] += wall_ns // n - sum(each.values())
    whole_ns = max(1, wall_ns // n)
    return tuple(Entry(where, spent, 100 * spent / whole_ns) for where, spent in each.items())


_OF_SAMPLES = (
    Where.UNATTRIBUTED,
    Where.PROFILER,
    Where.IMPORTS,
    Where.BLOCKED,
    Where.NOT_KNOWN_RUNNING,
    Where.TORCH_UNSEEN,
    Where.PYTHON,
)


def sample_lines(trace: Trace) -> Ints:
    """Return per sample the line of the account that its time between ops belongs to: an index into `WHERE`.

    Example:
        >>> sample_lines(Trace()).tolist()
        []
    """
    samples = trace.samples
    whose = np.append(whose_stacks(trace), Whose.PROGRAM)[samples.stack_id]
    known = samples.cpu_ns >= 0
    rules = (
        samples.stack_id < 0,
        whose == Whose.TINYTRACE,
        whose == Whose.IMPORT,
        known & ~samples.on_cpu,
        ~known,
        torch_unseen(trace),
    )
    lines = [WHERE.index(where) for where in _OF_SAMPLES]
    return np.asarray(np.select(rules, lines[:-1], lines[-1]), "i8")


class _Gap:
    """The time of a thread outside of ops, by what its samples saw."""

    def __init__(self, trace: Trace, thread: int, windows: tuple[Ints, Ints]) -> None:
        self._trace = trace
        samples = trace.samples
        mine = samples.thread == thread
        gap_ns = np.where(mine, between_ops_ns(trace, windows), 0)
        self.total_ns = int(gap_ns.sum())
        line = sample_lines(trace)
        of_line = sums(line, len(WHERE), gap_ns)
        self.spent_ns = {where: int(of_line[WHERE.index(where)]) for where in _OF_SAMPLES}
        python = line == WHERE.index(Where.PYTHON)
        self._stack_id, self._python_ns = samples.stack_id[python].astype("i8"), gap_ns[python]

    def lines(self, top: int, share: float, wall_ns: int, n: int) -> list[PythonLine]:
        """The lines with most Python.

        Args:
            top: how many.
            share: of their time that is not the profiler's.
            wall_ns: of all windows.
            n: windows.
        """
        trace, frames = self._trace, self._trace.frames
        if not len(self._stack_id):
            return []
        line, count = group_ids([frames.file_id, frames.line, frames.name_id])
        frame = calling_frames(trace)[self._stack_id]
        spent_ns = sums(line[frame], count, self._python_ns)
        example = np.zeros(count, "i8")
        example[line] = np.arange(len(line))
        return [
            PythonLine(
                place=place(trace, int(example[i])),
                function=function_name(trace, int(example[i])),
                spent_ns=int(spent_ns[i] * share / n),
                percent=100 * float(spent_ns[i]) * share / wall_ns,
            )
            for i in np.argsort(-spent_ns, kind="stable")[:top].tolist()
            if spent_ns[i] > 0
        ]


def typical_steps(trace: Trace, steps: Steps | None = None) -> tuple[Ints, Ints] | None:
    """Return starts and ends of the steps whose duration is in the middle half; None: there are none to go by.

    One step of a few milliseconds has a handful of samples. The middle half together has the median step in its
    middle, and no outliers. Steps of another thread than the main one are not used, nor those that were found with
    low confidence.

    Args:
        trace: any trace.
        steps: of it; by default those that `find_steps` finds.

    Example:
        >>> typical_steps(Trace()) is None
        True
    """
    steps = find_steps(trace) if steps is None else steps
    if steps.thread != main_thread(trace) or not steps.are_sure:
        return None
    lasting = steps.dur_ns > 0
    starts, dur_ns = steps.start_ns[lasting], steps.dur_ns[lasting]
    if not len(starts):
        return None
    ordered = np.sort(dur_ns)
    quarter = len(ordered) // 4
    low, high = ordered[quarter], ordered[len(ordered) - 1 - quarter]
    middle = (dur_ns >= low) & (dur_ns <= high)
    return starts[middle], (starts + dur_ns)[middle]
