"""Time per line and per function, from the samples."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.groups import first_rows, group_ids, sums
from tinytrace.tracer.trace import Trace
from tinytrace.tracer.trees import depths

Ints = NDArray[np.int64]


PACKAGE = "/tinytrace/"  # the folder that our own files are in
LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3")
IMPORTERS = ("<frozen importlib", "<frozen zipimport")


class Whose(IntEnum):
    """What a stack was doing, by its innermost frame that tells."""

    PROGRAM = 0  # the program's own code, and libraries that it called
    IMPORT = 1  # loading a module that is no file of the program
    TINYTRACE = 2


_LIBRARY = -1  # does whatever its caller does


class LineTime(NamedTuple):
    """Time of one line; see `tinytrace.analysis.summary.LineRow`."""

    frame_id: int
    self_ns: int
    on_cpu_percent: float | None
    function_ns: int


class StackTimes:
    """Sums of the weights of samples. Samples without a stack are in none.

    Lines are those of the program: samples that were taken while a module was being imported, or in
    tinytrace itself, are in ``import_ns`` and ``tinytrace_ns`` instead. A module of the program that is
    imported and does the work counts as the program.

    Attributes:
        n_lines: how many lines were the innermost one of a sample.
        import_ns: weight of samples in imports.
        tinytrace_ns: weight of samples in tinytrace.
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
        whose = whose_stacks(trace)
        self.import_ns = int(self._weight_ns[whose == Whose.IMPORT].sum())
        self.tinytrace_ns = int(self._weight_ns[whose == Whose.TINYTRACE].sum())
        mine = whose == Whose.PROGRAM
        seen = np.flatnonzero((np.bincount(stack_id, minlength=n) > 0) & mine)
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
        depth = depths(parent)
        order = np.argsort(depth, kind="stable")
        ends = np.cumsum(np.bincount(depth))
        for level in range(len(ends) - 1, 0, -1):
            rows = order[ends[level - 1] : ends[level]]
            np.add.at(below_ns, parent[rows], below_ns[rows])
        return below_ns


def whose_stacks(trace: Trace) -> Ints:
    """Return per stack a `Whose`. Frames of libraries tell nothing: what counts is who called them."""
    if not len(trace.stacks):
        return np.zeros(0, "i8")
    of_file = np.array([_of_file(file) for file in trace.strings] + [_LIBRARY], "i8")
    stacks = trace.stacks
    whose: Ints = of_file[trace.frames.file_id[stacks.frame_id]]
    up = stacks.parent.astype("i8")
    rows = np.flatnonzero((whose == _LIBRARY) & (up >= 0))
    while len(rows):
        above = up[rows]
        found, farther = whose[above], up[above]  # both read before either is written
        whose[rows] = found
        up[rows] = farther
        rows = rows[(found == _LIBRARY) & (farther >= 0)]
    whose[whose == _LIBRARY] = Whose.PROGRAM
    return whose


def calling_frames(trace: Trace) -> Ints:
    """Return per stack the innermost frame outside NumPy and tinytrace: where an op was called from, if one was.

    Call sites of ops are found by the same rule, so that samples and ops meet at the same lines. A stack that
    has no such frame has its innermost one.
    """
    if not len(trace.stacks):
        return np.zeros(0, "i8")
    inner = np.array([_is_inner(file) for file in trace.strings] + [False], "?")
    frame = trace.stacks.frame_id.astype("i8")
    passed = inner[trace.frames.file_id[frame]]
    up = trace.stacks.parent.astype("i8")
    rows = np.flatnonzero(passed & (up >= 0))
    while len(rows):
        above = up[rows]
        going_on = passed[above] & (up[above] >= 0)
        found = rows[~passed[above]]
        frame[found] = trace.stacks.frame_id[up[found]]
        up[rows] = np.where(going_on, up[above], up[rows])
        rows = rows[going_on]
    return frame


def library_files(trace: Trace) -> NDArray[np.bool_]:
    """Return per string, and one more for "not known", whether as a file it is one of a library."""
    files = [text.replace("\\", "/") for text in trace.strings]
    inside = [file.startswith("<") or any(part in file for part in LIBRARIES) for file in files]
    return np.array([*inside, False], "?")


def innermost_frames(trace: Trace, files: NDArray[np.bool_]) -> Ints:
    """Return per stack the innermost frame in one of these files; −1: none.

    Args:
        trace: any trace.
        files: per string and one more, as of `library_files`.
    """
    frame = trace.stacks.frame_id.astype("i8")
    parent = trace.stacks.parent.astype("i8")
    matches = files[trace.frames.file_id[frame]]
    found = np.full(len(parent), -1)
    rows = up = np.arange(len(parent))
    while len(rows):
        found[rows[matches[up]]] = frame[up[matches[up]]]
        rows, up = rows[~matches[up]], parent[up[~matches[up]]]
        rows, up = rows[up >= 0], up[up >= 0]
    return found


def program_frames(trace: Trace) -> Ints:
    """Return per stack the innermost frame of the program, else (of a library alone) outside NumPy.

    Example:
        >>> program_frames(Trace()).tolist()
        []
    """
    own = innermost_frames(trace, ~library_files(trace))
    return np.where(own >= 0, own, calling_frames(trace))


def _is_inner(path: str) -> bool:
    path = path.replace("\\", "/")
    return "/numpy/" in path or path.startswith("<__array_function__") or _is_own(path)


def _is_own(path: str) -> bool:
    return PACKAGE in path and path.rpartition(PACKAGE)[2].startswith(("tracer/", "cli/"))


def _of_file(path: str) -> int:
    path = path.replace("\\", "/")
    if path.startswith(IMPORTERS):
        return Whose.IMPORT
    if _is_own(path):
        return Whose.TINYTRACE
    is_library = path.startswith("<frozen ") or any(part in path for part in LIBRARIES)
    return _LIBRARY if is_library else Whose.PROGRAM
