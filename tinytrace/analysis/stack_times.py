"""Time per line and per function, from the samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.spans import first_rows, group_ids, sums
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]


class LineTime(NamedTuple):
    """Time of one line; see `tinytrace.analysis.summary.LineRow`."""

    frame_id: int
    self_ns: int
    on_cpu_percent: float | None
    function_ns: int


class StackTimes:
    """Sums of the weights of samples. Samples without a stack are in none.

    Attributes:
        n_lines: how many lines were the innermost one of a sample.
    """

    def __init__(self, trace: Trace) -> None:
        samples, self._stacks, frames = trace.samples, trace.stacks, trace.frames
        n = len(self._stacks)
        has_stack = samples.stack_id >= 0
        stack_id = samples.stack_id[has_stack].astype("i8")
        weight_ns = samples.weight_ns[has_stack]
        self._weight_ns = sums(stack_id, n, weight_ns)
        known = samples.cpu_ns[has_stack] >= 0
        ran = samples.on_cpu[has_stack]
        known_ns = sums(stack_id[known], n, weight_ns[known])
        ran_ns = sums(stack_id[ran], n, weight_ns[ran])
        self._function, _ = group_ids([frames.name_id, frames.file_id])
        seen = np.flatnonzero(np.bincount(stack_id, minlength=n))
        innermost = self._stacks.frame_id[seen]
        lines, self.n_lines = group_ids([self._function[innermost], frames.line[innermost]])
        self._frame_id = innermost[first_rows(lines, self.n_lines)]
        self._line_ns = sums(lines, self.n_lines, self._weight_ns[seen])
        self._known_ns = sums(lines, self.n_lines, known_ns[seen])
        self._ran_ns = sums(lines, self.n_lines, ran_ns[seen])

    def top_lines(self, top: int) -> list[LineTime]:
        """Return the lines with most time, most first."""
        if not self.n_lines:
            return []
        function_ns = self._function_ns()
        return [
            LineTime(
                frame_id=int(self._frame_id[i]),
                self_ns=int(self._line_ns[i]),
                on_cpu_percent=(
                    100 * int(self._ran_ns[i]) / int(self._known_ns[i])
                    if self._known_ns[i]
                    else None
                ),
                function_ns=int(function_ns[self._function[self._frame_id[i]]]),
            )
            for i in np.argsort(-self._line_ns, kind="stable")[:top].tolist()
        ]

    def _function_ns(self) -> Ints:
        """Per function the time in it and in all that it called; recursion counts once."""
        parent = self._stacks.parent.astype("i8")
        function = self._function[self._stacks.frame_id]
        whole_ns = np.zeros(int(self._function.max()) + 1, "i8")
        # From every stack with samples, one frame outwards at a time; a frame counts unless the
        # same function comes again further out.
        below_ns = self._below_ns(parent)
        repeated = np.zeros(len(parent), "?")
        rows, up = np.arange(len(parent)), parent
        while len(rows):
            inside = up >= 0
            rows, up = rows[inside], up[inside]
            repeated[rows] |= function[up] == function[rows]
            going_on = ~repeated[rows]
            rows, up = rows[going_on], parent[up[going_on]]
        np.add.at(whole_ns, function[~repeated], below_ns[~repeated])
        return whole_ns

    def _below_ns(self, parent: Ints) -> Ints:
        """Per stack the weight of its samples and of those of all stacks that it called."""
        below_ns: Ints = self._weight_ns.copy()
        depth = np.zeros(len(parent), "i8")
        rows, up = np.arange(len(parent)), parent
        while len(rows):
            inside = up >= 0
            rows, up = rows[inside], up[inside]
            depth[rows] += 1
            up = parent[up]
        order = np.argsort(depth, kind="stable")
        ends = np.cumsum(np.bincount(depth))
        for level in range(len(ends) - 1, 0, -1):
            rows = order[ends[level - 1] : ends[level]]
            np.add.at(below_ns, parent[rows], below_ns[rows])
        return below_ns
