"""What follows from the parents of spans. A parent is a row of the same columns and comes before its children."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import distinct
from tinytrace.tracer.records import Flag
from tinytrace.tracer.trace import Column


def parents(steps_up: Column, position: Column, start_ns: Column) -> NDArray[np.int64]:
    """Return the rows of the parents of a thread's spans; −1: none that can be.

    Args:
        steps_up: how many slots the parent is before the span; 0: none.
        position: of the span among the slots, ascending.
        start_ns: of the span; its parent has not begun later.
    """
    parent = np.full(len(position), -1)
    rows = np.flatnonzero(steps_up)
    up = position[rows] - steps_up[rows]
    if len(rows) and position[-1] - position[0] == len(position) - 1:  # none is missing
        above = np.maximum(up - position[0], 0)
    else:
        above = np.minimum(np.searchsorted(position, up), len(position) - 1)
    found = (position[above] == up) & (start_ns[above] <= start_ns[rows])
    parent[rows[found]] = above[found]
    return parent


def nest(end: Column, parent: Column, flags: Column) -> None:
    """Detach spans that outlive their parent, in place. A detached span has no children.

    What its thread did meanwhile may have been done by others (a coroutine, a generator).
    """
    up = parent.copy()
    while True:
        loose = (flags & np.uint8(Flag.DETACHED)) != 0
        if loose.any():
            parent[loose] = -1
            while (inner := (parent >= 0) & loose[parent]).any():
                parent[inner] = up[parent[inner]]
        late = np.flatnonzero(parent >= 0)
        late = late[end[late] > end[parent[late]]]
        if not len(late):
            return
        flags[late] |= np.uint8(Flag.DETACHED)


def inherited(own: Column, parent: Column) -> Column:
    """Return the number of the nearest span upwards that has one; each round looks twice as far up."""
    number = np.append(own, -1)  # the last one is above the roots
    up = np.append(parent, -1).astype(np.int64)
    for _ in range(len(parent).bit_length()):
        if (up < 0).all():
            break
        number = np.where(number >= 0, number, number[up])
        up = up[up]
    return number[:-1]


def depths(parent: Column) -> NDArray[np.int64]:
    """Return per row how many rows are above it; each round looks twice as far up.

    >>> depths(np.array([-1, 0, 1, -1])).tolist()
    [0, 1, 2, 0]
    """
    up = np.append(parent, -1).astype("i8")  # the last one is above the roots
    depth = (up >= 0).astype("i8")
    while (up >= 0).any():
        depth += depth[up]
        up = up[up]
    return np.asarray(depth[:-1], "i8")


def outermost(of: Column, parent: Column) -> NDArray[np.int64]:
    """Return per span the outermost one among those of a kind that it lies in (itself, perhaps); −1: in none.

    Each round looks twice as far up as the one before, so that deep nesting takes few rounds.

    Args:
        of: bool per span: whether it is of the kind.
        parent: per span its parent's row, or −1.
    """
    tree = np.where(of, np.arange(len(of)), -1)
    up = parent.astype("i8")
    rows = np.flatnonzero(up >= 0)
    while len(rows):
        above = up[rows]
        found, farther = tree[above], up[above]  # both read before either is written
        tree[rows] = np.where(found >= 0, found, tree[rows])
        up[rows] = farther
        rows = rows[farther >= 0]
    return tree


def around(of: Column, parent: Column) -> NDArray[np.bool_]:
    """Return per span whether one of a kind lies in it, at any depth."""
    inside = np.zeros(len(of), "?")
    rows = parent[of]
    inside[rows[rows >= 0]] = True  # the many of the first level are told apart without a sort
    rows = parent[inside]
    while len(rows):
        rows = rows[rows >= 0]
        rows = distinct(rows[~inside[rows]])
        inside[rows] = True
        rows = parent[rows]
    return inside


def nearest_kept(parent: Column, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return per kept span the row of the nearest one above it that is kept, or −1.

    Args:
        parent: per span its parent's row, or −1; free of circles.
        kept: per span whether it stays.

    Returns:
        One entry per kept span, a row of all spans.
    """
    up = parent[kept].astype("i8")
    lost = np.flatnonzero((up >= 0) & ~kept[up])
    while len(lost):
        up[lost] = parent[up[lost]]
        lost = lost[(up[lost] >= 0) & ~kept[up[lost]]]
    return np.asarray(up, "i8")


def depth_and_last(parent: Column) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return per span how many spans lie around it, and the last one that lies in it (or itself).

    With them the order of all events is known. Before span r opens, r spans have opened, and all of these but
    those around it have closed: it is event 2r − depth. Its last descendant being ``last``, last + 1 have opened
    before it closes, and all but itself and those around it have closed: it is event 2·last + 1 − depth.

    Args:
        parent: before its children, which follow it together; −1: none.

    Example:
        >>> [part.tolist() for part in depth_and_last(np.array([-1, 0, 0, -1]))]
        [[0, 1, 1, 0], [2, 1, 2, 3]]
    """
    depth = depths(parent)
    last = np.arange(len(parent))
    by_depth = np.argsort(depth, kind="stable")
    ends = np.cumsum(np.bincount(depth))
    for level in range(len(ends) - 1, 0, -1):
        rows = by_depth[ends[level - 1] : ends[level]]
        np.maximum.at(last, parent[rows], last[rows])
    return depth, last
