"""The flame chart: snapshots that follow one another in the same function become one slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tinytrace.exporters.chrome_text import UNKNOWN, callsite, shown
from tinytrace.tracer.trace import Samples, Trace

MAX_CACHED = 10_000  # stacks


@dataclass(slots=True)
class Slice:
    """A stretch of time in one function.

    Attributes:
        function: name and file, numbers of strings; −1: not known.
        start_ns: when it began.
        frame_id: the frame that it began in.
        first_line, last_line: between which lines it was seen.
        depth: how many slices lie around it.
    """

    function: tuple[int, int]
    start_ns: int
    frame_id: int
    first_line: int
    last_line: int
    depth: int


class Change(NamedTuple):
    """What is over and what begins at one time, outer slices first."""

    t_ns: int
    closed: list[Slice]
    opened: list[Slice]


def changes(trace: Trace, samples: Samples, epoch_ns: int) -> Iterator[Change]:
    """Yield the slices of a thread as they begin and end.

    Args:
        trace: whose samples.
        samples: those of the thread that have a stack.
        epoch_ns: when times begin to count.
    """
    chart = _Chart(trace)
    for start_ns, end_ns, stack_id in _runs(samples, epoch_ns):
        yield from chart.add(start_ns, end_ns, stack_id)
    yield chart.close(0)


def name_of(trace: Trace, one: Slice) -> str:
    """Return the name of a slice's function."""
    name_id, _ = one.function
    return shown(trace.strings[name_id]) if name_id >= 0 else UNKNOWN


def place_of(trace: Trace, one: Slice) -> str:
    """Return file and lines: ``train.py:7-9``."""
    place = callsite(trace.strings, trace.frames, one.frame_id, named=False)
    if one.last_line > one.first_line:
        place = f"{place.rpartition(':')[0]}:{one.first_line}-{one.last_line}"
    return place


class _Step(NamedTuple):
    """A frame of a stack: its function, its line, its row."""

    function: tuple[int, int]
    line: int
    frame_id: int


@dataclass
class _Chart:
    """Turns snapshots in order of time into slices."""

    trace: Trace
    open: list[Slice] = field(default_factory=list)
    path: list[_Step] = field(default_factory=list)  # of the snapshot before
    end_ns: int = 0
    paths: dict[int, list[_Step]] = field(default_factory=dict)

    def add(self, start_ns: int, end_ns: int, stack_id: int) -> Iterator[Change]:
        """Take the next snapshot: this stack, from start to end."""
        path = self._path(stack_id)
        same = 0
        if start_ns == self.end_ns:
            for old, step, before in zip(self.open, path, self.path):  # noqa: B905 - as far as all go
                if step is not before:  # else nothing has changed
                    if old.function != step.function:
                        break
                    old.first_line = min(old.first_line, step.line)
                    old.last_line = max(old.last_line, step.line)
                same += 1
        self.path = path
        yield self.close(same)
        opened = [
            Slice(function, start_ns, frame_id, line, line, depth)
            for depth, (function, line, frame_id) in enumerate(path[same:], same)
        ]
        self.open += opened
        yield Change(start_ns, [], opened)
        self.end_ns = end_ns

    def close(self, keep: int) -> Change:
        """End all slices but the outermost ``keep``."""
        closed = self.open[keep:]
        del self.open[keep:]
        return Change(self.end_ns, closed, [])

    def _path(self, stack_id: int) -> list[_Step]:
        """Frames of a stack, outermost first."""
        path = self.paths.get(stack_id)
        if path is None:
            if len(self.paths) > MAX_CACHED:
                self.paths.clear()
            inner, at = list[int](), stack_id
            while at >= 0 and at not in self.paths:
                inner.append(at)
                at = int(self.trace.stacks.parent[at])
            path = self.paths[at] if at >= 0 else []
            for at in reversed(inner):  # what has one caller has the very same steps of it
                path = self.paths[at] = [*path, self._step(int(self.trace.stacks.frame_id[at]))]
        return path

    def _step(self, row: int) -> _Step:
        frames = self.trace.frames
        function = int(frames.name_id[row]), int(frames.file_id[row])
        return _Step(function, int(frames.line[row]), row)


def _runs(samples: Samples, epoch_ns: int) -> Iterator[tuple[int, int, int]]:
    """Stretches of time in one stack: start, end, stack; snapshots without extent are left out.

    Where a sample's weight reaches back over the sample before it, it begins where that one ended.
    """
    end_ns = samples.t_ns - epoch_ns
    before_ns = np.concatenate([np.zeros(1, "i8"), end_ns[:-1]])
    start_ns = np.maximum(end_ns - samples.weight_ns, before_ns)
    rows = np.flatnonzero(end_ns > start_ns)
    start_ns, end_ns, stack_id = start_ns[rows], end_ns[rows], samples.stack_id[rows]
    if not len(rows):
        return
    new = np.ones(len(rows), "?")
    new[1:] = (stack_id[1:] != stack_id[:-1]) | (start_ns[1:] != end_ns[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(rows)) - 1
    yield from zip(
        start_ns[first].tolist(), end_ns[last].tolist(), stack_id[first].tolist(), strict=True
    )
