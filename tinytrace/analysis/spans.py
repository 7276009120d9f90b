"""Arithmetic on the columns of spans: self time, leaves, trees, groups. Exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column, Spans

MAX_DENSE = 1 << 22  # distinct codes that are numbered through a table instead of a sort


def self_ns(spans: Spans) -> NDArray[np.int64]:
    """Return per span the ns that it did not spend in its child spans; int64, never negative.

    A detached child (a coroutine, a generator) does not run nested in its parent: its time stays
    with the parent. So do instants, which have no time.

    Example:
        >>> from tinytrace.tracer.trace import Spans
        >>> columns = {name: [0, 0] for name in Spans.DTYPES}
        >>> columns |= {"dur_ns": [10, 4], "parent": [-1, 0]}
        >>> self_ns(Spans(**columns)).tolist()
        [6, 4]
    """
    rest = spans.dur_ns.astype("i8")
    inside = (spans.parent >= 0) & (spans.flags & Flag.DETACHED == 0)
    np.subtract.at(rest, spans.parent[inside].astype("i8"), spans.dur_ns[inside])
    return np.asarray(np.maximum(rest, 0), "i8")


def leaf_ops(spans: Spans) -> NDArray[np.bool_]:
    """Return per span whether it is an op in which no op ran: only those carry FLOPs and bytes."""
    inside = np.zeros(len(spans), "?")
    rows = spans.parent[spans.kind == Kind.OP]
    inside[rows[rows >= 0]] = True  # the many of the first level are told apart without a sort
    rows = spans.parent[inside]
    while len(rows):
        rows = rows[rows >= 0]
        rows = distinct(rows[~inside[rows]])
        inside[rows] = True
        rows = spans.parent[rows]
    return np.asarray((spans.kind == Kind.OP) & ~inside, "?")


def inside(parent: Column, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return per span whether one of these rows lies above it. Each round looks twice as far up."""
    up = np.append(parent, -1).astype("i8")  # the last one is above the roots
    above = np.zeros(len(up), "?")
    above[rows] = True
    above = np.asarray(above[up], "?")
    for _ in range(len(parent).bit_length()):
        if (up < 0).all():
            break
        above |= above[up]
        up = up[up]
    return above[:-1]


def op_tree(spans: Spans) -> NDArray[np.int64]:
    """Return per span the row of the outermost op that it lies in (itself, perhaps); −1: in none.

    Each round looks twice as far up as the one before, so that deep nesting takes few rounds.
    """
    tree = np.where(spans.kind == Kind.OP, np.arange(len(spans)), -1)
    up = spans.parent.astype("i8")
    rows = np.flatnonzero(up >= 0)
    while len(rows):
        above = up[rows]
        found, farther = tree[above], up[above]  # both read before either is written
        tree[rows] = np.where(found >= 0, found, tree[rows])
        up[rows] = farther
        rows = rows[farther >= 0]
    return tree


def kept_parent(parent: Column, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the parents of the kept spans: the nearest one above that is kept, or −1.

    Args:
        parent: per span its parent's row, or −1; free of circles.
        kept: per span whether it stays.

    Returns:
        One entry per kept span, a row among the kept ones.
    """
    new_row = np.append(np.cumsum(kept) - 1, -1)
    up = parent[kept].astype("i8")
    lost = np.flatnonzero((up >= 0) & ~kept[up])
    while len(lost):
        up[lost] = parent[up[lost]]
        lost = lost[(up[lost] >= 0) & ~kept[up[lost]]]
    return np.asarray(new_row[up], "i8")


def group_ids(columns: Sequence[Column]) -> tuple[NDArray[np.int64], int]:
    """Number the distinct combinations of values.

    Args:
        columns: equally long integer columns, at least one.

    Returns:
        Per row the number of its group, and how many groups there are. Groups are numbered in order
        of their values, the first column first.
    """
    codes = np.zeros(len(columns[0]), "i8")
    count = 1
    if not len(codes):
        return codes, 0
    for column in columns:
        values = column.astype("i8") - int(column.min())
        width = int(values.max()) + 1
        if width == 1:
            continue
        if count * width >= 2**62:  # their product would not fit an integer
            values, width = _renumbered(values, width)
        codes, count = _renumbered(codes * width + values, count * width)
    return codes, count


def _renumbered(codes: NDArray[np.int64], bound: int) -> tuple[NDArray[np.int64], int]:
    """Codes below ``bound`` → codes without gaps, in the same order, and how many there are."""
    if bound > MAX_DENSE:
        first, index = numbered(codes)
        return index, len(first)
    present = np.zeros(bound, "?")
    present[codes] = True
    number = np.cumsum(present) - 1
    return number[codes], int(number[-1]) + 1


def distinct(values: Column) -> Column:
    """Return the distinct integers, in order. (`np.unique` imports all of `numpy.ma`: 50 ms.)

    >>> distinct(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    ordered = np.sort(values)
    return ordered[_begins(ordered)]


def numbered(codes: Column) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct values in their order: first row of each, and the number of each row.

    >>> [part.tolist() for part in numbered(np.array([7, 5, 7]))]
    [[1, 0], [1, 0, 1]]
    """
    order = np.argsort(codes, kind="stable")
    begins = _begins(codes[order])
    index = np.empty(len(codes), "i8")
    index[order] = np.cumsum(begins) - 1
    return order[begins], index


def _begins(ordered: Column) -> NDArray[np.bool_]:
    """Whether a value differs from the one before it."""
    begins = np.ones(len(ordered), "?")
    begins[1:] = ordered[1:] != ordered[:-1]
    return begins


def first_rows(ids: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return per group the first row that is in it."""
    first = np.empty(count, "i8")
    first[ids[::-1]] = np.arange(len(ids) - 1, -1, -1)
    return first


def sums(ids: NDArray[np.int64], count: int, values: Any) -> NDArray[np.int64]:
    """Return per group the sum of the values, in exact 64-bit integers."""
    total = np.zeros(count, "i8")
    np.add.at(total, ids, np.asarray(values, "i8"))
    return total
