"""The flame graph of a trace: time by call stack, from the samples, lines of one function taken together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.stack_times import LIBRARIES
from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Trace

Ints = NDArray[np.int64]
MOST_CALLS = 4000  # a screen of 2,000 pixels has room for a call of 0.05 %, in a few rows
NO_PARENT = -1


@dataclass(frozen=True, slots=True)
class FlameFunction:
    """A function, or the thread that it was called in.

    Attributes:
        name: its name, or that of the thread.
        file: its path; None: not known, or a thread.
        is_library: its file is one of Python's or of a package that was installed, not of the program.
    """

    name: str
    file: str | None
    is_library: bool


@dataclass(frozen=True, eq=False)
class FlameGraph:
    """Calls of functions, those that called them before those that were called; threads are the outermost.

    Attributes:
        functions: what was called.
        function: (n,) per call, which of them.
        parent: (n,) the call that it was called from; −1: a thread.
        self_ns: (n,) weight of the samples in the function itself.
        total_ns: (n,) and in all that it called, also what is left out here.
        whole_ns: weight of all samples that have a stack; threads add up.
        unknown_ns: weight of the samples without a stack, which are in no call.
        left_out: how many calls were too short to be among these.
    """

    functions: tuple[FlameFunction, ...]
    function: Ints
    parent: Ints
    self_ns: Ints
    total_ns: Ints
    whole_ns: int
    unknown_ns: int
    left_out: int

    def __len__(self) -> int:
        return len(self.function)


def flame_graph(trace: Trace, most: int = MOST_CALLS) -> FlameGraph:
    """Return the time by call stack.

    Args:
        trace: any trace.
        most: how many calls at most, those that took longest; what is called from one that is left out is left
            out as well.

    Example:
        >>> len(flame_graph(Trace()))
        0
    """
    samples, frames = trace.samples, trace.frames
    has_stack = samples.stack_id >= 0
    weight_ns = samples.weight_ns[has_stack]
    known, which = np.unique(samples.thread[has_stack], return_inverse=True)
    of_frame, n_functions = group_ids([frames.name_id, frames.file_id])
    calls = _Calls(trace, of_frame)
    merged = [
        calls.of(
            samples.stack_id[has_stack][which == row], weight_ns[which == row], n_functions + row
        )
        for row in range(len(known))
    ]
    offsets = np.cumsum([0, *(len(one.function) for one in merged)])
    columns = {
        name: np.concatenate([np.empty(0, "i8"), *(getattr(one, name) for one in merged)])
        for name in ("function", "parent", "depth", "self_ns", "total_ns")
    }
    inside = columns["parent"] >= 0
    columns["parent"][inside] += np.repeat(offsets[:-1], np.diff(offsets))[inside]
    # No call takes longer than the one around it, so that among the longest its caller is there too.
    order = np.lexsort((columns["depth"], -columns["total_ns"]))
    kept = order[:most]
    new = np.full(len(order) + 1, NO_PARENT)
    new[kept] = np.arange(len(kept))
    functions = _functions(trace, of_frame, n_functions) + [
        FlameFunction(trace.strings[int(trace.threads.name_id[row])], None, False) for row in known
    ]
    return FlameGraph(
        functions=tuple(functions),
        function=columns["function"][kept],
        parent=new[columns["parent"][kept]],
        self_ns=columns["self_ns"][kept],
        total_ns=columns["total_ns"][kept],
        whole_ns=int(weight_ns.sum()),
        unknown_ns=int(samples.weight_ns[~has_stack].sum()),
        left_out=len(order) - len(kept),
    )


@dataclass(frozen=True, eq=False)
class _Merged:
    """Calls of one thread, callers before those that they call; the first is the thread itself."""

    function: Ints
    parent: Ints
    depth: Ints
    self_ns: Ints
    total_ns: Ints


class _Calls:
    """The stacks of a trace, one level of calls after the other."""

    def __init__(self, trace: Trace, of_frame: Ints) -> None:
        stacks = trace.stacks
        self._n = len(stacks)
        self._function = of_frame[stacks.frame_id]
        self._parent = stacks.parent.astype("i8")
        self._depth = _depths(self._parent)

    def of(self, stack_id: Ints, weight_ns: Ints, root: int) -> _Merged:
        """Merge the stacks of one thread, whose function is ``root``, by function."""
        own_ns = sums(stack_id.astype("i8"), self._n, weight_ns)
        taken = np.zeros(self._n, "?")
        rows = np.unique(stack_id).astype("i8")
        while len(rows):
            taken[rows] = True
            up = self._parent[rows]
            rows = np.unique(up[up >= 0])
            rows = rows[~taken[rows]]
        call = np.zeros(self._n + 1, "i8")  # the last row stands for "no parent": the thread
        function, parent, depth = [np.array([root])], [np.array([NO_PARENT])], [np.array([0])]
        made = 1
        for level in range(int(self._depth[taken].max(initial=-1)) + 1):
            rows = np.flatnonzero(taken & (self._depth == level))
            above = call[self._parent[rows]]
            ids, count = group_ids([above, self._function[rows]])
            call[rows] = made + ids
            first = first_rows(ids, count)
            function.append(self._function[rows][first])
            parent.append(above[first])
            depth.append(np.full(count, level + 1))
            made += count
        self_ns = sums(call[:-1][taken], made, own_ns[taken])
        parents, total_ns, depths = np.concatenate(parent), self_ns.copy(), np.concatenate(depth)
        for level in range(int(depths.max()), 0, -1):
            rows = np.flatnonzero(depths == level)
            np.add.at(total_ns, parents[rows], total_ns[rows])
        return _Merged(np.concatenate(function), parents, depths, self_ns, total_ns)


def _depths(parent: Ints) -> Ints:
    """Per stack, how many are around it."""
    depth = np.zeros(len(parent), "i8")
    rows, up = np.arange(len(parent)), parent
    while len(rows):
        inside = up >= 0
        rows, up = rows[inside], up[inside]
        depth[rows] += 1
        up = parent[up]
    return depth


def _functions(trace: Trace, of_frame: Ints, count: int) -> list[FlameFunction]:
    frames = trace.frames
    found = []
    for frame in first_rows(of_frame, count).tolist():
        name_id, file_id = int(frames.name_id[frame]), int(frames.file_id[frame])
        name = trace.strings[name_id] if name_id >= 0 else "?"
        file = trace.strings[file_id] if file_id >= 0 else None
        found.append(FlameFunction(name, file, file is not None and _is_library(file)))
    return found


def _is_library(file: str) -> bool:
    path = file.replace("\\", "/")
    return path.startswith("<frozen ") or any(part in path for part in LIBRARIES)
