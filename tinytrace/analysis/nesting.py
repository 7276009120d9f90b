"""Which span lies in which: from times alone, as foreign traces give nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Nesting:
    """Spans in their order, and how they nest.

    Attributes:
        order: rows of the input by thread, then start, then longest first.
        end_ns: in that order; some cut by up to the tolerance so that all nest.
        parent: in that order: row of this order, or −1.
        detached: bool: overlaps a span of its thread without lying in it.
        clipped: how many ends were cut.
    """

    order: Int64
    end_ns: Int64
    parent: Int64
    detached: NDArray[np.bool_]
    clipped: int


def nest(
    thread: Int64, start_ns: Int64, end_ns: Int64, apart: NDArray[np.bool_], tolerance_ns: int
) -> Nesting:
    """Find the parents of spans by time.

    A span's parent is the innermost one of its thread that contains it. Ends that stick out, or
    reach into the next span, by no more than ``tolerance_ns`` (the resolution of the file) are
    cut. Of spans that overlap by more, the longer is kept and the shorter detached: it has no
    parent and is none.

    Args:
        thread: (n,) thread per span.
        start_ns: (n,) start per span.
        end_ns: (n,) end per span, not before its start.
        apart: (n,) spans that never nest (asynchronous ones): detached, whatever their times.
        tolerance_ns: at least 0.
    """
    order = np.lexsort((np.arange(len(thread)), -end_ns, start_ns, thread))
    threads, starts = thread[order].tolist(), start_ns[order].tolist()
    ends, aparts = end_ns[order].tolist(), apart[order].tolist()
    parent = [-1] * len(order)
    detached = [False] * len(order)
    clipped = 0
    stack: list[int] = []
    current = None
    for row, (this_thread, start, is_apart) in enumerate(zip(threads, starts, aparts, strict=True)):
        if this_thread != current:
            current = this_thread
            stack.clear()
        if is_apart:
            detached[row] = True
            continue
        end = ends[row]
        while stack:
            top = stack[-1]
            top_end = ends[top]
            if top_end <= start:
                stack.pop()
            elif end <= top_end:
                break
            elif top_end - start <= tolerance_ns:  # it only reaches into this one: a neighbour
                ends[top] = start
                clipped += 1
                stack.pop()
            elif end - top_end <= tolerance_ns:  # it only sticks out: a child
                ends[row] = top_end
                clipped += 1
                break
            elif end - start > _longest_overlapped(stack, starts, ends, end):
                detached[top] = True
                stack.pop()
            else:
                detached[row] = True
                break
        if stack:
            parent[row] = stack[-1]
        if not detached[row]:
            stack.append(row)
    loose = np.array(detached, bool)
    return Nesting(
        order, np.array(ends, np.int64), _without(np.array(parent, np.int64), loose), loose, clipped
    )


def _longest_overlapped(stack: list[int], starts: list[int], ends: list[int], end: int) -> int:
    """Return the duration of the outermost open span that ends before ``end``: the longest such."""
    longest = 0
    for row in reversed(stack):
        if ends[row] >= end:
            break
        longest = ends[row] - starts[row]
    return longest


def _without(parent: Int64, loose: NDArray[np.bool_]) -> Int64:
    """Hang children of detached spans from the next span that is not; detached ones from none."""
    parent = parent.copy()
    while True:
        wrong = (parent >= 0) & loose[parent]
        if not wrong.any():
            break
        parent[wrong] = parent[parent[wrong]]
    parent[loose] = -1
    return parent


def innermost_at(
    nesting: Nesting,
    candidates: NDArray[np.bool_],
    thread: Int64,
    start_ns: Int64,
    *,
    at: Int64,
    of: Int64,
) -> Int64:
    """Return per point in time the innermost span of a thread around it, or −1.

    Args:
        nesting: of the n spans; all (n,) columns here are in its order.
        candidates: (n,) spans that may be returned; parents of these may be, too.
        thread: (n,) of the spans.
        start_ns: (n,) of the spans.
        at: (m,) times in ns.
        of: (m,) threads.
    """
    rows = np.flatnonzero(candidates & ~nesting.detached)
    if not len(rows) or not len(at):
        return np.full(len(at), -1, np.int64)
    # Rows are sorted by (thread, start): count how many lie at or before each point.
    position = np.zeros(len(at), np.int64)
    first_of = np.zeros(len(at), np.int64)
    for t in np.unique(of):
        low, high = np.searchsorted(thread[rows], [t, t + 1])
        mine = of == t
        position[mine] = low + np.searchsorted(start_ns[rows[low:high]], at[mine], side="right") - 1
        first_of[mine] = low
    found = np.where(position >= first_of, rows[np.maximum(position, 0)], -1)
    while True:
        over = (found >= 0) & (nesting.end_ns[found] < at)
        if not over.any():
            return found
        found[over] = nesting.parent[found[over]]
