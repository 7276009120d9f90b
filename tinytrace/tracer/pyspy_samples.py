"""What py-spy saw (see `tinytrace.tracer.pyspy`) as samples on our clock.

py-spy's file says when a thread's stack *changed*, not when each sample was taken. So a record
here is a run of equal samples: the stack from the first sample that showed it to the first that
showed another. Longer runs are cut into equal pieces (10 ms, or ten sampling periods), so that a
window of time sees its part; the times of the pieces are not times of samples. Whether a thread
ran or waited is not known.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tinytrace.tracer.pyspy import LOG_NAME, MARKER_FILE, OUTPUT_NAME, TIMES_NAME
from tinytrace.tracer.trace import Column

_PACKAGE = str(Path(__file__).parent.parent) + os.sep
_THREAD_FRAME = re.compile(r"thread \((0[xX][0-9a-fA-F]+|\d+)\)(?:: (.*))?", re.DOTALL)
_EVENT_BOUNDARY = b'},{"args":'
_CHUNK_BYTES = 1 << 24
# py-spy writes the events of one sample within a few µs; two samples are never this close.
_SAME_SAMPLE_US = 20

Frame = tuple[str, str, int]  # function, file, line


@dataclass(frozen=True)
class PySpySamples:
    """Samples of one process, sorted by thread, then time.

    Attributes:
        t_ns, weight_ns, tid, stack_id: int64 columns; a row stands for the ``weight_ns`` that end
        at
            ``t_ns`` (CLOCK_MONOTONIC); ``tid`` is the native thread id; ``stack_id`` a row of the
            next two.
        stack_frame_id, stack_parent: the prefix tree: innermost frame, and the caller's stack (−1:
        root).
        frames: function, file (absolute where py-spy knew it), line (0: not known).
        thread_names: by native thread id.
        clock_error_ns: how far the times may be off; 0 only when there are no samples.
        clock_drift_ns: offset found at the end less the offset found at the start; None: not known.
        begin_ns, end_ns: the stretch that the samples cover.
        warnings: what is not in here, for people.
    """

    t_ns: Column
    weight_ns: Column
    tid: Column
    stack_id: Column
    stack_frame_id: Column
    stack_parent: Column
    frames: tuple[Frame, ...]
    thread_names: dict[int, str]
    clock_error_ns: int
    clock_drift_ns: int | None
    begin_ns: int
    end_ns: int
    warnings: tuple[str, ...]


@dataclass
class _Runs:
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

    def add(self, tid: int, stack: int, begin_us: int, end_us: int) -> None:
        if end_us > begin_us:
            self.tid.append(tid)
            self.stack.append(stack)
            self.begin_us.append(begin_us)
            self.end_us.append(end_us)


class _Place(Enum):
    """What a stack is, by its frames from the root inwards."""

    ROOT = 0  # py-spy's own frame that names the thread, and C code that starts the interpreter
    ENTRY = 1  # threading.py where a thread begins
    LAUNCHER = 2  # ours, between that and the user's program: taken out
    PROGRAM = 3
    OURS = 4  # a thread of ours, the marker: not kept


def read_samples(folder: Path) -> PySpySamples | None:
    """Read what a `PySpySampler` left in ``folder``; None when there was none.

    A missing or damaged file is a warning in the result, never an error.
    """
    folder = Path(folder)
    notes = _read_notes(folder / TIMES_NAME)
    if not notes and not (folder / OUTPUT_NAME).exists():
        return None
    warnings: list[str] = []
    runs = _Runs()
    try:
        _read_runs(_events(folder / OUTPUT_NAME, warnings), runs)
    except (ValueError, KeyError, TypeError) as error:
        warnings.append(f"py-spy's file is damaged, the rest of it is left out: {error}")
    except OSError:
        warnings.append(f"py-spy left no samples (it was killed?): see {folder / LOG_NAME}")
    offset_ns, error_ns, drift_ns = _align(notes, runs, warnings)
    window = _window(notes, runs, offset_ns)
    return _assemble(runs, notes, offset_ns, window, (error_ns, drift_ns), warnings=warnings)


def _read_notes(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    notes = []
    for line in lines:
        try:
            note = json.loads(line)
        except ValueError:
            continue  # empty, or cut short when the process was killed
        if isinstance(note, dict):
            notes.append(note)
    return notes


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
    named: bool = False  # whether the root frame is py-spy's own, with number and name of the thread


def _read_runs(events: Iterator[dict[str, Any]], runs: _Runs) -> None:
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


def _finish_sample(thread: _Thread, runs: _Runs) -> None:
    top = thread.path[-1] if thread.path else -1
    same_thread = thread.tid == thread.shown_tid
    # Only the frame that names the thread: the stack changed while py-spy read it. It saw nothing.
    torn = len(thread.path) == 1 and thread.named
    if same_thread and (torn or top == thread.shown):
        return
    if thread.shown >= 0:
        runs.add(thread.shown_tid, thread.shown, thread.since_us, thread.last_us)
    thread.shown, thread.shown_tid, thread.since_us = top, thread.tid, thread.last_us


def _push(thread: _Thread, event: dict[str, Any], runs: _Runs) -> None:
    name: str = event["name"]
    args = event["args"]
    if not thread.path:
        head = _THREAD_FRAME.fullmatch(name)
        thread.tid = int(head[1], 0) if head else event["tid"]
        thread.named = head is not None
        if head and head[2]:
            runs.names[thread.tid] = head[2]
    frame = (name, args["filename"] or "", args["line"] or 0)
    if frame[1] == MARKER_FILE:
        runs.seen.setdefault(frame, []).append(event["ts"])
    frame_id = runs.frames.setdefault(frame, len(runs.frames))
    parent = thread.path[-1] if thread.path else -1
    thread.path.append(runs.stacks.setdefault((parent, frame_id), len(runs.stacks)))


def _align(
    notes: list[dict[str, Any]], runs: _Runs, warnings: list[str]
) -> tuple[int, int, int | None]:
    """Find what to add to py-spy's times: (offset, error, drift), in ns.

    A sample that shows line k of a marker was taken between the known begin and end of that line;
    so each gives an interval for the offset, and the offset is where most intervals agree.
    """
    per_marker = []
    for note in notes:
        if "marker" in note:
            found = _intervals(note, runs)
            if len(found):
                per_marker.append(found)
    if per_marker:
        every = np.concatenate(per_marker)
        offset, error = _agree(every)
        drift = (
            _agree(per_marker[-1])[0] - _agree(per_marker[0])[0] if len(per_marker) > 1 else None
        )
        return offset, error, drift
    start = next((n for n in notes if "launched_ns" in n), None)
    if start is None:
        warnings.append("the start of py-spy is not known: its times begin at 0")
        return 0, 0, None
    launched, ready = int(start["launched_ns"]), int(start["ready_ns"])
    if runs.tid:
        warnings.append(
            "py-spy did not see the clock marker: its times may be off by "
            f"{(ready - launched) / 1e6:.0f} ms"
        )
    return ready, ready - launched, None


def _intervals(note: dict[str, Any], runs: _Runs) -> Column:
    """Return (n, 2) int64: least and greatest offset allowed by each sample of this marker."""
    pairs = []
    for (name, _, line), times_us in runs.seen.items():
        k = line - 2  # line 1 is the def
        if name == note["marker"] and 0 <= k < len(note["begins_ns"]):
            for t_us in times_us:
                pairs.append((note["begins_ns"][k] - t_us * 1000, note["ends_ns"][k] - t_us * 1000))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _agree(intervals: Column) -> tuple[int, int]:
    """Return the middle of where most intervals overlap, and a bound for 9 in 10 of them."""
    edges = np.unique(intervals)
    inside = (intervals[:, 0, None] <= edges) & (edges <= intervals[:, 1, None])
    agreeing = inside.sum(axis=0)
    best = np.flatnonzero(agreeing == agreeing.max())
    members = intervals[inside[:, best[0]]]
    low, high = int(members[:, 0].max()), int(members[:, 1].min())
    offset = (low + high) // 2
    outside = np.maximum(intervals[:, 0] - offset, offset - intervals[:, 1]).clip(min=0)
    return offset, max((high - low + 1) // 2, int(np.quantile(outside, 0.9)))


def _window(notes: list[dict[str, Any]], runs: _Runs, offset_ns: int) -> tuple[int, int]:
    """Return the stretch between the markers: outside it our own start and stop were at work."""
    begin_ns, end_ns = offset_ns, offset_ns + runs.end_of_file_us * 1000
    for note in notes:
        if str(note.get("marker", "")).endswith("_start"):
            begin_ns = max(begin_ns, note["ends_ns"][-1])
        elif str(note.get("marker", "")).endswith("_stop"):
            end_ns = min(end_ns, note["begins_ns"][0])
    return begin_ns, max(begin_ns, end_ns)


def _ends(notes: list[dict[str, Any]]) -> tuple[dict[int, int], set[int] | None]:
    """Return when threads were last seen alive, and which were at the end (None: not known)."""
    ended: dict[int, int] = {}
    alive: set[int] | None = None
    for note in notes:
        for tid in note.get("ended", ()):
            ended[tid] = note["t_ns"]
        if "alive" in note:
            alive = set(note["alive"])
    return ended, alive


def _assemble(
    runs: _Runs,
    notes: list[dict[str, Any]],
    offset_ns: int,
    window: tuple[int, int],
    clock: tuple[int, int | None],
    *,
    warnings: list[str],
) -> PySpySamples:
    new_id, frame_id, parent = _program_stacks(runs)
    tid = np.array(runs.tid, np.int64)
    begin = np.array(runs.begin_us, np.int64) * 1000 + offset_ns
    end = np.array(runs.end_us, np.int64) * 1000 + offset_ns
    stack = new_id[np.array(runs.stack, np.int64)] if len(tid) else np.empty(0, np.int64)
    end = _cut_at_thread_ends(tid, begin, end, notes, warnings)
    begin, end = np.maximum(begin, window[0]), np.minimum(end, window[1])
    keep = (stack >= 0) & (end > begin)
    rows = np.flatnonzero(keep)
    rows = rows[np.lexsort((begin[rows], tid[rows]))]
    rate_hz = next((n["rate_hz"] for n in notes if "rate_hz" in n), 100)
    piece_ns = max(10_000_000, int(10e9 / rate_hz))
    t_ns, weight_ns, pieces = _cut_into_pieces(begin[rows], end[rows], piece_ns)
    kept_tids = set(tid[rows].tolist())
    return PySpySamples(
        t_ns, weight_ns, np.repeat(tid[rows], pieces), np.repeat(stack[rows], pieces),
        frame_id, parent, tuple(runs.frames),
        {t: name for t, name in runs.names.items() if t in kept_tids},
        clock[0], clock[1], window[0], window[1], tuple(warnings),
    )  # fmt: skip


def _cut_at_thread_ends(
    tid: Column, begin: Column, end: Column, notes: list[dict[str, Any]], warnings: list[str]
) -> Column:
    """Return the ends of the runs, none later than its thread was known to be alive."""
    ended, alive = _ends(notes)
    end = end.copy()
    unseen = 0
    for t in np.unique(tid).tolist():
        of_thread = tid == t
        if t in ended:
            end[of_thread] = np.minimum(end[of_thread], ended[t])
        elif alive is not None and t not in alive:
            last = np.flatnonzero(of_thread)[-1]
            end[last] = begin[last]
            unseen += 1
    if unseen:
        warnings.append(
            f"{unseen} short-lived thread(s): py-spy does not say when a thread ends, "
            "their last stacks are left out"
        )
    return end


def _cut_into_pieces(begin: Column, end: Column, piece_ns: int) -> tuple[Column, Column, Column]:
    """Return the end and length of each piece, and the number of pieces per run."""
    pieces = -(-(end - begin) // piece_ns)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    k = np.arange(len(first)) - first
    length = np.repeat(end - begin, pieces)
    n = np.repeat(pieces, pieces)
    start = np.repeat(begin, pieces)
    t_ns = start + length * (k + 1) // n
    return t_ns, t_ns - (start + length * k // n), pieces


def _program_stacks(runs: _Runs) -> tuple[Column, Column, Column]:
    """Take our frames out: (new row per old stack or −1, frame per new row, parent per new row)."""
    frames = list(runs.frames)
    places: list[_Place] = []
    files: list[str] = []
    anchor: list[int] = []  # the new row that children hang from
    new_id = np.full(len(runs.stacks), -1, np.int64)
    rows: dict[tuple[int, int], int] = {}
    for old, (parent, frame_id) in enumerate(runs.stacks):
        frame = frames[frame_id]
        hang = -1
        if parent < 0:
            place = _Place.ROOT if _THREAD_FRAME.fullmatch(frame[0]) else _Place.PROGRAM
        else:
            place = _place(frame[1], files[parent], places[parent])
            hang = anchor[parent]
        if place in (_Place.PROGRAM, _Place.ENTRY):
            hang = rows.setdefault((hang, frame_id), len(rows))
            new_id[old] = hang
        places.append(place)
        files.append(frame[1])
        anchor.append(hang)
    table = np.array(list(rows), np.int32).reshape(-1, 2)
    return new_id, table[:, 1], table[:, 0]


def _place(file: str, caller_file: str, caller: _Place) -> _Place:
    if caller is _Place.OURS or file == MARKER_FILE:
        return _Place.OURS
    if caller is _Place.PROGRAM:
        return _Place.PROGRAM
    if _is_native(file) and caller is not _Place.ENTRY:
        return caller  # the C code that started the interpreter or the thread, or that we called
    if caller is not _Place.LAUNCHER and (_is_bootstrap(file) or _is_native(file)):
        return _Place.ENTRY
    if file.startswith(_PACKAGE):
        return _Place.OURS if _is_bootstrap(caller_file) else _Place.LAUNCHER
    base = _base_name(file)
    if base in ("runpy.py", "<frozen runpy>", "tinytrace"):
        return _Place.LAUNCHER
    return _Place.PROGRAM


def _is_bootstrap(file: str) -> bool:
    return _base_name(file) == "threading.py"


def _base_name(file: str) -> str:
    return file.rpartition(os.sep)[2]


def _is_native(file: str) -> bool:
    base = _base_name(file)
    return base.endswith(".so") or ".so." in base or base.startswith("python")
