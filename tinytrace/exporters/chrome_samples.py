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


class _Step(NamedTuple):
    """A frame of a stack: its function, its line, its row."""

    function: tuple[int, int]
    line: int
    frame_id: int


@dataclass(slots=True)
class _Slice:
    function: tuple[int, int]
    start_ns: int
    frame_id: int
    first_line: int
    last_line: int


@dataclass
class _Chart:
    """Turns snapshots in order of time into slices; outer ones are written before inner ones."""

    trace: Trace
    tail: bytes
    open: list[_Slice] = field(default_factory=list)
    path: list[_Step] = field(default_factory=list)  # of the snapshot before
    end_ns: int = 0
    written: list[bytes] = field(default_factory=list)
    paths: dict[int, list[_Step]] = field(default_factory=dict)
    texts: dict[tuple[int, int, int], bytes] = field(default_factory=dict)

    def add(self, start_ns: int, end_ns: int, stack_id: int) -> None:
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
        self.close(same)
        self.open += [
            _Slice(function, start_ns, frame_id, line, line)
            for function, line, frame_id in path[same:]
        ]
        self.end_ns = end_ns

    def close(self, keep: int) -> None:
        """End all slices but the outermost ``keep``."""
        self.written += [self._text(one) for one in self.open[keep:]]
        del self.open[keep:]

    def _path(self, stack_id: int) -> list[_Step]:
        """Frames of a stack, outermost first."""
        path = self.paths.get(stack_id)
        if path is None:
            if len(self.paths) > SLICES_PER_PIECE:
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

    def _text(self, one: _Slice) -> bytes:
        key = one.frame_id, one.first_line, one.last_line
        if key not in self.texts:
            if len(self.texts) > SLICES_PER_PIECE:
                self.texts.clear()
            self.texts[key] = self._rest(one)
        start_ns, dur_ns = one.start_ns, self.end_ns - one.start_ns
        return b'{"ph":"X","cat":"samples","ts":%d.%03d,"dur":%d.%03d,%b' % (
            start_ns // 1000, start_ns % 1000, dur_ns // 1000, dur_ns % 1000, self.texts[key],
        )  # fmt: skip

    def _rest(self, one: _Slice) -> bytes:
        """The event of a slice after its times."""
        name_id, _ = one.function
        name = shown(self.trace.strings[name_id]) if name_id >= 0 else UNKNOWN
        place = callsite(self.trace.strings, self.trace.frames, one.frame_id, named=False)
        if one.last_line > one.first_line:
            place = f"{place.rpartition(':')[0]}:{one.first_line}-{one.last_line}"
        return b'"name":%b,"args":{"at":%b},%b' % (
            orjson.dumps(name), orjson.dumps(place), self.tail,
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
