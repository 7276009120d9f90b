"""Time between ops: what samples say about the time in which no op ran and no data was waited for.

Spans tell exactly when ops ran; what the thread did in between only samples tell. A sample stands for the time
since the one before it. What part of that lies outside of ops is exact; that all of it was spent where the sample
was taken is the error that sampling has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.collectives import communication
from tinytrace.analysis.op_parts import in_communication, waiting_for_data
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]
WHOLE: tuple[Ints, Ints] = (np.array([-(2**62)]), np.array([2**62]))


def between_ops_ns(trace: Trace, windows: tuple[Ints, Ints] = WHOLE) -> Ints:
    """Return per sample how much of the time that it stands for lies outside of ops, ns.

    Waiting for data and communication count as ops here. Times for which several samples of a thread stand (foreign
    traces) go to the first of them, so that the sum over a thread's samples is at most its time outside of ops.

    Args:
        trace: any trace; folded spans, whose times are not known, are not seen.
        windows: starts and ends, ns, ascending, apart: only what lies in these counts.

    Example:
        >>> between_ops_ns(Trace()).tolist()
        []
    """
    between = BetweenOps(trace)
    found = np.zeros(len(trace.samples), "i8")
    for thread in range(len(trace.threads)):
        rows, outside_ns = between.of(thread, windows)
        found[rows] = outside_ns
    return found


class BetweenOps:
    """Time between ops, thread by thread; see `between_ops_ns`.

    Args:
        trace: any trace.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace, spans = trace, trace.spans
        covering = (spans.kind == Kind.OP) | (spans.kind == Kind.DATA)
        covering |= in_communication(trace)
        covering &= spans.flags & Flag.DETACHED == 0
        self._covering = covering

    def of(self, thread: int, windows: tuple[Ints, Ints] = WHOLE) -> tuple[slice, Ints]:
        """Return the samples of a thread, and for each how much of its time lies outside of ops and in the windows."""
        samples, spans = self._trace.samples, self._trace.spans
        low, high = np.searchsorted(samples.thread, [thread, thread + 1]).tolist()
        rows = slice(low, high)
        if low == high or not len(windows[0]):
            return rows, np.zeros(high - low, "i8")
        first, last = np.searchsorted(spans.thread, [thread, thread + 1])
        mine = self._covering[first:last]
        starts = spans.start_ns[first:last][mine]
        outside = _Outside(starts, starts + spans.dur_ns[first:last][mine], windows)
        t_ns = samples.t_ns[rows]
        latest = np.maximum.accumulate(t_ns)
        begin_ns = t_ns - samples.weight_ns[rows]
        begin_ns[1:] = np.maximum(begin_ns[1:], latest[:-1])
        spent_ns = outside.until(t_ns) - outside.until(np.minimum(begin_ns, t_ns))
        return rows, np.maximum(spent_ns, 0)


class _Outside:
    """Measures time that is in a window and in none of these intervals."""

    def __init__(self, start_ns: Ints, end_ns: Ints, windows: tuple[Ints, Ints]) -> None:
        # Intervals in order of start: one begins where nothing before reaches to it.
        reach_ns = np.maximum.accumulate(end_ns) if len(end_ns) else end_ns
        begins = np.ones(len(start_ns), "?")
        begins[1:] = start_ns[1:] > reach_ns[:-1]
        self._start_ns = start_ns[begins]
        last = np.append(np.flatnonzero(begins)[1:], len(start_ns)) - 1
        self._len_ns = reach_ns[last] - self._start_ns if len(start_ns) else start_ns
        self._before_ns = np.cumsum(self._len_ns) - self._len_ns
        self._windows = windows
        lengths = self._free(windows[1]) - self._free(windows[0])
        self._window_before_ns = np.cumsum(lengths) - lengths

    def until(self, t_ns: Ints) -> Ints:
        """How much of it lies before a time."""
        starts, ends = self._windows
        at = np.searchsorted(starts, t_ns, "right") - 1
        inside = np.maximum(at, 0)
        spent = self._free(np.minimum(t_ns, ends[inside])) - self._free(starts[inside])
        return np.where(at < 0, 0, self._window_before_ns[inside] + spent)

    def _free(self, t_ns: Ints) -> Ints:
        """Time before ``t_ns`` (from any zero) that lies in no interval."""
        if not len(self._start_ns):
            return t_ns
        at = np.searchsorted(self._start_ns, t_ns, "right") - 1
        inside = np.maximum(at, 0)
        taken = self._before_ns[inside] + np.minimum(
            t_ns - self._start_ns[inside], self._len_ns[inside]
        )
        return t_ns - np.where(at < 0, 0, taken)


def data_wait_ns(trace: Trace, thread: int, windows: tuple[Ints, Ints] = WHOLE) -> int:
    """Return how long a thread waited for data: spans of that kind, each time counted once.

    Args:
        trace: any trace.
        thread: row of ``Trace.threads``.
        windows: as in `between_ops_ns`; a span counts where it begins.
    """
    spans = trace.spans
    outer = (
        (spans.kind == Kind.DATA) & (spans.thread == thread) & (spans.flags & Flag.DETACHED == 0)
    )
    if not outer.any():
        return 0
    outer &= ~waiting_for_data(spans)
    return int(spans.dur_ns[outer & within(spans.start_ns, windows)].sum())


def communication_ns(trace: Trace, thread: int, windows: tuple[Ints, Ints] = WHOLE) -> int:
    """Return how long a thread was in calls that communicate with other ranks, not while it waited for data.

    Args:
        trace: any trace.
        thread: row of ``Trace.threads``.
        windows: as in `between_ops_ns`; a call counts where it begins.
    """
    spans, rows = trace.spans, np.unique(communication(trace).calls.span)
    rows = rows[(spans.thread[rows] == thread) & (spans.flags[rows] & Flag.DETACHED == 0)]
    if not len(rows):
        return 0
    rows = rows[~waiting_for_data(spans)[rows]]
    return int(spans.dur_ns[rows[within(spans.start_ns[rows], windows)]].sum())


def within(t_ns: Ints, windows: tuple[Ints, Ints]) -> NDArray[np.bool_]:
    """Return per time whether it lies in a window (its start belongs to it, its end does not)."""
    starts, ends = windows
    at = np.searchsorted(starts, t_ns, "right") - 1
    return np.asarray((at >= 0) & (t_ns < ends[np.maximum(at, 0)]))
