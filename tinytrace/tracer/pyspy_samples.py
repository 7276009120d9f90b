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
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from tinytrace.tracer.pyspy import (
    LOG_NAME,
    MARKER_FILE,
    OUTPUT_NAME,
    STOP_TIMEOUT_S,
    TIMES_NAME,
)
from tinytrace.tracer.pyspy_runs import THREAD_FRAME, Frame, Runs, read_runs
from tinytrace.tracer.trace import Column

_PACKAGE = str(Path(__file__).parent.parent) + os.sep


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
        mended_ns: time in which py-spy missed the callers; it went to the stack before.
        rate_hz: samples per second that were asked for.
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
    mended_ns: int
    rate_hz: float
    begin_ns: int
    end_ns: int
    warnings: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What a trace says about its samples: JSON-ready."""
        names = ("rate_hz", "clock_error_ns", "clock_drift_ns", "mended_ns", "begin_ns", "end_ns")
        return {name: getattr(self, name) for name in names}


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
    runs = Runs()
    _wait_until_written(folder / OUTPUT_NAME)
    try:
        native = any(note.get("native") for note in notes)
        read_runs(folder / OUTPUT_NAME, runs, warnings, native=native)
    except (ValueError, KeyError, TypeError) as error:
        warnings.append(f"py-spy's file is damaged, the rest of it is left out: {error}")
    except OSError:
        warnings.append(f"py-spy left no samples (it was killed?): see {folder / LOG_NAME}")
    offset_ns, error_ns, drift_ns = _align(notes, runs, warnings)
    window = _window(notes, runs, offset_ns)
    return _assemble(runs, notes, offset_ns, window, (error_ns, drift_ns), warnings=warnings)


def _wait_until_written(path: Path) -> None:
    """Wait while py-spy still lives: after the program was killed, it writes its file."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    own = b"\0" + os.fsencode(path) + b"\0"
    writers = [p for p in Path("/proc").glob("[0-9]*/cmdline") if own in _read_bytes(p)]
    while any(own in _read_bytes(p) for p in writers) and time.monotonic() < deadline:
        time.sleep(0.02)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


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


def _align(
    notes: list[dict[str, Any]], runs: Runs, warnings: list[str]
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


def _intervals(note: dict[str, Any], runs: Runs) -> Column:
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


def _window(notes: list[dict[str, Any]], runs: Runs, offset_ns: int) -> tuple[int, int]:
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
    runs: Runs,
    notes: list[dict[str, Any]],
    offset_ns: int,
    window: tuple[int, int],
    clock: tuple[int, int | None],
    *,
    warnings: list[str],
) -> PySpySamples:
    new_id, frame_id, parent = _program_stacks(runs)
    begin = np.array(runs.begin_us, np.int64) * 1000 + offset_ns
    tid = _native_ids(np.array(runs.tid, np.int64), begin, notes)
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
    named = _names(runs, notes, dict(zip(tid[rows].tolist(), rows.tolist(), strict=True)))
    return PySpySamples(
        t_ns, weight_ns, np.repeat(tid[rows], pieces), np.repeat(stack[rows], pieces),
        frame_id, parent, tuple(runs.frames),
        named,
        clock[0], clock[1], runs.mended_us * 1000, rate_hz, window[0], window[1], tuple(warnings),
    )  # fmt: skip


def _names(runs: Runs, notes: list[dict[str, Any]], kept: dict[int, int]) -> dict[int, str]:
    """Return the names of the threads in ``kept`` (native id → one of its runs)."""
    ours = {native: name for note in notes for _, native, name in note.get("threads", ())}
    named = {native: ours.get(native) or runs.names.get(runs.tid[kept[native]]) for native in kept}
    return {native: name for native, name in named.items() if name}


def _native_ids(tid: Column, begin: Column, notes: list[dict[str, Any]]) -> Column:
    """Return native ids where py-spy gave pthread's numbers, which threads may share in turn.

    A thread that was never noted (before Python 3.11, and shorter than a tick) keeps that number.
    """
    known: dict[int, list[tuple[int, int]]] = {}
    for note in notes:
        for ident, native, _ in note.get("threads", ()):
            known.setdefault(ident, []).append((note["t_ns"], native))
    tid = tid.copy()
    for ident, history in known.items():
        rows = np.flatnonzero(tid == ident)
        times = np.array([t for t, _ in history], np.int64)
        latest = np.searchsorted(times, begin[rows], side="right") - 1
        tid[rows] = np.array([native for _, native in history], np.int64)[latest.clip(min=0)]
    return tid


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


def _program_stacks(runs: Runs) -> tuple[Column, Column, Column]:
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
            place = _Place.ROOT if THREAD_FRAME.fullmatch(frame[0]) else _Place.PROGRAM
        else:
            place = _place(frame[0], frame[1], files[parent], places[parent])
            hang = anchor[parent]
        if place in (_Place.PROGRAM, _Place.ENTRY):
            hang = rows.setdefault((hang, frame_id), len(rows))
            new_id[old] = hang
        places.append(place)
        files.append(frame[1])
        anchor.append(hang)
    table = np.array(list(rows), np.int32).reshape(-1, 2)
    return new_id, table[:, 1], table[:, 0]


def _place(function: str, file: str, caller_file: str, caller: _Place) -> _Place:
    if caller is _Place.OURS or file == MARKER_FILE:
        return _Place.OURS
    if caller is _Place.PROGRAM:
        return _Place.PROGRAM
    if _is_native(file) and caller is not _Place.ENTRY:
        return caller  # the C code that started the interpreter or the thread, or that we called
    if caller is not _Place.LAUNCHER and (_is_bootstrap(file) or _is_native(file)):
        return _Place.ENTRY
    if file.startswith(_PACKAGE):
        # A thread of ours begins with a function of ours; the program's main thread does not.
        begins = caller is _Place.ROOT and function != "<module>"
        return _Place.OURS if begins or _is_bootstrap(caller_file) else _Place.LAUNCHER
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
