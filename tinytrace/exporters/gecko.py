"""The Firefox Profiler's JSON: the stack samples of every thread.

The *processed profile format*, version 46 (https://github.com/firefox-devtools/profiler,
``docs-developer/processed-profile-format.md``): columns, and a weight in ms per sample. Perfetto up to v52 reads
nothing but Gecko's older format, tables of rows with a ``schema``; as each reader passes over the keys of the
other, the tables are in the file in both forms. (From version 47 on a pid is a string, which that Perfetto cannot
read.) Times are ms since the beginning of the trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import orjson

from tinytrace.exporters.registry import Progress
from tinytrace.exporters.stacks import (
    NO_STACK,
    file_of,
    frame_label,
    function_of,
    is_library,
    process_name,
    samples_by_thread,
    started_unix_ns,
    thread_name,
    with_callers,
)
from tinytrace.exporters.tracks import Tracks, tracks
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.trace import Column, Samples, Trace
from tinytrace.tracer.trees import depths

FORMAT_VERSION = 46
GECKO_VERSION = 27  # of the older format, at the time of the above
ROWS_PER_PIECE = 10_000
NS_PER_MS, NS_PER_US = 1e6, 1e3
CATEGORIES = (("Other", "grey"), ("Program", "orange"), ("Libraries", "blue"))
OTHER, PROGRAM, LIBRARY = range(len(CATEGORIES))
_EMPTY_RESOURCES = {"length": 0, "lib": [], "name": [], "host": [], "type": []}
_EMPTY_SYMBOLS = {"length": 0, "libIndex": [], "address": [], "name": [], "functionSize": []}
_EMPTY_MARKERS = {
    "length": 0, "data": [], "name": [], "startTime": [], "endTime": [], "phase": [], "category": [],
}  # fmt: skip


class GeckoExporter:
    """The Firefox Profiler's JSON."""

    name = "gecko"
    suffix = ".gecko.json"
    help = "stack samples for https://profiler.firefox.com"

    def write(self, trace: Trace, out: BinaryIO, progress: Progress | None = None) -> None:
        """Write the samples; see `tinytrace.exporters.registry.Exporter`."""
        ids = tracks(trace)
        out.write(b'{"meta":' + orjson.dumps(_meta(trace)) + b',"libs":[],"pages":[],"threads":[\n')
        depth = depths(trace.stacks.parent)
        first = True
        for thread, samples in samples_by_thread(trace):
            out.write(b"" if first else b",\n")
            for piece in _thread(trace, ids, thread, samples, depth):
                out.write(piece)
            first = False
        out.write(b"\n]}\n")
        if progress is not None:
            progress(1.0)


def _meta(trace: Trace) -> dict[str, Any]:
    weights = trace.samples.weight_ns
    interval_ns = float(np.median(weights)) if len(weights) else NS_PER_MS
    return {
        "interval": (interval_ns or NS_PER_MS) / NS_PER_MS,
        "startTime": started_unix_ns(trace) / NS_PER_MS, "processType": 0, "product": "tinytrace", "stackwalk": 0,
        "version": GECKO_VERSION, "preprocessedProfileVersion": FORMAT_VERSION,
        "symbolicated": True, "markerSchema": [],
        "categories": [
            {"name": name, "color": colour, "subcategories": ["Other"]}
            for name, colour in CATEGORIES
        ],
        "sampleUnits": {"time": "ms", "eventDelay": "ms", "threadCPUDelta": "µs"},
    }  # fmt: skip


def _thread(
    trace: Trace, ids: Tracks, thread: int, samples: Samples, depth: Column
) -> Iterator[bytes]:
    process = int(trace.threads.process[thread])
    pid, begun_ns = (
        (int(trace.processes.pid[process]), int(trace.processes.start_ns[process]))
        if process >= 0
        else (-1, trace.start_ns)
    )
    head = {
        "processType": "default",
        "processName": process_name(trace, thread),
        "processStartupTime": _ms(begun_ns - trace.start_ns),
        "processShutdownTime": None,
        "registerTime": _ms(int(samples.t_ns[0] - samples.weight_ns[0]) - trace.start_ns),
        "unregisterTime": None, "pausedRanges": [], "name": thread_name(trace, thread),
        "isMainThread": int(trace.threads.tid[thread]) == pid,
        "pid": ids.thread_pids[thread], "tid": ids.thread_tids[thread],
        "markers": _EMPTY_MARKERS, "nativeSymbols": _EMPTY_SYMBOLS, "resourceTable": _EMPTY_RESOURCES,
    }  # fmt: skip
    yield orjson.dumps(head)[:-1]
    stack_ids = with_callers(trace, samples.stack_id, depth)
    yield b"," + _stack_tables(trace, stack_ids)
    row_of = np.zeros(len(trace.stacks) + 1, "i8")  # stack −1 finds the last one
    row_of[stack_ids] = np.arange(1, len(stack_ids) + 1)
    yield from _samples(trace, samples, row_of[samples.stack_id])
    yield b"}"


def _ms(t_ns: int) -> float:
    return max(0, t_ns) / NS_PER_MS


def _stack_tables(trace: Trace, stack_ids: Column) -> bytes:
    """Return the tables of stacks, frames, functions and strings. Number 0 is that of samples without a stack."""
    strings: dict[str, int] = {NO_STACK: 0}
    functions: dict[tuple[str, str], int] = {(NO_STACK, ""): 0}
    numbers: dict[int, int] = {}
    lines: list[int | None] = [None]
    function_of_frame, locations, categories = [0], [0], [OTHER]
    for frame_id in distinct(trace.stacks.frame_id[stack_ids]).tolist():
        numbers[frame_id] = len(lines)
        key = function_of(trace, frame_id), file_of(trace, frame_id)
        categories.append(LIBRARY if is_library(key[1]) else PROGRAM)
        function_of_frame.append(functions.setdefault(key, len(functions)))
        lines.append(int(trace.frames.line[frame_id]) or None)
        locations.append(strings.setdefault(_location(frame_label(trace, frame_id)), len(strings)))
    stack_frames = [0, *map(numbers.__getitem__, trace.stacks.frame_id[stack_ids].tolist())]
    row_of = np.full(len(trace.stacks) + 1, -1, "i8")
    row_of[stack_ids] = np.arange(1, len(stack_ids) + 1)
    above = row_of[trace.stacks.parent[stack_ids]].tolist()
    prefixes = [None, *(row if row >= 0 else None for row in above)]
    names = [strings.setdefault(name, len(strings)) for name, _ in functions]
    files = [strings.setdefault(file, len(strings)) if file else None for _, file in functions]
    tables = {
        "stackTable": _stack_table(prefixes, stack_frames, [categories[f] for f in stack_frames]),
        "frameTable": _frame_table(function_of_frame, lines, locations, categories),
        "funcTable": _function_table(names, files),
        "stringArray": list(strings),
        "stringTable": list(strings),
    }
    return orjson.dumps(tables)[1:-1]


def _stack_table(
    prefixes: Sequence[int | None], frames: list[int], categories: list[int]
) -> dict[str, Any]:
    return {
        "frame": frames, "prefix": prefixes, "category": categories,
        "subcategory": [0] * len(frames),
        "length": len(frames), "schema": {"prefix": 0, "frame": 1},
        "data": list(zip(prefixes, frames, strict=True)),
    }  # fmt: skip


def _frame_table(
    functions: list[int],
    lines: Sequence[int | None],
    locations: list[int],
    categories: list[int],
) -> dict[str, Any]:
    n = len(functions)
    zeros, nulls = [0] * n, [None] * n
    return {
        "func": functions, "line": lines, "column": nulls, "address": [-1] * n,
        "inlineDepth": zeros, "category": categories, "subcategory": zeros, "nativeSymbol": nulls,
        "innerWindowID": nulls, "implementation": nulls, "length": n,
        "schema": {"location": 0}, "data": [[location] for location in locations],
    }  # fmt: skip


def _function_table(names: list[int], files: Sequence[int | None]) -> dict[str, Any]:
    n = len(names)
    nulls, no = [None] * n, [False] * n
    return {
        "name": names, "fileName": files, "lineNumber": nulls, "columnNumber": nulls,
        "isJS": no, "relevantForJS": no, "resource": [-1] * n, "length": n,
    }  # fmt: skip


def _samples(trace: Trace, samples: Samples, stack: Column) -> Iterator[bytes]:
    """Yield the table of samples; a sample's time is when its weight begins, and times never go back."""
    start_ns = np.maximum.accumulate(samples.t_ns - samples.weight_ns - trace.start_ns)
    yield b',"samples":{"weightType":"tracing-ms","length":%d' % len(samples)
    yield b',"stack":'
    yield from _array(stack)
    yield b',"time":'
    yield from _array(start_ns / NS_PER_MS)
    yield b',"weight":'
    yield from _array(samples.weight_ns / NS_PER_MS)
    if (samples.cpu_ns >= 0).any():
        yield b',"threadCPUDelta":'
        yield from _array(np.where(samples.cpu_ns < 0, np.nan, samples.cpu_ns / NS_PER_US))
    yield b',"schema":{"stack":0,"time":1},"data":'
    yield from _rows(stack, start_ns / NS_PER_MS)
    yield b"}"


def _array(values: Column) -> Iterator[bytes]:
    """Yield a column as JSON in pieces; NaN is null."""
    yield b"["
    for first in range(0, len(values), ROWS_PER_PIECE):
        piece = values[first : first + ROWS_PER_PIECE].tolist()
        yield (b"," if first else b"") + orjson.dumps(piece)[1:-1]
    yield b"]"


def _rows(*columns: Column) -> Iterator[bytes]:
    """Yield rows as JSON in pieces."""
    yield b"["
    for first in range(0, len(columns[0]), ROWS_PER_PIECE):
        pieces = [column[first : first + ROWS_PER_PIECE].tolist() for column in columns]
        yield (b"," if first else b"") + orjson.dumps(list(zip(*pieces, strict=True)))[1:-1]
    yield b"]"


def _location(label: str) -> str:
    """Return a frame as Perfetto reads it: ending with a parenthesis, and without the character that ends a C string.

    >>> _location("forward (train.py:42)"), _location("?")
    ('forward (train.py:42)', '? ()')
    """
    label = label.replace("\0", "\ufffd")
    return label if label.endswith(")") else f"{label} ()"
