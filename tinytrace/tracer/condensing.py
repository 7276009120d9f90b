"""Spans that are too many for memory: those of some stretches of time whole, exact sums of the rest.

The records of a thread come in parts, in order. What is carried from one part to the next are the spans that go on:
as many as the program's spans are deep. The sums are those that `tinytrace.analysis.budget.fit` would make of the
whole thread: of count, time, self time and leaves, exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column
from tinytrace.tracer.trees import around, inherited, nearest_kept, nest, outermost
from tinytrace.tracer.windows import Windows

KEY = ("what", "site", "kind", "outer")
# Like the sums in a store, but signed: a kept span whose children were summed up has less self time in the sums.
SUM_FIELDS = (
    "count", "ended", "leaves", "total_ns", "self_ns", "min_ns", "max_ns", "start_ns", "end_ns",
)  # fmt: skip
SIGNED_SUM_DTYPE = np.dtype([(n, "<u4") for n in KEY] + [(n, "<i8") for n in SUM_FIELDS])
MAX_ROWS = 400_000  # of sums, 88 bytes each; beyond, those of two neighbouring parts become one
NOT_ENDED = np.uint8(Flag.RAISED | Flag.OPEN)
NONE = -2  # position of the parent of a span that has none
GOES_ON_NS = 2**62  # the end of a span that has none
# The program's own spans around ops show what the ops belong to; steps are kept with what ran in them.
IS_OP = np.array([k in {Kind.OP, Kind.LABELLED_OP} for k in Kind])
IS_OWN = np.array([k not in {Kind.OP, Kind.LABELLED_OP, Kind.STEP, Kind.INSTANT} for k in Kind])
_ROW_DTYPE = np.dtype(
    [("position", "i8"), ("up", "i8"), ("start_ns", "i8"), ("dur_ns", "i8"), ("end_ns", "i8"),
     ("child_ns", "i8"), ("kept_child_ns", "i8"), ("what", "u4"), ("site", "u4"), ("outer", "u4"),
     ("kind", "u1"), ("flags", "u1"), ("kept", "?"), ("has_op", "?")]
)  # fmt: skip


class Condenser:
    """The spans of one thread on their way into a trace.

    Args:
        windows: spans that begin in them are kept; of an op with ops inside, all or none.
        keep_own: the program's own spans are kept wherever they are.
    """

    def __init__(self, windows: Windows, *, keep_own: bool) -> None:
        """Begin with nothing."""
        self._windows, self._keep_own = windows, keep_own
        self._open = _past()
        self._parts: list[Column] = []
        self._records: list[Column] = []
        self._positions: list[Column] = []

    def add(self, records: Column, position: Column) -> None:
        """Take the next records, whose positions in the thread ascend."""
        if not len(records):
            return
        carried = len(self._open)
        rows = np.concatenate([self._open, _rows(records, position)])
        parent = self._settle(rows)
        new = np.arange(len(rows)) >= carried
        rows["kept"] = self._kept(rows, parent, new)
        self._add_children(rows, parent, new)
        is_op = IS_OP[rows["kind"]]
        rows["has_op"] |= around(is_op, parent)
        rows["outer"] = _outer(rows, parent)
        self._keep(records, rows, parent, carried)
        is_over = rows["end_ns"] < rows["start_ns"][-1]
        is_over[0] = False
        self._sum_up(rows[is_over])
        self._open = rows[~is_over]

    def finish(self) -> tuple[Column, Column, Column]:
        """Return the kept records, their positions, and the sums of the others."""
        self._sum_up(self._open[1:])
        self._open = _past()
        empty = np.empty(0, SIGNED_SUM_DTYPE)
        return (
            np.concatenate(self._records),
            np.concatenate(self._positions),
            np.concatenate([empty, *self._parts]),
        )

    @staticmethod
    def _settle(rows: Column) -> Column:
        """Return the parents; mark the spans that are detached; note what each lies in for the parts to come."""
        position, up = rows["position"], rows["up"]
        at = np.minimum(np.searchsorted(position, up), len(rows) - 1)
        found = (position[at] == up) & (rows["start_ns"][at] <= rows["start_ns"])
        parent = np.where(found, at, np.where(up == NONE, -1, 0))
        above = parent.copy()
        nest(rows["end_ns"], parent, rows["flags"])
        loose = rows["flags"] & np.uint8(Flag.DETACHED) != 0
        while (inner := (above >= 0) & loose[above]).any():
            above[inner] = above[above[inner]]
        rows["up"] = np.where(above >= 0, position[above], NONE)
        return parent

    def _kept(self, rows: Column, parent: Column, new: Column) -> NDArray[np.bool_]:
        kept = np.array(rows["kept"])
        mine = self._windows.hold(rows["start_ns"]) | (rows["flags"] & Flag.OPEN != 0)
        if self._keep_own:
            mine |= IS_OWN[rows["kind"]]
        kept[new] = mine[new]
        tree = outermost(IS_OP[rows["kind"]], parent)
        in_tree = tree >= 0
        kept[in_tree] = kept[tree[in_tree]]
        return kept

    @staticmethod
    def _add_children(rows: Column, parent: Column, new: Column) -> None:
        """Add the times of new spans to the spans that they lie in, and to the nearest kept ones."""
        inside = new & (parent >= 0)
        np.add.at(rows["child_ns"], parent[inside], rows["dur_ns"][inside])
        kept_rows = np.flatnonzero(rows["kept"])
        above = nearest_kept(parent, rows["kept"])
        inside = new[kept_rows] & (above >= 0)
        np.add.at(rows["kept_child_ns"], above[inside], rows["dur_ns"][kept_rows[inside]])

    def _keep(self, records: Column, rows: Column, parent: Column, carried: int) -> None:
        """Take the kept ones over, each with the distance to the nearest kept one above."""
        kept = rows["kept"]
        position = rows["position"][kept]
        above = nearest_kept(parent, kept)
        distance = np.where(above >= 0, position - rows["position"][above], 0)
        distance[distance >= 2**32] = 0
        is_new = np.flatnonzero(kept) >= carried
        found = records[kept[carried:]]
        found["flags"] = rows["flags"][kept][is_new]
        found["parent"] = distance[is_new]
        self._records.append(found)
        self._positions.append(position[is_new])

    def _sum_up(self, rows: Column) -> None:
        """Add spans that no more children can come to."""
        if not len(rows):
            return
        lost = ~rows["kept"]
        length_ns = (
            rows["end_ns"] - rows["start_ns"]
        )  # of one that goes on: more than its children take
        self_ns = np.maximum(length_ns - rows["child_ns"], 0)
        kept_self_ns = np.maximum(length_ns - rows["kept_child_ns"], 0)
        part = np.empty(len(rows), SIGNED_SUM_DTYPE)
        for name in KEY:
            part[name] = rows[name]
        part["what"][rows["kind"] == Kind.STEP] = 0
        ended = lost & (rows["flags"] & NOT_ENDED == 0)
        part["count"] = lost
        part["ended"] = ended
        part["leaves"] = ended & ~rows["has_op"]
        part["total_ns"] = np.where(lost, rows["dur_ns"], 0)
        part["self_ns"] = np.where(lost, self_ns, self_ns - kept_self_ns)
        part["min_ns"] = part["max_ns"] = rows["dur_ns"]
        part["start_ns"], part["end_ns"] = rows["start_ns"], rows["start_ns"] + rows["dur_ns"]
        self._parts.append(_summed(part[lost | (part["self_ns"] != 0)]))
        if sum(map(len, self._parts)) > MAX_ROWS and len(self._parts) > 1:
            pairs = zip(self._parts[::2], [*self._parts[1::2], self._parts[0][:0]], strict=False)
            self._parts = [_summed(np.concatenate(pair)) for pair in pairs]


def _past() -> Column:
    """A span that was over before everything: it stands for parents that are no longer carried."""
    row = np.zeros(1, _ROW_DTYPE)
    row["position"], row["up"], row["end_ns"], row["kind"] = -1, NONE, -1, Kind.INSTANT
    return row


def _rows(records: Column, position: Column) -> Column:
    rows = np.zeros(len(records), _ROW_DTYPE)
    rows["position"] = position
    distance = records["parent"].astype("i8")
    rows["up"] = np.where(distance > 0, position - distance, NONE)
    is_open = records["flags"] & np.uint8(Flag.OPEN) != 0
    rows["start_ns"] = records["start_ns"]
    rows["dur_ns"] = np.where(is_open, 0, records["dur_ns"])
    rows["end_ns"] = np.where(is_open, GOES_ON_NS, rows["start_ns"] + rows["dur_ns"])
    for name in ("what", "site", "kind", "flags"):
        rows[name] = records[name]
    return rows


def _outer(rows: Column, parent: Column) -> NDArray[np.int64]:
    """Label of the nearest op with a label of its own above each span, if it ended normally; 0 for none."""
    labelled = (rows["kind"] == Kind.LABELLED_OP) & (rows["flags"] & NOT_ENDED == 0)
    if not labelled.any():
        return np.zeros(len(rows), "i8")
    own = np.where(labelled, rows["what"].astype("i8"), -1)
    label = np.append(inherited(own, parent), -1)[parent]
    return np.asarray(np.maximum(label, 0), "i8")


def _summed(rows: Column) -> Column:
    """One row per group."""
    ids, count = group_ids([rows[name] for name in KEY])
    found = np.empty(count, SIGNED_SUM_DTYPE)
    first = first_rows(ids, count)
    for name in KEY:
        found[name] = rows[name][first]
    for name in ("count", "ended", "leaves", "total_ns", "self_ns"):
        found[name] = sums(ids, count, rows[name])
    counted = rows["count"] > 0
    for name, extreme in (
        ("min_ns", np.minimum), ("max_ns", np.maximum),
        ("start_ns", np.minimum), ("end_ns", np.maximum),
    ):  # fmt: skip
        # Of the spans that are in the sums; of a group that has none, of those that its self time comes from.
        column = np.zeros(count, "i8")
        for which in (np.ones(len(rows), "?"), counted):
            worst = np.iinfo("i8").max if extreme is np.minimum else -1
            values = np.full(count, worst)
            extreme.at(values, ids[which], rows[name][which])
            column = np.where(values == worst, column, values)
        found[name] = column
    empty = found["count"] == 0
    for name in ("min_ns", "max_ns"):
        found[name][empty] = 0
    return found
