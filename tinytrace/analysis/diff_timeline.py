"""The thread that an end-to-end time is accounted on, and its steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.spans import kept_parent, self_ns
from tinytrace.tracer.groups import sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """One thread of a trace, and its steps.

    Attributes:
        thread: row of ``Trace.threads``; −1: there is none.
        step_rows: rows of its outermost steps that are in the trace one by one, in order of time.
        n_steps: how many steps it went through, those that were aggregated too.
        step_ns: time in them.
        wall_ns: from the first to the last that the whole trace recorded.
    """

    thread: int
    step_rows: Ints
    n_steps: int
    step_ns: int
    wall_ns: int


def timeline(trace: Trace) -> Timeline:
    """Choose the thread that decides how long a run takes.

    The one with most time in steps; without steps the main thread (whose id is that of a process that no
    recorded one started); without that the one with most time in spans, then in samples.

    Example:
        >>> from tinytrace.tracer.trace import Trace
        >>> timeline(Trace()).thread
        -1
    """
    spans, folded, samples = trace.spans, trace.aggregates, trace.samples
    wall_ns = max(0, trace.end_ns - trace.start_ns)
    n = len(trace.threads)
    if not n:
        return Timeline(-1, np.empty(0, "i8"), 0, 0, wall_ns)
    solid = spans.flags & Flag.DETACHED == 0
    is_step = (spans.kind == Kind.STEP) & solid
    steps = np.flatnonzero(is_step)[kept_parent(spans.parent, is_step) < 0]
    folded_step = folded.kind == Kind.STEP
    step_ns = sums(spans.thread[steps], n, spans.dur_ns[steps])
    step_ns += sums(folded.thread[folded_step], n, folded.total_ns[folded_step])
    covered_ns = sums(spans.thread[solid], n, self_ns(spans)[solid])
    covered_ns += sums(folded.thread, n, folded.self_ns)
    sampled_ns = sums(samples.thread, n, samples.weight_ns)
    processes, process = trace.processes, trace.threads.process
    is_main = (trace.threads.tid == processes.pid[process]) & (processes.parent[process] < 0)
    thread = int(np.lexsort((-np.arange(n), sampled_ns, covered_ns, is_main, step_ns))[-1])
    mine = steps[spans.thread[steps] == thread]
    n_folded = int(folded.count[folded_step & (folded.thread == thread)].sum())
    return Timeline(thread, mine, len(mine) + n_folded, int(step_ns[thread]), wall_ns)


def in_steps(trace: Trace, line: Timeline, t_ns: Ints) -> NDArray[np.bool_]:
    """Return per moment whether it lies in a step of the timeline; the end of a step does, its start does not.

    Args:
        trace: the trace of the timeline.
        line: whose steps follow one another.
        t_ns: any moments.
    """
    if not len(line.step_rows):
        return np.zeros(len(t_ns), "?")
    start_ns = trace.spans.start_ns[line.step_rows]
    end_ns = start_ns + trace.spans.dur_ns[line.step_rows]
    at = np.searchsorted(start_ns, t_ns, side="left") - 1
    return np.asarray((at >= 0) & (t_ns <= end_ns[at]), "?")
