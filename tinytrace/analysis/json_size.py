"""How large the trace JSON of a trace will be: an estimate from what is in it, without writing it.

`docs/trace-format.md` describes the file. The constants are the bytes of its fixed text plus usual
numbers; `tests/analysis/test_json_size.py` holds the estimates against files really written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Samples, Signature, Spans, Trace

FILE_BYTES = 1_000  # head, end, names of empty tables
# {"ph":"X","ts":123456789.123,"dur":123.123,"args":{"step":1234,"k":1234},"cat":"op","name":"",
# "pid":12345,"tid":12345},
SPAN_BYTES = 118
OP_BYTES = 58  # "flops":123456789,"bytes":12345678,"shapes":[],"dtypes":[]
SITE_BYTES = 20  # ,"callsite":":1234 "
APART_BYTES = 110  # a second event, for its end, of a span that does not nest
KEY_BYTES = 45  # a row of the table of keys
DIMENSION_BYTES = 5  # 1024,
OPERAND_BYTES = 6  # [],"",
SIGNATURE_BYTES = 25
STORED_OPERAND_BYTES = 30
AGGREGATE_BYTES = 110  # 13 columns
SAMPLE_BYTES = 65  # a row of the table (t_ns, weight_ns, cpu_ns, thread, stack) and of the profile
SLICE_BYTES = 150  # of the flame chart
STACK_BYTES = 105  # a row of the table, a node of the profile
FRAME_BYTES = 15
COUNTER_BYTES = 134  # a row of the table and an event, without the name
SERIES_BYTES = 15
STRING_BYTES = 3
FLOW_BYTES = 70  # a row of the table, and the ends on the spans' events
TRACK_BYTES = 300  # names and order of a process or thread
Ints = NDArray[np.int64]


def text_bytes(texts: Iterable[str]) -> Ints:
    """Return the bytes of each text as JSON in UTF-8, without quotes."""
    return np.fromiter((_text_bytes(text) for text in texts), "i8")


def _text_bytes(text: str) -> int:
    if text.isascii() and text.isprintable():
        return len(text) + text.count('"') + text.count("\\")
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def _padded(lengths: Ints, missing: int = 0) -> Ints:
    """Append a length for the id −1."""
    return np.append(lengths, missing).astype("i8")


def span_bytes(trace: Trace, spans: Spans, strings: Ints) -> Ints:
    """Return the bytes that each span takes in the file.

    Args:
        trace: whose tables the spans refer to.
        spans: any of its spans.
        strings: `text_bytes` of the trace's strings.
    """
    text = _padded(strings)
    place = _padded(_site_bytes(trace, text))
    shown = _padded(np.fromiter((_shown_bytes(s) for s in trace.signatures), "i8"))
    size = np.full(len(spans), SPAN_BYTES, "i8")
    size += text[spans.name_id] + text[spans.args_id] + place[spans.callsite_id]
    size += shown[spans.signature_id]
    size[spans.kind == Kind.OP] += OP_BYTES
    size[(spans.flags & Flag.DETACHED) != 0] += APART_BYTES + KEY_BYTES
    return size


def _site_bytes(trace: Trace, text: Ints) -> Ints:
    names = [_after_slash(name) for name in trace.strings]
    file = _padded(text_bytes(names))
    return SITE_BYTES + file[trace.frames.file_id] + text[trace.frames.name_id]


def _after_slash(path: str) -> str:
    """Return the last part of a path."""
    return path[path.rfind("/") + 1 :]


def _shown_bytes(signature: Signature) -> int:
    operands = sum(
        OPERAND_BYTES + len(o.dtype) + DIMENSION_BYTES * len(o.shape) for o in signature.operands
    )
    return operands + (len(signature.attributes) + 16 if signature.attributes else 0)


def counter_bytes(trace: Trace, strings: Ints) -> Ints:
    """Return the bytes that each value of a counter takes in the file."""
    name_bytes = strings[trace.series.name_id] + strings[trace.series.unit_id]
    return np.asarray(COUNTER_BYTES + name_bytes[trace.counters.series_id], "i8")


class SampleSizes:
    """Estimates of samples of one trace; what they share is found once.

    Args:
        trace: whose stacks the samples refer to.
    """

    def __init__(self, trace: Trace) -> None:
        self._depth, self._parent, self._node = _function_tree(trace)

    def bytes(self, samples: Samples) -> int:
        """Return the bytes of the rows of these samples and of the slices drawn from them."""
        if not len(samples):
            return 0
        # A slice is written for each function that the next snapshot of the thread has left.
        here = self._node[samples.stack_id]
        follows = samples.thread[1:] == samples.thread[:-1]
        after = np.append(np.where(follows, here[1:], 0), 0)
        pairs, times = np.unique(here * len(self._depth) + after, return_counts=True)
        mine, other = np.divmod(pairs, len(self._depth))
        left = self._depth[mine] - self._shared(mine, other)
        return int(SAMPLE_BYTES * len(samples) + SLICE_BYTES * (left * times).sum())

    def _shared(self, mine: Ints, other: Ints) -> Ints:
        """Depth to which two stacks of functions are the same."""
        mine, other = mine.copy(), other.copy()
        rows = np.flatnonzero(mine != other)
        while len(rows):
            a, b = mine[rows], other[rows]
            depth_a, depth_b = self._depth[a], self._depth[b]
            mine[rows] = np.where(depth_a >= depth_b, self._parent[a], a)
            other[rows] = np.where(depth_b >= depth_a, self._parent[b], b)
            rows = rows[mine[rows] != other[rows]]
        return self._depth[mine]


def _function_tree(trace: Trace) -> tuple[Ints, Ints, Ints]:
    """The tree of stacks by function: depth and parent per node (0 is the root), node per stack."""
    stacks, frames = trace.stacks, trace.frames
    functions = list(zip(frames.name_id.tolist(), frames.file_id.tolist(), strict=True))
    frame_ids, parents = stacks.frame_id.tolist(), stacks.parent.tolist()
    nodes: dict[tuple[int, tuple[int, int]], int] = {}
    depth, parent = [0], [0]
    node_of = [-1] * len(frame_ids) + [0]  # the last one is for the id −1
    for stack in range(len(frame_ids)):
        path = []
        at = stack
        while node_of[at] < 0:
            path.append(at)
            at = parents[at]
        above = node_of[at]
        for one in reversed(path):
            key = (above, functions[frame_ids[one]])
            if key not in nodes:
                nodes[key] = len(depth)
                depth.append(depth[above] + 1)
                parent.append(above)
            above = node_of[one] = nodes[key]
    return np.array(depth, "i8"), np.array(parent, "i8"), np.array(node_of, "i8")


def table_bytes(trace: Trace, strings: Ints) -> int:
    """Return the bytes of all but events: names, places, stacks, signatures, metadata."""
    text = _padded(strings)
    frames = trace.frames
    stack_frames = trace.stacks.frame_id
    nodes = text[frames.name_id[stack_frames]] + text[frames.file_id[stack_frames]] + STACK_BYTES
    signatures = sum(
        SIGNATURE_BYTES + len(s.op) + len(s.attributes)
        + sum(
            STORED_OPERAND_BYTES + len(o.dtype) + DIMENSION_BYTES * (len(o.shape) + len(o.strides))
            for o in s.operands
        )
        for s in trace.signatures
    )  # fmt: skip
    return (
        FILE_BYTES
        + int(strings.sum())
        + STRING_BYTES * len(strings)
        + len(json.dumps(trace.meta))
        + int(text_bytes(trace.warnings).sum())
        + signatures
        + int(nodes.sum())
        + FRAME_BYTES * len(frames)
        + SERIES_BYTES * len(trace.series)
        + TRACK_BYTES * (len(trace.processes) + len(trace.threads))
    )
