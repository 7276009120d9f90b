"""py-spy's Chrome trace as runs of equal samples, in py-spy's own time (µs since it began)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tinytrace.tracer.pyspy import MARKER_FILE

THREAD_FRAME = re.compile(r"thread \((0[xX][0-9a-fA-F]+|\d+)\)(?:: (.*))?", re.DOTALL)
_EVENT_BOUNDARY = b'},{"args":'
_CHUNK_BYTES = 1 << 24
# py-spy writes the events of one sample within a few µs; two samples are never this close.
_SAME_SAMPLE_US = 20

Function = tuple[str, str]  # name, file
Frame = tuple[str, str, int]  # function, file, line


@dataclass
class Runs:
    """Runs of equal samples, in py-spy's time, and the stacks in them."""

    tid: list[int] = field(default_factory=list)
    stack: list[int] = field(default_factory=list)
    begin_us: list[int] = field(default_factory=list)
    end_us: list[int] = field(default_factory=list)
    frames: dict[Frame, int] = field(default_factory=dict)
    stacks: dict[tuple[int, int], int] = field(default_factory=dict)  # (parent, frame) → row
    names: dict[int, str] = field(default_factory=dict)
    seen: dict[Frame, list[int]] = field(default_factory=dict)  # marker lines → first seen at, µs
    end_of_file_us: int = 0
    mended_us: int = 0

    def add(self, tid: int, stack: int, begin_us: int, end_us: int) -> None:
        if end_us > begin_us:
            self.tid.append(tid)
            self.stack.append(stack)
            self.begin_us.append(begin_us)
            self.end_us.append(end_us)


def read_runs(path: Path, runs: Runs, warnings: list[str], *, native: bool = False) -> None:
    """Read py-spy's file into ``runs``; what was read before an error stays.

    With native frames py-spy stops the program while it looks: no stack is torn then. One that lacks its
    outermost C frames is where C code could not be unwound, and lacks nothing of Python's.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError, TypeError: it is not what py-spy writes.
    """
    _read_runs(_events(path, warnings), runs)
    if not native:
        _mend(runs)


def _events(path: Path, warnings: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the events of py-spy's file, chunk by chunk; a last one cut short is left out."""
    with path.open("rb") as file:
        rest = file.read(_CHUNK_BYTES)
        rest = rest[1:] if rest.startswith(b"[") else rest
        while True:
            more = file.read(_CHUNK_BYTES)
            cut = rest.rfind(_EVENT_BOUNDARY) + 1 if more else _complete(rest, warnings)
            if cut > 0:
                yield from orjson.loads(b"[" + rest[:cut] + b"]")
                rest = rest[cut + 1 :] + more
            else:
                rest = rest + more
            if not more:
                return


def _complete(rest: bytes, warnings: list[str]) -> int:
    """Return how many of the last bytes of the file are complete events."""
    text = rest.rstrip()
    if text.endswith(b"]"):
        return len(text) - 1
    warnings.append("py-spy's file is cut short: its last samples are missing")
    return text.rfind(_EVENT_BOUNDARY) + 1


@dataclass
class _Thread:
    """A thread while its events are read."""

    tid: int = 0
    path: list[int] = field(default_factory=list)  # stacks from the root inwards
    shown: int = -1  # the stack of the last complete sample
    shown_tid: int = 0
    since_us: int = 0
    last_us: int = 0
    adding: bool = False
    of_python: bool = False  # begun by Python: it has a frame as long as it lives


def _read_runs(events: Iterator[dict[str, Any]], runs: Runs) -> None:
    threads: dict[int, _Thread] = {}
    current: _Thread | None = None
    for event in events:
        ts: int = event["ts"]
        key = event["tid"]
        thread = threads.get(key)
        if thread is None:
            thread = threads[key] = _Thread()
        begins = event["ph"] == "B"
        new_sample = (
            thread is not current
            or (thread.adding and not begins)
            or ts - thread.last_us > _SAME_SAMPLE_US
        )
        if new_sample and current is not None:
            _finish_sample(current, runs)
        if begins:
            _push(thread, event, runs)
        elif thread.path:
            thread.path.pop()
        thread.adding = begins
        thread.last_us = ts
        current = thread
        runs.end_of_file_us = ts
    for thread in threads.values():  # py-spy closes every stack at its end
        _finish_sample(thread, runs)


def _finish_sample(thread: _Thread, runs: Runs) -> None:
    top = thread.path[-1] if thread.path else -1
    same_thread = thread.tid == thread.shown_tid
    # Only the frame that names the thread: the stack changed while py-spy read it. It saw nothing.
    torn = len(thread.path) == 1 and thread.of_python
    if same_thread and (torn or top == thread.shown):
        return
    if thread.shown >= 0:
        runs.add(thread.shown_tid, thread.shown, thread.since_us, thread.last_us)
    thread.shown, thread.shown_tid, thread.since_us = top, thread.tid, thread.last_us


def _push(thread: _Thread, event: dict[str, Any], runs: Runs) -> None:
    name: str = event["name"]
    args = event["args"]
    if not thread.path:
        head = THREAD_FRAME.fullmatch(name)
        thread.tid = int(head[1], 0) if head else event["tid"]
        thread.of_python = head is not None and not (head[2] or "Dummy-").startswith("Dummy-")
        if head and head[2]:
            runs.names[thread.tid] = head[2]
    frame = (name, args["filename"] or "", args["line"] or 0)
    if len(thread.path) == 1 and frame[1].endswith("threading.py"):
        thread.of_python = True
    if frame[1] == MARKER_FILE:
        runs.seen.setdefault(frame, []).append(event["ts"])
    frame_id = runs.frames.setdefault(frame, len(runs.frames))
    parent = thread.path[-1] if thread.path else -1
    thread.path.append(runs.stacks.setdefault((parent, frame_id), len(runs.stacks)))


def _mend(runs: Runs) -> None:
    """Give a run whose callers py-spy missed to the stack before it.

    py-spy reads while the program runs, so a stack may change under it: then a function stands alone
    that elsewhere was called from the stack's outermost one, which is back afterwards.
    """
    called = _called_by_root(runs)
    keys, frames = list(runs.stacks), list(runs.frames)
    root_of = {stack: _path(stack, keys, frames)[0] for stack in set(runs.stack)}
    roots = [root_of[stack] for stack in runs.stack]
    last_seen = {
        (tid, root): row for row, (tid, root) in enumerate(zip(runs.tid, roots, strict=True))
    }
    before: dict[int, int] = {}  # thread → its run before, mended
    for row, tid in enumerate(runs.tid):
        previous = before.get(tid)
        before[tid] = row
        if previous is None or roots[row] == roots[previous]:
            continue
        root = roots[previous]
        if roots[row] in called[tid, root] and last_seen[tid, root] > row:
            runs.stack[row], roots[row] = runs.stack[previous], root
            runs.mended_us += runs.end_us[row] - runs.begin_us[row]


def _called_by_root(runs: Runs) -> dict[tuple[int, Function], set[Function]]:
    """Return what was seen called, however deep, per thread and outermost function."""
    keys, frames = list(runs.stacks), list(runs.frames)
    called: dict[tuple[int, Function], set[Function]] = {}
    for tid, stack in set(zip(runs.tid, runs.stack, strict=True)):
        root, *others = _path(stack, keys, frames)
        called.setdefault((tid, root), set()).update(others)
    return called


def _path(stack: int, keys: list[tuple[int, int]], frames: list[Frame]) -> list[Function]:
    """Return function and file of the frames from the root inwards, without py-spy's own."""
    path: list[Function] = []
    while stack >= 0:
        stack, frame = keys[stack]
        path.append(frames[frame][:2])
    if len(path) > 1 and THREAD_FRAME.fullmatch(path[-1][0]):
        path.pop()
    return path[::-1]
