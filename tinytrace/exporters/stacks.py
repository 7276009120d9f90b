"""Stack samples as the formats of other profilers want them: by thread, by stack, by function and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.stack_times import IMPORTERS, LIBRARIES
from tinytrace.exporters.chrome_text import UNKNOWN, shown
from tinytrace.tracer.groups import distinct, first_rows, group_ids, sums
from tinytrace.tracer.trace import Column, Samples, Trace

NO_STACK = "(no stack)"  # the one frame of a sample whose stack is not known
MAX_CACHED_BYTES = 32 << 20


def started_unix_ns(trace: Trace) -> int:
    """Return when the recording began, in ns since 1970; 0: not known."""
    started = trace.meta.get("start_unix_ns")
    return started if isinstance(started, int) and 0 < started < 2**63 else 0


def samples_by_thread(trace: Trace) -> Iterator[tuple[int, Samples]]:
    """Yield the threads that have samples, each with its samples in order of time."""
    bounds = np.searchsorted(trace.samples.thread, np.arange(len(trace.threads) + 1)).tolist()
    for thread, (first, end) in enumerate(pairwise(bounds)):
        if end > first:
            yield thread, trace.samples.take(slice(first, end))


def function_of(trace: Trace, frame_id: int) -> str:
    """Return the name of a frame's function, ``?`` where it is not known."""
    name_id = int(trace.frames.name_id[frame_id])
    return shown(trace.strings[name_id]) if name_id >= 0 else UNKNOWN


def file_of(trace: Trace, frame_id: int) -> str:
    """Return the path of a frame's file, empty where it is not known."""
    file_id = int(trace.frames.file_id[frame_id])
    return shown(trace.strings[file_id]) if file_id >= 0 else ""


def is_library(file: str) -> bool:
    """Whether a file is no part of the program: installed, or of Python itself.

    >>> is_library("/v/lib/python3.12/site-packages/numpy/x.py"), is_library("/home/me/train.py")
    (True, False)
    """
    return file.startswith(("<frozen ", *IMPORTERS)) or any(part in file for part in LIBRARIES)


def frame_label(trace: Trace, frame_id: int) -> str:
    """Return a frame in one line, as py-spy writes it: ``forward (train.py:42)``."""
    return function_of(trace, frame_id) + place_label(trace, frame_id)


def place_label(trace: Trace, frame_id: int) -> str:
    """Return where a frame is, to be put after a name: `` (train.py:42)``; "" where it is not known."""
    place, line = file_of(trace, frame_id).rpartition("/")[2], int(trace.frames.line[frame_id])
    place += f":{line}" if line else ""
    return f" ({place})" if place else ""


def thread_name(trace: Trace, thread: int) -> str:
    """Return a thread's name: ``MainThread``."""
    return shown(trace.strings[trace.threads.name_id[thread]])


def thread_label(trace: Trace, thread: int) -> str:
    """Return a thread's name and number: ``MainThread (tid 10)``."""
    return f"{thread_name(trace, thread)} (tid {trace.threads.tid[thread]})".strip()


def process_name(trace: Trace, thread: int) -> str:
    """Return the name of a thread's process: ``python``; "" for none."""
    process = int(trace.threads.process[thread])
    return shown(trace.strings[trace.processes.name_id[process]]) if process >= 0 else ""


def process_label(trace: Trace, thread: int) -> str:
    """Return the name and number of a thread's process: ``python (pid 10)``; "" for none."""
    process = int(trace.threads.process[thread])
    if process < 0:
        return ""
    return f"{process_name(trace, thread)} (pid {trace.processes.pid[process]})".strip()


def label_in_all(trace: Trace, thread: int) -> str:
    """Return a thread's label, with that of its process where there are several."""
    process = process_label(trace, thread) if len(trace.processes) > 1 else ""
    return f"{process} {thread_label(trace, thread)}".strip()


class StackTexts:
    """The text of a stack, made from that of its caller; kept as long as there is room.

    Args:
        trace: whose stacks.
        frame_text: the text of a frame.
        separator: between two frames.
        innermost_first: the order of the frames.
    """

    def __init__(
        self,
        trace: Trace,
        frame_text: Callable[[int], bytes],
        separator: bytes,
        *,
        innermost_first: bool = False,
    ) -> None:
        self._stacks = trace.stacks
        self._frame_text = frame_text
        self._separator = separator
        self._order = -1 if innermost_first else 1
        self._texts: dict[int, bytes] = {}
        self._room = MAX_CACHED_BYTES

    def __getitem__(self, stack_id: int) -> bytes:
        if self._room < 0:
            self._texts.clear()
            self._room = MAX_CACHED_BYTES
        path, at = [], stack_id
        while at >= 0 and at not in self._texts:
            path.append(at)
            at = int(self._stacks.parent[at])
        parts = [self._texts[at]] if at >= 0 else []
        parts += [self._frame_text(int(self._stacks.frame_id[row])) for row in reversed(path)]
        text = self._separator.join(parts[:: self._order])
        if path:
            self._texts[stack_id] = text
            self._room -= len(text)
        return text


def with_callers(trace: Trace, stack_id: Column, depth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return these stacks (−1: none) and all that called them, each once, callers first.

    Args:
        trace: whose stacks.
        stack_id: some of them.
        depth: of all stacks of the trace.
    """
    used = np.zeros(len(trace.stacks), "?")
    rows = distinct(stack_id[stack_id >= 0])
    while len(rows):
        used[rows] = True
        up = trace.stacks.parent[rows]
        up = up[up >= 0]
        rows = distinct(up[~used[up]])
    found = np.flatnonzero(used)
    return np.asarray(found[np.argsort(depth[found], kind="stable")], "i8")


def stack_sums(samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Add up samples by thread and stack.

    Returns:
        One entry per pair that occurs, by thread, then stack: a row of the samples that has it, the sum of the
        weights in ns, and the number of samples.
    """
    ids, count = group_ids([samples.thread, samples.stack_id])
    return (
        first_rows(ids, count),
        sums(ids, count, samples.weight_ns),
        np.bincount(ids, minlength=count),
    )
