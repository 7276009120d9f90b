"""Wall time by call path: what a flame graph draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import distinct, first_rows, group_ids, sums
from tinytrace.tracer.trace import Samples, Trace
from tinytrace.tracer.trees import depths

Ints = NDArray[np.int64]
Lines = tuple[tuple[tuple[int, int], ...], ...]  # per box: line number, ns


@dataclass(frozen=True, eq=False)
class FlameTree:
    """The stack samples of one thread, merged by function: a box per path of functions.

    All columns have one entry per box; callers come before what they called.

    Attributes:
        thread: row of ``Trace.threads``.
        samples: how many there are.
        total_ns: sum of their weights.
        no_stack_ns: that of samples whose stack is not known.
        frame_id: a row of ``Trace.frames`` with the function of the box; which of its lines, is not said.
        parent: the box that called it; −1: none did.
        depth: how many are above it.
        total_ns_of: time in it and in all that it called.
        self_ns_of: time in it alone.
        lines: per box its lines, each with the time in it and in what it called, most first.
        own_lines: likewise with the time in the line alone; lines without any are not there.
    """

    thread: int
    samples: int
    total_ns: int
    no_stack_ns: int
    frame_id: Ints
    parent: Ints
    depth: Ints
    total_ns_of: Ints
    self_ns_of: Ints
    lines: Lines
    own_lines: Lines

    def __len__(self) -> int:
        return len(self.frame_id)


def flame_trees(trace: Trace, min_share: float = 0.0) -> tuple[FlameTree, ...]:
    """Merge the stack samples of each thread that has any.

    Samples are weighted: a box is as wide as the wall time that its samples stand for, and not as their number.

    Args:
        trace: whose samples.
        min_share: boxes with less of the time of all threads are left out, with all that they called.

    Example:
        >>> flame_trees(Trace())
        ()
    """
    function, _ = group_ids([trace.frames.name_id, trace.frames.file_id])
    least_ns = min_share * float(trace.samples.weight_ns.sum())
    whole = _Whole(trace, function, _levels(depths(trace.stacks.parent)), least_ns)
    threads = distinct(trace.samples.thread).tolist()
    bounds = [np.searchsorted(trace.samples.thread, [t, t + 1]).tolist() for t in threads]
    return tuple(
        _tree(whole, thread, trace.samples.take(slice(first, end)))
        for thread, (first, end) in zip(threads, bounds, strict=True)
    )


class _Whole(NamedTuple):
    """What holds for all threads: per frame its function, stacks by depth, the least time of a box."""

    trace: Trace
    function: Ints
    levels: list[Ints]
    least_ns: float


def _tree(whole: _Whole, thread: int, samples: Samples) -> FlameTree:
    stacks = whole.trace.stacks
    known = samples.take(samples.stack_id >= 0)
    own_ns = sums(known.stack_id.astype("i8"), len(stacks), known.weight_ns)
    below_ns = own_ns.copy()
    seen = np.zeros(len(stacks), "?")
    seen[known.stack_id] = True
    for rows in reversed(whole.levels[1:]):
        np.add.at(below_ns, stacks.parent[rows], below_ns[rows])
        seen[stacks.parent[rows[seen[rows]]]] = True
    box_of, frame_id, parent = _boxes(whole, seen, below_ns)
    rows = np.flatnonzero(box_of >= 0)
    boxes, count = box_of[rows], len(parent)
    return FlameTree(
        thread=thread,
        samples=len(samples),
        total_ns=int(samples.weight_ns.sum()),
        no_stack_ns=int(samples.weight_ns[samples.stack_id < 0].sum()),
        frame_id=frame_id,
        parent=parent,
        depth=depths(parent),
        total_ns_of=sums(boxes, count, below_ns[rows]),
        self_ns_of=sums(boxes, count, own_ns[rows]),
        lines=_lines(whole.trace, rows, boxes, below_ns, count),
        own_lines=_lines(
            whole.trace, rows[own_ns[rows] > 0], boxes[own_ns[rows] > 0], own_ns, count
        ),
    )


def _boxes(whole: _Whole, seen: NDArray[np.bool_], below_ns: Ints) -> tuple[Ints, Ints, Ints]:
    """Per stack its box (−1: none); per box a frame and its caller's box. Level by level, outermost first."""
    stacks = whole.trace.stacks
    box_of = np.full(len(stacks) + 1, -1, "i8")  # stack −1 finds the last one
    frames, parents = [np.zeros(0, "i8")], [np.zeros(0, "i8")]
    count = 0
    for level, rows in enumerate(whole.levels):
        kept = rows[seen[rows]]
        if not len(kept):
            break
        frame_id, parent = stacks.frame_id[kept].astype("i8"), box_of[stacks.parent[kept]]
        ids, n = group_ids([parent, whole.function[frame_id]])
        first = first_rows(ids, n)
        wide = sums(ids, n, below_ns[kept]) >= whole.least_ns
        if level:  # what is in a box that is left out is left out
            wide &= parent[first] >= 0
        box_of[kept] = np.where(wide, count + np.cumsum(wide) - 1, -1)[ids]
        frames.append(frame_id[first[wide]])
        parents.append(parent[first[wide]])
        count += int(wide.sum())
    return box_of[:-1], np.concatenate(frames), np.concatenate(parents)


def _levels(depth: Ints) -> list[Ints]:
    """Rows by depth."""
    order = np.argsort(depth, kind="stable")
    return np.split(order, np.cumsum(np.bincount(depth))[:-1]) if len(depth) else []


def _lines(trace: Trace, rows: Ints, of_row: Ints, stack_ns: Ints, count: int) -> Lines:
    """Lines of each box with their times, most first."""
    line = trace.frames.line[trace.stacks.frame_id[rows]]
    ids, n = group_ids([of_row, line]) if len(rows) else (np.zeros(0, "i8"), 0)
    first = first_rows(ids, n)
    time_ns = sums(ids, n, stack_ns[rows])
    box, line = of_row[first], line[first]
    found: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for row in np.lexsort((line, -time_ns, box)).tolist():
        found[int(box[row])].append((int(line[row]), int(time_ns[row])))
    return tuple(tuple(lines) for lines in found)
