"""Rates over time, derived from the ops: GFLOP/s and GB/s per process."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import UNCOUNTED, Figure, count_trace
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.trace import Column, Trace

MAX_POINTS = 2_000  # finer than a screen is wide
MIN_BIN_NS = 1_000_000
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
    process, start_ns, end_ns, flops, bytes_moved = _work(trace)
    there = _present(trace)
    found = []
    numbers = distinct(trace.threads.process).tolist()
    for number in numbers:
        mine = process == number if len(numbers) > 1 else np.True_
        for name, unit, work in (("gflops", "GFLOP/s", flops), ("gbps", "GB/s", bytes_moved)):
            rows = mine & (work > 0)
            if rows.any() and (number, name, unit) not in there:
                some: Any = slice(None) if rows.all() else rows  # a slice copies nothing
                t_ns, value = _binned(start_ns[some], end_ns[some], work[some], bin_ns)
                found.append(RateCounter(number, name, unit, t_ns, value))
    return found


def _present(trace: Trace) -> set[tuple[int, str, str]]:
    series = trace.series
    return {
        (int(p), trace.strings[n], trace.strings[u])
        for p, n, u in zip(series.process, series.name_id, series.unit_id, strict=True)
    }


def _work(trace: Trace) -> tuple[Ints, Ints, Ints, Floats, Floats]:
    """Process, start, end, FLOPs and bytes of each piece of work; negative: uncounted."""
    spans, folded = trace.spans, trace.aggregates
    counts = count_trace(trace)
    figures: list[Floats] = []
    names: tuple[Figure, Figure] = ("flops", "bytes")
    for name in names:
        of_folded = [UNCOUNTED if work is None else work for work in counts.per_aggregate(name)]
        each = counts.per_span(name).astype("f8")
        figures.append(_joined(each, np.array(of_folded, "f8")))
    start_ns = _joined(spans.start_ns, folded.start_ns)
    end_ns = _joined(spans.start_ns + spans.dur_ns, folded.end_ns)
    process = trace.threads.process[_joined(spans.thread, folded.thread)]
    return process, start_ns, end_ns, figures[0], figures[1]


def _joined(of_spans: Column, of_folded: Column) -> Column:
    return np.concatenate([of_spans, of_folded]) if len(of_folded) else of_spans


def _binned(start_ns: Ints, end_ns: Ints, work: Floats, bin_ns: int | None) -> tuple[Ints, Floats]:
    """Spread work evenly from start to end; returns times of the bins and work per ns in each."""
    first_ns, last_ns = int(start_ns.min()), int(end_ns.max())
    if bin_ns is None:
        bin_ns = max(MIN_BIN_NS, -(-(last_ns - first_ns) // (MAX_POINTS - 2)))
    n_bins = (last_ns - first_ns) // bin_ns + 1
    first = (start_ns - first_ns) // bin_ns
    last = (end_ns - first_ns) // bin_ns
    split = np.flatnonzero(first != last)
    in_one = work.copy()
    in_one[split] = 0.0
    total = _at(first, n_bins, in_one)
    first, last, start_ns, end_ns = first[split], last[split], start_ns[split], end_ns[split]
    density = work[split] / (end_ns - start_ns)
    head = (first + 1) * bin_ns - (start_ns - first_ns)
    tail = (end_ns - first_ns) - last * bin_ns
    total += _at(first, n_bins, density * head)
    total += _at(last, n_bins, density * tail)
    # Bins that a piece of work fills wholly: it begins to count after its first and stops at its
    # last.
    filling = np.cumsum(_at(first + 1, n_bins) - _at(last, n_bins))
    rate = np.cumsum(_at(first + 1, n_bins, density) - _at(last, n_bins, density))
    total += np.where(filling > 0, np.maximum(rate, 0) * bin_ns, 0)  # no rounding where nothing ran
    t_ns = first_ns + bin_ns * np.arange(n_bins + 1, dtype="i8")
    return t_ns, np.append(total / bin_ns, 0.0)


def _at(bins: Ints, n_bins: int, weights: Floats | None = None) -> Floats:
    return np.bincount(bins, weights, n_bins)[:n_bins].astype("f8")
