"""Stretches of time, joined: how much they cover, and what they leave open. Exact integers, vectorised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Covered:
    """The time that lies in at least one of some intervals.

    Args:
        start_ns: (n,) where they begin, in any order.
        end_ns: (n,) where they end, not before.

    Attributes:
        start_ns, end_ns: the same time as intervals that are apart, ascending, none empty.

    Example:
        >>> busy = Covered(np.array([5, 0, 3]), np.array([9, 4, 6]))
        >>> busy.start_ns.tolist(), busy.end_ns.tolist(), busy.total_ns
        ([0], [9], 9)
    """

    def __init__(self, start_ns: Ints, end_ns: Ints) -> None:
        order = np.argsort(start_ns, kind="stable")
        starts = np.asarray(start_ns[order], "i8")
        reach = np.maximum.accumulate(np.asarray(end_ns[order], "i8"))
        begins = np.ones(len(starts), "?")
        begins[1:] = starts[1:] > reach[:-1]
        last = np.append(np.flatnonzero(begins)[1:], len(starts)) - 1
        starts = starts[begins]
        ends = reach[last] if len(starts) else starts
        some = ends > starts
        self.start_ns, self.end_ns = starts[some], ends[some]
        length = self.end_ns - self.start_ns
        self._before_ns = np.cumsum(length) - length

    @property
    def total_ns(self) -> int:
        """All of it."""
        return int((self.end_ns - self.start_ns).sum())

    def before(self, t_ns: Ints) -> Ints:
        """Return per time how much of it lies before."""
        if not len(self.start_ns):
            return np.zeros(len(t_ns), "i8")
        at = np.searchsorted(self.start_ns, t_ns, "right") - 1
        inside = np.maximum(at, 0)
        length = np.minimum(t_ns, self.end_ns[inside]) - self.start_ns[inside]
        return np.where(at < 0, 0, self._before_ns[inside] + length)

    def within(self, start_ns: Ints, end_ns: Ints) -> Ints:
        """Return per interval how much of it lies inside.

        Example:
            >>> busy = Covered(np.array([0, 8]), np.array([4, 9]))
            >>> busy.within(np.array([2, 4]), np.array([9, 8])).tolist()
            [3, 0]
        """
        return np.asarray(self.before(end_ns) - self.before(start_ns), "i8")
