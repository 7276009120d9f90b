"""Spans as a sequence of openings and closings, for formats that know nothing but calls that nest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis import chrome_lines
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Spans, Trace
from tinytrace.tracer.trees import depth_and_last


@dataclass(frozen=True, eq=False)
class SpanEvents:
    """The spans of a thread that nest, two events each, in order.

    Attributes:
        thread: row of ``Trace.threads``.
        row: per event its span, a row of ``Trace.spans``.
        opens: per event whether the span begins.
        at_ns: per event when.
        left_out: spans that are not here: instants, spans that do not nest, spans that were added up.
    """

    thread: int
    row: NDArray[np.int64]
    opens: NDArray[np.bool_]
    at_ns: NDArray[np.int64]
    left_out: int


def span_events(trace: Trace) -> Iterator[SpanEvents]:
    """Yield the events of each thread that has any."""
    bounds = np.searchsorted(trace.spans.thread, np.arange(len(trace.threads) + 1)).tolist()
    folded = trace.aggregates
    for thread, (first, end) in enumerate(pairwise(bounds)):
        spans: Spans = trace.spans.take(slice(first, end))
        apart = (spans.kind == Kind.INSTANT) | (spans.flags & Flag.DETACHED != 0)
        parent, fits = chrome_lines.nest(
            spans.thread, spans.start_ns, spans.dur_ns, apart.astype("u1")
        )
        rows = np.flatnonzero(fits)
        if not len(rows):
            continue
        number = np.append(np.cumsum(fits) - 1, -1)  # a parent fits too
        opened, closed = _positions(number[parent[rows]])
        row = np.empty(2 * len(rows), "i8")
        row[opened] = row[closed] = rows + first
        opens = np.zeros(len(row), "?")
        opens[opened] = True
        at_ns = np.empty(len(row), "i8")
        at_ns[opened] = spans.start_ns[rows]
        at_ns[closed] = spans.start_ns[rows] + spans.dur_ns[rows]
        folded_here = int(folded.count[folded.thread == thread].sum())
        yield SpanEvents(thread, row, opens, at_ns, end - first - len(rows) + folded_here)


def _positions(parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when spans open and close, as positions in the sequence of all events: see `depth_and_last`."""
    depth, last = depth_and_last(parent)
    return 2 * np.arange(len(parent)) - depth, 2 * last + 1 - depth
