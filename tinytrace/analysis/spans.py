"""Arithmetic on the columns of spans: self time, leaves, trees. Exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import first_rows, group_ids
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column, Spans
from tinytrace.tracer.trees import around, nearest_kept, outermost

# NumPy computes with a plain number in the type of a column, and with a member of an enumeration, which has a
# ``value``, in 64 bits: ten times as long. It matters where a run that ends waits for it.

# What a span is, apart from when it was and what it lay in.
KEY = ("name_id", "kind", "flags", "thread", "signature_id", "callsite_id", "args_id")
FEW = 1 << 16  # numbers of 16 bits are sorted in linear time, and take less memory to read


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
    return spans.derived("self_ns", lambda: _self_ns(spans))


def _self_ns(spans: Spans) -> NDArray[np.int64]:
    rest = spans.dur_ns.astype("i8")
    inside = (spans.parent >= 0) & (spans.flags & Flag.DETACHED.value == 0)
    np.subtract.at(rest, spans.parent[inside].astype("i8"), spans.dur_ns[inside])
    np.maximum(rest, 0, out=rest)
    rest.flags.writeable = False
    return np.asarray(rest, "i8")


def leaf_ops(spans: Spans) -> NDArray[np.bool_]:
    """Return per span whether it is an op in which no op ran: only those carry FLOPs and bytes."""
    return spans.derived("leaf_ops", lambda: _leaf_ops(spans))


def _leaf_ops(spans: Spans) -> NDArray[np.bool_]:
    is_op = spans.kind == Kind.OP.value
    leaf = is_op & ~around(is_op, spans.parent)
    leaf.flags.writeable = False
    return np.asarray(leaf, "?")


class SpanKeys(NamedTuple):
    """Spans numbered by what they are.

    Attributes:
        of: per span the number of its key: 16 bits where there are few.
        first: per key the first span that has it.
    """

    of: NDArray[np.int64] | NDArray[np.uint16]
    first: NDArray[np.int64]


def span_keys(spans: Spans) -> SpanKeys:
    """Number the spans by their `KEY`: those with the same agree in all but time, step and parent."""
    return spans.derived("keys", lambda: numbered_keys([getattr(spans, name) for name in KEY]))


def numbered_keys(columns: Sequence[Column]) -> SpanKeys:
    """Number the distinct rows of columns of integers, in order of their values."""
    of, count = group_ids(columns)
    first = first_rows(of, count)
    return SpanKeys(of.astype("u2") if count <= FEW else of, first)


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
    """Return per span the row of the outermost op that it lies in (itself, perhaps); −1: in none."""
    return outermost(spans.kind == Kind.OP, spans.parent)


def kept_parent(parent: Column, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the parents of the kept spans, as rows among the kept ones: `nearest_kept`, or −1."""
    new_row = np.append(np.cumsum(kept) - 1, -1)
    return np.asarray(new_row[nearest_kept(parent, kept)], "i8")
