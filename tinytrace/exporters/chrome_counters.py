"""Counters as `C` events: what was recorded, and the rates derived from the ops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.rates import rate_counters
from tinytrace.exporters.chrome_text import event, series_name
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.trace import Column, Trace

EVENTS_PER_PIECE = 10_000


def counter_events(trace: Trace, ids: Tracks, epoch_ns: int) -> Iterator[bytes]:
    """Yield the counters in pieces. A value that is not finite is left out: viewers hang on it."""
    counters, series = trace.counters, trace.series
    for number in range(len(series)):
        rows = counters.series_id == number
        name = series_name(
            trace.strings[series.name_id[number]], trace.strings[series.unit_id[number]]
        )
        pid = ids.pids[int(series.process[number])]
        yield from _lines(name, pid, counters.t_ns[rows] - epoch_ns, counters.value[rows])
    for rate in rate_counters(trace):
        name = series_name(rate.name, rate.unit)
        yield from _lines(name, ids.pids[rate.process], rate.t_ns - epoch_ns, rate.value)


def _lines(name: str, pid: int, t_ns: Column, values: Column) -> Iterator[bytes]:
    """Yield the events of one series."""
    rest = event(cat="counter", name=name, pid=pid)[1:].decode()
    finite = np.isfinite(values)
    us, ns = (part.tolist() for part in np.divmod(t_ns[finite], 1000))
    rows = list(zip(us, ns, values[finite].tolist(), strict=True))
    for first in range(0, len(rows), EVENTS_PER_PIECE):
        yield "".join(
            f'{{"ph":"C","ts":{us}.{ns:03d},"args":{{"value":{value!r}}},{rest}'
            for us, ns, value in rows[first : first + EVENTS_PER_PIECE]
        ).encode()
