"""Stack samples, twice: as a V8 CPU profile, and drawn as a flame chart.

The profile (`P` events) is the only form of samples that Perfetto reads from JSON: it gives each thread a
track of samples and a flame graph of any stretch of time selected. The chart is made of `X` events on a
track of its own beside the thread: snapshots that follow one another in the same function become one
slice, as long as the weights of the snapshots say. Both are drawn from the table of samples, which alone is
read back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson

from tinytrace.analysis.chrome_lines import microseconds
from tinytrace.exporters.chrome_text import callsite, event, shown
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.trace import Samples, Trace

SAMPLES_PER_EVENT = 1000
SLICES_PER_PIECE = 10_000
UNKNOWN = "?"


def sample_events(trace: Trace, ids: Tracks, epoch_ns: int) -> Iterator[bytes]:
    """Yield the samples in pieces, thread by thread."""
    for thread in range(len(trace.threads)):
        samples = trace.samples.take(
            (trace.samples.thread == thread) & (trace.samples.stack_id >= 0)
        )
        if len(samples):
            yield from _profile(trace, samples, ids, thread, epoch_ns)
            yield from _chart(trace, samples, ids, thread, epoch_ns)


def _profile(
    trace: Trace, samples: Samples, ids: Tracks, thread: int, epoch_ns: int
) -> Iterator[bytes]:
    where: dict[str, Any] = {
        "id": f"{thread + 1:#x}",
        "pid": ids.thread_pids[thread],
        "tid": ids.thread_tids[thread],
    }
    t_us = (samples.t_ns - epoch_ns + 500) // 1000  # the format has whole microseconds
    start_us = int(t_us[0])
    deltas = np.diff(t_us, prepend=start_us)
    yield event(
        ph="P", name="Profile", **where, ts=start_us, args={"data": {"startTime": start_us}}
    )
    told: set[int] = set()
    for first in range(0, len(samples), SAMPLES_PER_EVENT):
        piece = slice(first, first + SAMPLES_PER_EVENT)
        stack_ids = samples.stack_id[piece].tolist()
        profile = {
            "nodes": list(_new_nodes(trace, stack_ids, told)),
            "samples": [stack_id + 1 for stack_id in stack_ids],
        }
        data = {"cpuProfile": profile, "timeDeltas": deltas[piece].tolist()}
        yield event(ph="P", name="ProfileChunk", **where, ts=int(t_us[first]), args={"data": data})


def _new_nodes(trace: Trace, stack_ids: list[int], told: set[int]) -> Iterator[dict[str, Any]]:
    """Nodes of these stacks, callers first, that were not told yet."""
    for leaf in dict.fromkeys(stack_ids):
        path = []
        stack_id = leaf
        while stack_id >= 0 and stack_id not in told:
            path.append(stack_id)
            told.add(stack_id)
            stack_id = int(trace.stacks.parent[stack_id])
        for stack_id in reversed(path):
            yield _node(trace, stack_id)


def _node(trace: Trace, stack_id: int) -> dict[str, Any]:
    frames, strings = trace.frames, trace.strings
    frame_id = int(trace.stacks.frame_id[stack_id])
    name_id, file_id = int(frames.name_id[frame_id]), int(frames.file_id[frame_id])
    url = f"{strings[file_id]}:{frames.line[frame_id]}" if file_id >= 0 else ""
    call = {
        "functionName": shown(strings[name_id]) if name_id >= 0 else UNKNOWN,
        "url": shown(url),  # the viewer shows no line number: it is part of the place
        "scriptId": 0,
    }
    node: dict[str, Any] = {"id": stack_id + 1, "callFrame": call}
    parent = int(trace.stacks.parent[stack_id])
    if parent >= 0:
        node["parent"] = parent + 1
    return node


@dataclass
class _Slice:
    function: tuple[int, int]
    start_ns: int
    first_frame: int
    lines: set[int] = field(default_factory=set)


class _Path(NamedTuple):
    """Of one stack, outermost first: rows of the frames, their functions, their lines."""

    frames: list[int]
    functions: list[tuple[int, int]]
    lines: list[int]


@dataclass
class _Chart:
    """Turns snapshots in order of time into slices; outer ones are written before inner ones."""

    trace: Trace
    tail: bytes
    open: list[_Slice] = field(default_factory=list)
    end_ns: int = 0
    written: list[bytes] = field(default_factory=list)
    paths: dict[int, _Path] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)

    def add(self, start_ns: int, end_ns: int, stack_id: int) -> None:
        """Take the next snapshot: this stack, from start to end."""
        path = self._path(stack_id)
        same = 0
        if start_ns == self.end_ns:
            for old, function in zip(self.open, path.functions):  # noqa: B905 - as far as both go
                if old.function != function:
                    break
                same += 1
        self.close(same)
        for function, frame_id in zip(path.functions[same:], path.frames[same:], strict=True):
            self.open.append(_Slice(function, start_ns, frame_id))
        for one, line in zip(self.open, path.lines, strict=True):
            one.lines.add(line)
        self.end_ns = end_ns

    def close(self, keep: int) -> None:
        """End all slices but the outermost ``keep``."""
        for one in self.open[keep:]:
            self.written.append(self._text(one))
        del self.open[keep:]

    def _path(self, stack_id: int) -> _Path:
        if stack_id not in self.paths:
            if len(self.paths) > SLICES_PER_PIECE:
                self.paths.clear()
            path, at = [], stack_id
            while at >= 0:
                path.append(int(self.trace.stacks.frame_id[at]))
                at = int(self.trace.stacks.parent[at])
            path.reverse()
            frames = self.trace.frames
            name_ids, file_ids = frames.name_id[path].tolist(), frames.file_id[path].tolist()
            functions = list(zip(name_ids, file_ids, strict=True))
            self.paths[stack_id] = _Path(path, functions, frames.line[path].tolist())
        return self.paths[stack_id]

    def _place(self, frame_id: int) -> str:
        if frame_id not in self.places:
            if len(self.places) > SLICES_PER_PIECE:
                self.places.clear()
            strings, frames = self.trace.strings, self.trace.frames
            self.places[frame_id] = callsite(strings, frames, frame_id, named=False)
        return self.places[frame_id]

    def _text(self, one: _Slice) -> bytes:
        name_id, _ = one.function
        name = shown(self.trace.strings[name_id]) if name_id >= 0 else UNKNOWN
        place = self._place(one.first_frame)
        last = max(one.lines)
        if last > min(one.lines):
            place = f"{place.rpartition(':')[0]}:{min(one.lines)}-{last}"
        times = (
            f'"ts":{microseconds(one.start_ns)},"dur":{microseconds(self.end_ns - one.start_ns)}'
        )
        return b'{"ph":"X","cat":"samples",%b,"name":%b,"args":{"at":%b},%b' % (
            times.encode(), orjson.dumps(name), orjson.dumps(place), self.tail,
        )  # fmt: skip


def _chart(
    trace: Trace, samples: Samples, ids: Tracks, thread: int, epoch_ns: int
) -> Iterator[bytes]:
    pid, tid = ids.thread_pids[thread], ids.sample_tids[thread]
    name = f"{shown(trace.strings[trace.threads.name_id[thread]])} (samples)"
    yield event(ph="M", name="thread_name", pid=pid, tid=tid, args={"name": name})
    order = {"sort_index": 2 * thread + 1}
    yield event(ph="M", name="thread_sort_index", pid=pid, tid=tid, args=order)
    chart = _Chart(trace, f'"pid":{pid},"tid":{tid}}},\n'.encode())
    for start_ns, end_ns, stack_id in _runs(samples, epoch_ns):
        chart.add(start_ns, end_ns, stack_id)
        if len(chart.written) >= SLICES_PER_PIECE:
            yield b"".join(chart.written)
            chart.written.clear()
    chart.close(0)
    yield b"".join(chart.written)


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
