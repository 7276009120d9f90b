"""The calls of all threads that took longest: as much of a flame graph as a screen can show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.flame_tree import FlameTree, flame_trees
from tinytrace.analysis.stack_times import LIBRARIES
from tinytrace.tracer.groups import group_ids
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
    """Return the time by call stack, all threads together.

    Args:
        trace: any trace.
        most: how many calls at most, those that took longest; what is called from one that is left out is left
            out as well.

    Example:
        >>> len(flame_graph(Trace()))
        0
    """
    trees = [tree for tree in flame_trees(trace) if len(tree)]
    of_frame, n_functions = group_ids([trace.frames.name_id, trace.frames.file_id])
    columns = zip(*_joined(trees, of_frame, n_functions), strict=True)
    function, parent, depth, self_ns, total_ns = (np.concatenate(column) for column in columns)
    # No call takes longer than the one around it, so that among the longest its caller is there too.
    order = np.lexsort((depth, -total_ns))
    kept = order[:most]
    new = np.full(len(order) + 1, NO_PARENT)
    new[kept] = np.arange(len(kept))
    return FlameGraph(
        functions=_functions(trace, trees, of_frame, n_functions),
        function=function[kept],
        parent=new[parent[kept]],
        self_ns=self_ns[kept],
        total_ns=total_ns[kept],
        whole_ns=int(self_ns.sum()),
        unknown_ns=int(trace.samples.weight_ns[trace.samples.stack_id < 0].sum()),
        left_out=len(order) - len(kept),
    )


def _joined(trees: list[FlameTree], of_frame: Ints, n_functions: int) -> list[tuple[Ints, ...]]:
    """Per thread: function, caller, depth, self and total time of its calls, the thread itself first."""
    found: list[tuple[Ints, ...]] = [(np.empty(0, "i8"),) * 5]
    made = 0
    for row, tree in enumerate(trees):
        whole_ns = int(tree.self_ns_of.sum())
        found.append(
            (
                np.append(n_functions + row, of_frame[tree.frame_id]),
                np.append(NO_PARENT, tree.parent + made + 1),
                np.append(0, tree.depth + 1),
                np.append(0, tree.self_ns_of),
                np.append(whole_ns, tree.total_ns_of),
            )
        )
        made += len(tree) + 1
    return found


def _functions(
    trace: Trace, trees: list[FlameTree], of_frame: Ints, count: int
) -> tuple[FlameFunction, ...]:
    """The functions of frames, then the threads."""
    frames = trace.frames
    example = np.zeros(count, "i8")
    example[of_frame] = np.arange(len(of_frame))
    found = []
    for frame in example.tolist():
        name_id, file_id = int(frames.name_id[frame]), int(frames.file_id[frame])
        name = trace.strings[name_id] if name_id >= 0 else "?"
        file = trace.strings[file_id] if file_id >= 0 else None
        found.append(FlameFunction(name, file, file is not None and _is_library(file)))
    return (*found, *(FlameFunction(_thread(trace, tree.thread), None, False) for tree in trees))


def _thread(trace: Trace, row: int) -> str:
    """Its name; of several processes, the number of its own as well."""
    name = trace.strings[int(trace.threads.name_id[row])]
    process = int(trace.threads.process[row])
    if len(trace.processes) < 2 or process < 0:
        return name
    return f"{name} (process {trace.processes.pid[process]})"


def _is_library(file: str) -> bool:
    path = file.replace("\\", "/")
    return path.startswith("<frozen ") or any(part in path for part in LIBRARIES)
