"""Stack samples, twice: as a V8 CPU profile, and drawn as a flame chart.

The profile (`P` events) is the only form of samples that Perfetto reads from JSON: it gives each thread a
track of samples and a flame graph of any stretch of time selected. The chart is made of `X` events on a
track of its own beside the thread: snapshots that follow one another in the same function become one
slice, as long as the weights of the snapshots say. Both are drawn from the table of samples, which alone is
read back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from tinytrace.exporters.chrome_text import UNKNOWN, event, shown
from tinytrace.exporters.flame_chart import changes, name_of, place_of
from tinytrace.exporters.tracks import Tracks
from tinytrace.tracer.trace import Samples, Trace

SAMPLES_PER_EVENT = 1000
SLICES_PER_PIECE = 10_000


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


def _chart(
    trace: Trace, samples: Samples, ids: Tracks, thread: int, epoch_ns: int
) -> Iterator[bytes]:
    pid, tid = ids.thread_pids[thread], ids.sample_tids[thread]
    name = f"{shown(trace.strings[trace.threads.name_id[thread]])} (samples)"
    yield event(ph="M", name="thread_name", pid=pid, tid=tid, args={"name": name})
    order = {"sort_index": 2 * thread + 1}
    yield event(ph="M", name="thread_sort_index", pid=pid, tid=tid, args=order)
    tail = f'"pid":{pid},"tid":{tid}}},\n'.encode()
    texts: dict[tuple[int, int, int], bytes] = {}
    written: list[bytes] = []
    for change in changes(trace, samples, epoch_ns):
        for one in change.closed:
            key = one.frame_id, one.first_line, one.last_line
            if key not in texts:
                name_and_place = (
                    orjson.dumps(name_of(trace, one)),
                    orjson.dumps(place_of(trace, one)),
                )
                texts[key] = b'"name":%b,"args":{"at":%b},%b' % (*name_and_place, tail)
            start_ns, dur_ns = one.start_ns, change.t_ns - one.start_ns
            written.append(
                b'{"ph":"X","cat":"samples","ts":%d.%03d,"dur":%d.%03d,%b'
                % (start_ns // 1000, start_ns % 1000, dur_ns // 1000, dur_ns % 1000, texts[key])
            )
        if len(texts) > SLICES_PER_PIECE:
            texts.clear()
        if len(written) >= SLICES_PER_PIECE:
            yield b"".join(written)
            written.clear()
    yield b"".join(written)
