"""The thread that an end-to-end time is accounted on, and its steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.spans import self_ns
from tinytrace.analysis.step_finding import Steps, find_steps
from tinytrace.analysis.step_report import warmup_steps
from tinytrace.tracer.groups import sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """One thread of a trace, and its steps.

    Attributes:
        thread: row of ``Trace.threads``; −1: there is none.
        steps: of this thread, marked or found; None: there are none, or they were found with low confidence.
        n_steps: how many, those that were aggregated too.
        step_ns: time in them.
        warmup: how many of the first are warm-up; None: not known.
        wall_ns: from the first to the last that the whole trace recorded.
        doubt: why steps that were found are not used; "": they are, or none were found.
    """

    thread: int
    steps: Steps | None
    n_steps: int
    step_ns: int
    warmup: int | None
    wall_ns: int
    doubt: str = ""


def timeline(trace: Trace) -> Timeline:
    """Choose the thread that decides how long a run takes.

    The one with the steps; without steps the main thread (whose id is that of a process that no recorded one
    started); without that the one with most time in spans, then in samples.

    Example:
        >>> from tinytrace.tracer.trace import Trace
        >>> timeline(Trace()).thread
        -1
    """
    wall_ns = max(0, trace.end_ns - trace.start_ns)
    steps = find_steps(trace)
    if not steps.are_sure:
        doubt = steps.reason if len(steps) else ""
        return Timeline(_main_thread(trace), None, 0, 0, None, wall_ns, doubt)
    folded = trace.aggregates
    mine = (folded.kind == Kind.STEP) & (folded.thread == steps.thread)
    step_ns = int(steps.dur_ns.sum()) + int(folded.total_ns[mine].sum())
    n_folded = int(folded.count[mine].sum())
    warmup = None if n_folded else warmup_steps(steps.dur_ns)
    return Timeline(steps.thread, steps, len(steps) + n_folded, step_ns, warmup, wall_ns)


def _main_thread(trace: Trace) -> int:
    spans, folded, samples, n = trace.spans, trace.aggregates, trace.samples, len(trace.threads)
    if not n:
        return -1
    solid = spans.flags & Flag.DETACHED == 0
    covered_ns = sums(spans.thread[solid], n, self_ns(spans)[solid])
    covered_ns += sums(folded.thread, n, folded.self_ns)
    sampled_ns = sums(samples.thread, n, samples.weight_ns)
    processes, process = trace.processes, trace.threads.process
    is_main = (trace.threads.tid == processes.pid[process]) & (processes.parent[process] < 0)
    return int(np.lexsort((-np.arange(n), sampled_ns, covered_ns, is_main))[-1])


def in_steps(line: Timeline, t_ns: Ints, *, ends: bool = False) -> NDArray[np.bool_]:
    """Return per moment whether it lies in a step of the timeline.

    Args:
        line: whose steps follow one another.
        t_ns: any moments.
        ends: the end of a step belongs to it and its start does not, as for samples, which stand for the time
            before them; otherwise the other way round.
    """
    if line.steps is None:
        return np.zeros(len(t_ns), "?")
    start_ns, end_ns = line.steps.start_ns, line.steps.end_ns
    at = np.searchsorted(start_ns, t_ns, side="left" if ends else "right") - 1
    before_end = t_ns <= end_ns[at] if ends else t_ns < end_ns[at]
    return np.asarray((at >= 0) & before_end, "?")
