"""What was different in the slowest step: ops that took longer, calls more, time in which no op ran."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.spans import self_ns
from tinytrace.analysis.step_finding import Steps
from tinytrace.analysis.summary import place
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

MAX_TYPICAL = 200  # steps, spread evenly, whose median stands for all: a median of 200 is known to ±4 percentiles
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OpDifference:
    """One op at one call site, in the slowest step and usually.

    Attributes:
        op: its name.
        frame_id: its call site, a row of ``Trace.frames``; −1: not known.
        place, function: of the call site, ``train.py:42`` and ``forward``; None: not known.
        self_ns, calls: in the slowest step; self time is that in no other span inside.
        usual_ns, usual_calls: medians over other steps, each by itself.
    """

    op: str
    frame_id: int
    place: str | None
    function: str | None
    self_ns: int
    calls: int
    usual_ns: float
    usual_calls: float

    @property
    def excess_ns(self) -> float:
        """How much longer it took than usual; negative: shorter."""
        return self.self_ns - self.usual_ns


@dataclass(frozen=True, slots=True)
class GapLine:
    """A line that the samples found while no op ran in the slowest step, and the time that they stand for."""

    frame_id: int
    place: str | None
    function: str | None
    sampled_ns: float


@dataclass(frozen=True, slots=True)
class SlowestStep:
    """The slowest step after the warm-up, compared with usual ones (medians).

    Attributes:
        index: which of the steps.
        number: its number.
        dur_ns, usual_ns: its duration, and the median.
        gap_ns, usual_gap_ns: time in which no op ran in the thread.
        gap_running_ns, gap_waiting_ns: parts of ``gap_ns`` in which the thread ran (Python's code, garbage
            collection, libraries) and in which it waited (for a lock, a disk, a busy CPU): by the samples that
            lie in gaps, whose CPU time is taken as spread evenly. The rest is not known.
        differences: what took longer or shorter by most, most first.
        gap_lines: lines in the gaps, most time first.
    """

    index: int
    number: int
    dur_ns: int
    usual_ns: float
    gap_ns: int
    usual_gap_ns: float
    gap_running_ns: float
    gap_waiting_ns: float
    differences: tuple[OpDifference, ...]
    gap_lines: tuple[GapLine, ...]


def slowest_step(trace: Trace, steps: Steps, warmup: int, top: int) -> SlowestStep | None:
    """Compare the slowest step after the warm-up with the others; None: fewer than three of them.

    Args:
        trace: any trace.
        steps: of it.
        warmup: how many of the first are left out.
        top: how many differences, and lines, at most.
    """
    dur_ns = steps.dur_ns[warmup:]
    if len(dur_ns) < 3:
        return None
    slowest = warmup + int(np.argmax(dur_ns))
    others = np.delete(np.arange(warmup, len(steps)), slowest - warmup)
    picked = np.linspace(0, len(others) - 1, min(MAX_TYPICAL, len(others))).astype("i8")
    chosen = np.append(others[picked], slowest)
    ops = _StepOps(trace, steps, chosen)
    gaps_ns = np.maximum(0, steps.dur_ns[chosen] - ops.total_ns)
    gaps = _Gaps(trace, steps, slowest)
    return SlowestStep(
        index=slowest,
        number=int(steps.number[slowest]),
        dur_ns=int(steps.dur_ns[slowest]),
        usual_ns=float(np.median(dur_ns)),
        gap_ns=int(gaps_ns[-1]),
        usual_gap_ns=float(np.median(gaps_ns[:-1])),
        gap_running_ns=gaps.running_ns,
        gap_waiting_ns=gaps.waiting_ns,
        differences=ops.differences(top),
        gap_lines=gaps.lines(top),
    )


class _StepOps:
    """Calls and self time of the ops in some steps, the slowest last.

    Attributes:
        total_ns: per step, the self time of all its ops.
    """

    def __init__(self, trace: Trace, steps: Steps, chosen: Ints) -> None:
        self._trace = trace
        spans = trace.spans
        low, high = np.searchsorted(spans.thread, [steps.thread, steps.thread + 1])
        starts = spans.start_ns[low:high]
        begin = low + np.searchsorted(starts, steps.start_ns[chosen])
        size = low + np.searchsorted(starts, steps.end_ns[chosen]) - begin
        step = np.repeat(np.arange(len(chosen)), size)
        offset = np.arange(len(step)) - np.repeat(np.cumsum(size) - size, size)
        rows = begin[step] + offset
        is_op = spans.kind[rows] == Kind.OP
        step, rows = step[is_op], rows[is_op]
        spent_ns = self_ns(spans)[rows]
        n_steps = len(chosen)
        self.total_ns = sums(step, n_steps, spent_ns)
        group, self._n = group_ids([spans.name_id[rows], spans.callsite_id[rows]])
        self._first = rows[first_rows(group, self._n)]
        cell = step * self._n + group
        self._spent_ns = sums(cell, n_steps * self._n, spent_ns).reshape(n_steps, self._n)
        self._calls = np.bincount(cell, minlength=n_steps * self._n).reshape(n_steps, self._n)

    def differences(self, top: int) -> tuple[OpDifference, ...]:
        """Return the ops whose time moved most against the median of the other steps."""
        if not self._n:
            return ()
        usual_ns = np.median(self._spent_ns[:-1], axis=0)
        usual_calls = np.median(self._calls[:-1], axis=0)
        moved = np.abs(self._spent_ns[-1] - usual_ns)
        found = []
        for i in np.argsort(-moved, kind="stable")[:top].tolist():
            if not moved[i] and self._calls[-1, i] == usual_calls[i]:
                break
            row = int(self._first[i])
            frame_id = int(self._trace.spans.callsite_id[row])
            where, function = _where(self._trace, frame_id)
            found.append(OpDifference(
                self._trace.strings[self._trace.spans.name_id[row]], frame_id, where, function,
                int(self._spent_ns[-1, i]), int(self._calls[-1, i]), float(usual_ns[i]),
                float(usual_calls[i]),
            ))  # fmt: skip
        return tuple(found)


class _Gaps:
    """The samples that lie where no op ran in one step.

    Attributes:
        running_ns, waiting_ns: see `SlowestStep`.
    """

    def __init__(self, trace: Trace, steps: Steps, index: int) -> None:
        self._trace = trace
        samples = trace.samples
        low, high = np.searchsorted(samples.thread, [steps.thread, steps.thread + 1])
        begin_ns, end_ns = int(steps.start_ns[index]), int(steps.end_ns[index])
        t_ns = samples.t_ns[low:high]
        first = low + int(np.searchsorted(t_ns, begin_ns, "right"))
        # one more: the sample that stands for the end of the step was taken after it
        rows = np.arange(first, min(high, low + int(np.searchsorted(t_ns, end_ns)) + 1))
        edges_ns, before_ns = _gap_clock(trace, steps.thread, begin_ns, end_ns)
        until, weight = samples.t_ns[rows], samples.weight_ns[rows]
        overlap_ns = np.interp(until, edges_ns, before_ns)
        overlap_ns -= np.interp(until - weight, edges_ns, before_ns)
        cpu_ns = samples.cpu_ns[rows]
        ran = np.where(cpu_ns >= 0, np.minimum(1, cpu_ns / np.maximum(1, weight)), np.nan)
        self.running_ns = float(np.nansum(overlap_ns * ran))
        self.waiting_ns = float(np.nansum(overlap_ns * (1 - ran)))
        stack = samples.stack_id[rows]
        has_stack = (stack >= 0) & (overlap_ns > 0)
        self._frame_id = trace.stacks.frame_id[stack[has_stack]].astype("i8")
        self._overlap_ns = overlap_ns[has_stack]

    def lines(self, top: int) -> tuple[GapLine, ...]:
        if not len(self._frame_id):
            return ()
        spent_ns = np.bincount(self._frame_id, self._overlap_ns)
        best = np.argsort(-spent_ns, kind="stable")[:top]
        return tuple(
            GapLine(i, *_where(self._trace, i), float(spent_ns[i]))
            for i in best.tolist()
            if spent_ns[i] > 0
        )


def _gap_clock(trace: Trace, thread: int, begin_ns: int, end_ns: int) -> tuple[Ints, Ints]:
    """A clock that stands still while an op runs: its corners, and what it shows there."""
    spans = trace.spans
    low, high = np.searchsorted(spans.thread, [thread, thread + 1])
    inside = slice(*(low + np.searchsorted(spans.start_ns[low:high], [begin_ns, end_ns])).tolist())
    part = np.arange(inside.start, inside.stop)
    part = part[spans.kind[part] == Kind.OP]
    starts = spans.start_ns[part]
    # An op inside another begins before that one has ended: only what lies beyond all earlier ends counts.
    ends = np.minimum(np.maximum.accumulate(starts + spans.dur_ns[part]), end_ns)
    begins = np.maximum(starts, np.append(begin_ns, ends[:-1]))
    ends = np.maximum(begins, ends)
    edges = np.empty(2 * len(part) + 2, "i8")
    edges[0], edges[-1] = begin_ns, end_ns
    edges[1:-1:2], edges[2:-1:2] = begins, ends
    shown = np.zeros(len(edges), "i8")
    shown[1:] = np.cumsum(np.where(np.arange(len(edges) - 1) % 2 == 0, np.diff(edges), 0))
    return edges, shown


def _where(trace: Trace, frame_id: int) -> tuple[str | None, str | None]:
    if frame_id < 0:
        return None, None
    name_id = int(trace.frames.name_id[frame_id])
    return place(trace, frame_id), trace.strings[name_id] if name_id >= 0 else None
