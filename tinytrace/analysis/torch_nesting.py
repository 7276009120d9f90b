"""Spans of a recording and of torch's profiler in one table: which lies in which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.nesting import nest
from tinytrace.tracer.records import Flag
from tinytrace.tracer.step_numbers import step_numbers
from tinytrace.tracer.trace import Column, Spans, Trace

Ints = NDArray[np.int64]
# Spans of the two clocks may stick out of each other by as much: what the clocks differ by.
TOLERANCE_NS = 1000


def joined_spans(
    base: Trace, pieces: Sequence[dict[str, Column]], threads: Sequence[tuple[int, int]]
) -> tuple[Spans, Ints]:
    """Return all spans, sorted and nested, and where each went.

    Threads of the recording that no piece has a span of are left as they are.

    Args:
        base: the recording.
        pieces: columns of further spans; their parents are found anew.
        threads: process and number of each thread.

    Returns:
        the spans; and per span of the base, then of the pieces, its row.
    """
    columns = {
        name: np.concatenate([getattr(base.spans, name), *(piece[name] for piece in pieces)])
        for name in Spans.DTYPES
    }
    n = len(columns["thread"])
    touched = np.isin(columns["thread"], columns["thread"][len(base.spans) :])
    mine, others = np.flatnonzero(touched), np.flatnonzero(~touched)
    start = columns["start_ns"][mine]
    nesting = nest(
        columns["thread"][mine].astype(np.int64), start, start + columns["dur_ns"][mine],
        columns["flags"][mine] & np.uint8(Flag.DETACHED) != 0, TOLERANCE_NS,
    )  # fmt: skip
    inner = mine[nesting.order]
    columns["dur_ns"][inner] = nesting.end_ns - columns["start_ns"][inner]
    columns["flags"][inner] |= np.where(nesting.detached, np.uint8(Flag.DETACHED), np.uint8(0))
    parent = np.asarray(columns["parent"], np.int64)
    parent[inner] = np.where(nesting.parent >= 0, inner[nesting.parent], -1)
    order = np.concatenate([others, inner])
    order = order[np.argsort(columns["thread"][order], kind="stable")]
    row_of = np.empty(n, np.int64)
    row_of[order] = np.arange(n)
    columns["parent"] = np.where(parent >= 0, row_of[parent], -1)
    spans: Spans = Spans(**columns).take(order)
    process = np.array([process for process, _ in threads], np.int64)
    numbered = Spans(**{**dict(spans.columns()), "step": step_numbers(spans, process)})
    return numbered, row_of
