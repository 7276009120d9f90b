"""Rates over time, derived from the ops: GFLOP/s and GB/s per process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import FIGURES, UNCOUNTED, TraceCounts, count_trace
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.trace import Trace

MAX_POINTS = 2_000  # finer than a screen is wide
MIN_BIN_NS = 1_000_000
RATES = (("gflops", "GFLOP/s"), ("gbps", "GB/s"))  # of `FIGURES`: flops, bytes
ROWS = 1 << 16  # spans that are looked at together
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class RateCounter(NamedTuple):
    """A rate of one process over time: a value holds from its time to the next; the last is 0.

    Attributes:
        process: row of ``Trace.processes``.
        name: ``gflops`` or ``gbps``.
        unit: ``GFLOP/s`` or ``GB/s``.
        t_ns: int64, ascending, equally spaced.
        value: float64.
    """

    process: int
    name: str
    unit: str
    t_ns: Ints
    value: Floats


def rate_counters(trace: Trace, bin_ns: int | None = None) -> list[RateCounter]:
    """Return GFLOP/s and GB/s over time of each process that ran counted ops.

    The work of each op (in which no other op ran: nothing is counted twice) is spread evenly over
    its duration; the value of a bin is the work in it, over its length: nothing is lost at the
    edges of bins. The work of aggregated ops is spread over the time in which they lie. Uncounted
    ops are not in it: a rate is that of the ops that can be counted. A rate that the trace holds
    already as a counter is not derived again.

    Args:
        trace: any trace.
        bin_ns: length of a bin; by default such that there are at most 2,000 points, and at least 1
            ms.

    Raises:
        ValueError: ``bin_ns`` is not positive.

    Example:
        >>> from tinytrace.tracer.trace import Column, Trace
        >>> rate_counters(Trace())
        []
    """
    if bin_ns is not None and bin_ns <= 0:
        raise ValueError(f"bin_ns must be positive, not {bin_ns}")
    if not len(trace.spans) and not len(trace.aggregates):
        return []
    counts, there = count_trace(trace), _present(trace)
    extents: dict[tuple[int, int], tuple[int, int]] = {}
    for key, start_ns, end_ns, _ in _work(trace, counts):
        first_ns, last_ns = extents.get(key, (int(start_ns[0]), int(end_ns[0])))
        extents[key] = min(first_ns, int(start_ns.min())), max(last_ns, int(end_ns.max()))
    bins = {key: _Bins(*extents[key], bin_ns) for key in sorted(extents)}
    for key, start_ns, end_ns, work in _work(trace, counts):
        bins[key].add(start_ns, end_ns, work)
    return [
        RateCounter(process, name, unit, *one.result())
        for (process, which), one in bins.items()
        for name, unit in [RATES[which]]
        if (process, name, unit) not in there
    ]


def _present(trace: Trace) -> set[tuple[int, str, str]]:
    series = trace.series
    return {
        (int(p), trace.strings[n], trace.strings[u])
        for p, n, u in zip(series.process, series.name_id, series.unit_id, strict=True)
    }


def _work(
    trace: Trace, counts: TraceCounts
) -> Iterator[tuple[tuple[int, int], Ints, Ints, Floats]]:
    """Yield pieces of work, a stretch of rows at a time: memory does not grow with the trace.

    Process and index in `FIGURES`; start, end and work of each op that has any.
    """
    spans, folded = trace.spans, trace.aggregates
    process = trace.threads.process
    for first in range(0, len(spans), ROWS):
        rows = slice(first, first + ROWS)
        figures = [counts.per_span(name, rows).astype("f8") for name in FIGURES]
        start_ns = spans.start_ns[rows]
        end_ns = start_ns + spans.dur_ns[rows]
        yield from _of_processes(process[spans.thread[rows]], start_ns, end_ns, figures)
    figures = [
        np.array([UNCOUNTED if work is None else work for work in counts.per_aggregate(name)], "f8")
        for name in FIGURES
    ]
    yield from _of_processes(process[folded.thread], folded.start_ns, folded.end_ns, figures)


def _of_processes(
    process: Ints, start_ns: Ints, end_ns: Ints, figures: list[Floats]
) -> Iterator[tuple[tuple[int, int], Ints, Ints, Floats]]:
    for number in distinct(process).tolist():
        mine = process == number
        for which, work in enumerate(figures):
            rows = np.flatnonzero(mine & (work > 0))
            if len(rows):
                yield (number, which), start_ns[rows], end_ns[rows], work[rows]


class _Bins:
    """Work spread evenly from start to end of each op, added up in bins.

    Args:
        first_ns: start of the first op.
        last_ns: end of the last one.
        bin_ns: length of a bin; None: see `rate_counters`.
    """

    def __init__(self, first_ns: int, last_ns: int, bin_ns: int | None) -> None:
        if bin_ns is None:
            bin_ns = max(MIN_BIN_NS, -(-(last_ns - first_ns) // (MAX_POINTS - 2)))
        self._first_ns, self._bin_ns = first_ns, bin_ns
        self._n = (last_ns - first_ns) // bin_ns + 1
        self._partial, self._filling, self._density = np.zeros((3, self._n))

    def add(self, start_ns: Ints, end_ns: Ints, work: Floats) -> None:
        """Take ops."""
        first = (start_ns - self._first_ns) // self._bin_ns
        last = (end_ns - self._first_ns) // self._bin_ns
        dur_ns = end_ns - start_ns
        whole = first == last
        self._partial += _at(first[whole], self._n, work[whole])
        first, last, work = first[~whole], last[~whole], work[~whole]
        density = work / dur_ns[~whole]
        head = (first + 1) * self._bin_ns - (start_ns[~whole] - self._first_ns)
        tail = (end_ns[~whole] - self._first_ns) - last * self._bin_ns
        self._partial += _at(first, self._n, density * head)
        self._partial += _at(last, self._n, density * tail)
        # Bins that an op fills wholly: it begins to count after its first and stops at its last.
        self._filling += _at(first + 1, self._n) - _at(last, self._n)
        self._density += _at(first + 1, self._n, density) - _at(last, self._n, density)

    def result(self) -> tuple[Ints, Floats]:
        """Return the times of the bins and the work per ns in each."""
        rate = np.maximum(np.cumsum(self._density), 0) * self._bin_ns
        filled = np.cumsum(self._filling) > 0  # no rounding where nothing ran
        total = self._partial + np.where(filled, rate, 0)
        t_ns = self._first_ns + self._bin_ns * np.arange(self._n + 1, dtype="i8")
        return t_ns, np.append(total / self._bin_ns, 0.0)


def _at(bins: Ints, n_bins: int, weights: Floats | None = None) -> Floats:
    return np.bincount(bins, weights, n_bins)[:n_bins].astype("f8")
