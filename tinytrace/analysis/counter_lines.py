"""Counters of memory over time, as few points as a picture can show, none of the extremes lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SeriesName = Literal["rss_mb", "array_mb", "array_peak_mb"]
MOST_STRETCHES = 500  # two points each: a picture is about 1,000 pixels wide


@dataclass(frozen=True, eq=False)
class CounterLine:
    """One counter of one process.

    Attributes:
        process: row of ``Trace.processes``.
        pid: its number.
        name: ``rss_mb`` (resident memory), ``array_mb`` (live NumPy arrays), ``array_peak_mb`` (the most of them
            since the reading before).
        t_ns: (n,) when, since the beginning of the trace.
        mb: (n,) 10⁶ bytes.
        n_readings: how many there were; if more than n, of each stretch of time the least and the greatest are here.
    """

    process: int
    pid: int
    name: SeriesName
    t_ns: Ints
    mb: Floats
    n_readings: int


def memory_lines(trace: Trace, most: int = MOST_STRETCHES) -> tuple[CounterLine, ...]:
    """Return the counters of memory, by process; what is no number is left out.

    Args:
        trace: any trace.
        most: stretches of time, of each of which the least and the greatest value are kept.

    Example:
        >>> memory_lines(Trace())
        ()
    """
    counters, series, start_ns = trace.counters, trace.series, trace.start_ns
    found = []
    for number, (name_id, process) in enumerate(
        zip(series.name_id.tolist(), series.process.tolist(), strict=True)
    ):
        name = trace.strings[name_id]
        mine = (counters.series_id == number) & np.isfinite(counters.value)
        if name not in get_args(SeriesName) or not mine.any():
            continue
        t_ns, value = counters.t_ns[mine] - start_ns, counters.value[mine]
        kept = extremes(t_ns, value, most)
        pid = int(trace.processes.pid[process])
        found.append(CounterLine(process, pid, name, t_ns[kept], value[kept], len(t_ns)))
    return tuple(
        sorted(found, key=lambda line: (line.process, get_args(SeriesName).index(line.name)))
    )


def extremes(x: Ints, y: Floats, most: int) -> Ints:
    """Return the rows of the least and the greatest y in each of ``most`` equal stretches of x, in order of x.

    All rows, where there are no more than two for each.

    Args:
        x: (n,) ascending.
        y: (n,) finite.
        most: stretches.

    Example:
        >>> extremes(np.arange(6), np.array([0.0, 5, 1, 2, -1, 3]), 2).tolist()
        [0, 1, 4, 5]
    """
    if len(x) <= 2 * most:
        return np.arange(len(x))
    width = (int(x[-1]) - int(x[0])) / most or 1.0
    stretch = np.minimum(((x - x[0]) / width).astype("i8"), most - 1)
    order = np.lexsort((y, stretch))
    first = np.flatnonzero(np.diff(stretch[order], prepend=-1))
    last = np.append(first[1:], len(order)) - 1
    return np.unique(np.concatenate([order[first], order[last]]))
