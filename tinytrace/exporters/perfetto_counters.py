"""Counters for Perfetto: what was recorded, and the rates derived from the ops; each with its unit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.rates import rate_counters
from tinytrace.exporters.perfetto_sequence import Numbering, Sequence
from tinytrace.exporters.perfetto_tracks import FileTracks
from tinytrace.exporters.perfetto_wire import (
    EventType,
    TracePacket,
    TrackEvent,
    doubles,
    field,
    fill,
    template,
    varint,
)
from tinytrace.tracer.trace import Column, Trace

VALUES_PER_PIECE = 50_000
DOUBLE_WIDTH = 8


def counter_packets(trace: Trace, numbering: Numbering, tracks: FileTracks) -> Iterator[bytes]:
    """Yield the counters in pieces. A value that is not finite is left out: viewers cannot draw it."""
    counters, series = trace.counters, trace.series
    sequence = Sequence(numbering)
    bounds = np.searchsorted(counters.series_id, np.arange(len(series) + 1)).tolist()
    for number, (first, end) in enumerate(itertools.pairwise(bounds)):
        name, unit = trace.strings[series.name_id[number]], trace.strings[series.unit_id[number]]
        uuid, description = tracks.counter(int(series.process[number]), name, unit)
        yield description + sequence.take()
        rows = slice(first, end)
        yield from _values(numbering, sequence, uuid, counters.t_ns[rows], counters.value[rows])
    for rate in rate_counters(trace):
        uuid, description = tracks.counter(rate.process, rate.name, rate.unit)
        yield description + sequence.take()
        yield from _values(numbering, sequence, uuid, rate.t_ns, rate.value)


def _values(
    numbering: Numbering, sequence: Sequence, uuid: int, t_ns: Column, values: Column
) -> Iterator[bytes]:
    """Yield the events of one series."""
    fields = field(TrackEvent.TYPE, EventType.COUNTER) + field(TrackEvent.TRACK_UUID, uuid)
    value = varint(TrackEvent.DOUBLE_COUNTER_VALUE << 3 | 1)
    one = template(
        numbering.time_width, sequence.head, TracePacket.TRACK_EVENT, fields,
        number=value, number_width=DOUBLE_WIDTH,
    )  # fmt: skip
    for first in range(0, len(t_ns), VALUES_PER_PIECE):
        rows = slice(first, first + VALUES_PER_PIECE)
        finite = np.flatnonzero(np.isfinite(values[rows]))
        index = np.zeros(len(finite), "i8")
        times = numbering.times(t_ns[rows][finite])
        yield fill([one], index, times, doubles(values[rows][finite]))
