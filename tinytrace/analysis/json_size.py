"""How large the trace JSON of a trace will be: added up from what is in it, without writing it.

`docs/trace-format.md` describes the file. The constants are the bytes of its fixed text; the lengths of
numbers and names are counted. `tests/analysis/test_json_size.py` holds the estimates against files really
written: they agree within a few percent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis import chrome_lines
from tinytrace.analysis.chrome_tables import ROWS_PER_EVENT
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.spans import KEY, span_keys
from tinytrace.tracer.groups import distinct, numbered
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Column, Flows, Samples, Signature, Spans, Table, Trace

# {"ph":"X","ts":,"dur":,"args":{"":},"cat":"","name":"","pid":,"tid":}, and the end of the line
SPAN_BYTES = 71
STEP_BYTES = 8  # "step":,
PARENT_BYTES = 10  # "parent":,
FIGURE_BYTES = 18  # ,"flops":,"bytes":
INSIDE_BYTES = 18  # ,"ops_inside":true
EVALUATIONS_BYTES = 19  # ,"transcendentals":
SITE_BYTES = 14  # ,"callsite":""
STATE_BYTES = 13  # ,"raised":true
APART_BYTES = 85  # a second event, for its end, of a span that does not nest; "id2", "dur_ns"
KEY_BYTES = 25  # a row of the table of keys, where it is not counted
AGGREGATE_BYTES = 110  # likewise, of the table of aggregates
SIGNATURE_BYTES = 12  # a row: ["",2,"",[]],
OPERAND_BYTES = 20  # ["",[],0,[],-1,8],
EVENT_BYTES = (
    120  # an event with up to `ROWS_PER_EVENT` rows of a table: {"ph":"M","name":"tinytrace",…
)
SAMPLE_BYTES = 3  # of the profile: the commas; the difference of two times
PROFILE_BYTES = 130  # {"ph":"P","name":"ProfileChunk",… of up to 1,000 samples
SAMPLES_PER_PROFILE = 1_000
NODE_BYTES = 72  # {"id":,"callFrame":{"functionName":"","url":":","scriptId":0},"parent":},
# {"ph":"X","cat":"samples","ts":,"dur":,"name":"","args":{"at":":"},"pid":,"tid":},
SLICE_BYTES = 83
COUNTER_BYTES = 69  # {"ph":"C","ts":,"args":{"value":},"cat":"counter","name":"","pid":},
FLOW_BYTES = 60  # a row of the table, and the ends on the spans' events
TRACK_BYTES = 130  # names and order of a process or thread, beside the name itself
STRING_BYTES = 3  # "",
LONG_ID = 10  # characters of an id that is not the system's
POWERS = 10 ** np.arange(1, 19)
Ints = NDArray[np.int64]


def text_bytes(texts: Iterable[str]) -> Ints:
    """Return the bytes of each text as JSON in UTF-8, without quotes."""
    return np.fromiter((_text_bytes(text) for text in texts), "i8")


def _text_bytes(text: str) -> int:
    if text.isascii() and text.isprintable():
        return len(text) + text.count('"') + text.count("\\")
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace")) - 2


def digits(values: Column) -> Ints:
    """Return how many characters each integer takes, its sign included.

    >>> digits(np.array([0, 9, 10, -10])).tolist()
    [1, 1, 2, 3]
    """
    length = np.searchsorted(POWERS, np.abs(values.astype("i8")), "right") + 1
    return np.asarray(length + (values < 0), "i8")


def _microseconds(t_ns: Column) -> Ints:
    """Characters of times as microseconds with three decimals: 0.001, 1234.567."""
    return np.maximum(digits(t_ns), 4) + 1


def padded(lengths: Ints) -> Ints:
    """Append 0 as the length for the id −1."""
    return np.append(lengths, 0).astype("i8")


def table_rows_bytes(table: Table) -> int:
    """Return the bytes of a table: its numbers, the names of its columns, the events around."""
    if not len(table):
        return 0
    numbers = sum(
        int(_value_bytes(column).sum() if column.dtype.kind == "f" else digits(column).sum())
        for _, column in table.columns()
    )
    heads = EVENT_BYTES + sum(len(name) + 6 for name, _ in table.columns())
    pieces = -(-len(table) // ROWS_PER_EVENT)
    return numbers + len(table) * len(table.DTYPES) + heads * pieces


def _value_bytes(values: Column, most: int = 10_000) -> NDArray[np.float64]:
    """Characters of floating-point numbers; of very many, the mean of some."""
    some = values[:: max(1, len(values) // most)].tolist()
    return np.full(len(values), sum(len(repr(value)) for value in some) / max(1, len(some)))


class SpanSizes:
    """What each span of a trace takes in the file.

    Args:
        trace: whose spans.
        strings: `text_bytes` of its strings.

    Attributes:
        bytes: int64 per span: its events, ends of flows, and its share of its key and arguments where
            it has arguments: with the last span that has them, they are gone from the file too.
        keys_bytes: of the keys of spans without arguments.
        arguments_bytes: of the strings that are arguments: they are in ``bytes``.
    """

    def __init__(self, trace: Trace, strings: Ints) -> None:
        spans = trace.spans
        text = padded(strings)
        has_arguments = spans.args_id >= 0
        keys, n_keys = span_keys(spans).of.astype("i8"), len(span_keys(spans).first)
        key_bytes: Ints = np.sum([digits(column) + 1 for column in _key_columns(spans)], axis=0)
        self.bytes = self._events(trace, text) + digits(keys)
        times = np.bincount(keys, minlength=n_keys)
        self.bytes[has_arguments] += -(-key_bytes // times[keys])[has_arguments]
        without = ~has_arguments
        first = np.zeros(n_keys, "i8")
        first[keys[without]] = key_bytes[without]
        self.keys_bytes = int(first.sum()) + EVENT_BYTES * min(n_keys, len(spans) // 16_384 + 1)
        args_id = spans.args_id[has_arguments].astype("i8")
        uses = np.bincount(args_id, minlength=len(strings))
        stored = strings + STRING_BYTES
        self.bytes[has_arguments] += -(-stored[args_id] // uses[args_id])
        self.arguments_bytes = int(stored[uses > 0].sum())
        np.add.at(self.bytes, trace.flows.from_span.astype("i8"), FLOW_BYTES)

    @staticmethod
    def _events(trace: Trace, text: Ints) -> Ints:
        spans = trace.spans
        shown = padded(_argument_bytes(trace))
        place = padded(_site_bytes(trace, text))
        pid, tid = _ids_bytes(trace)
        name = text[spans.name_id]
        kind = np.array([len(kind.name) for kind in Kind])[spans.kind]
        size = SPAN_BYTES + name + kind + pid[spans.thread] + tid[spans.thread]
        size += _microseconds(spans.start_ns - trace.start_ns) + _microseconds(spans.dur_ns)
        size += np.where(spans.step >= 0, STEP_BYTES + digits(spans.step), 0)
        size += shown[spans.args_id] + place[spans.callsite_id]
        for flag in (Flag.OPEN, Flag.RAISED):
            size += STATE_BYTES * (spans.flags & flag != 0)
        size += np.where(_has_strange_parent(spans), PARENT_BYTES + digits(spans.parent), 0)
        apart = spans.flags & Flag.DETACHED != 0
        size += apart * (APART_BYTES + name + kind)
        return np.asarray(size + _figures_bytes(trace), "i8")


def most_span_bytes(trace: Trace, strings: Ints) -> int:
    """Return what the spans of a trace take in the file at most, told from one span of each key.

    Args:
        trace: whose spans.
        strings: `text_bytes` of its strings.
    """
    spans = trace.spans
    if not len(spans):
        return 0
    keys = span_keys(spans)
    ones = dict(spans.take(keys.first).columns())
    ones |= {"parent": np.full(len(keys.first), -1)}
    for name in ("start_ns", "dur_ns", "step"):
        ones[name] = np.full(len(keys.first), getattr(spans, name).max())
    sizes = SpanSizes(replace(trace, spans=Spans(**ones), flows=Flows.empty()), strings)
    # What only the parents tell: an op with ops inside has two nulls for figures.
    told = INSIDE_BYTES + 2 * len("null") + PARENT_BYTES + len(str(len(spans)))
    times = np.bincount(keys.of, minlength=len(keys.first))
    new_keys = EVENT_BYTES * (len(spans) // 16_384 + 1)
    flows = FLOW_BYTES * len(trace.flows)
    return int(((sizes.bytes + told) * times).sum()) + sizes.keys_bytes + new_keys + flows


def _has_strange_parent(spans: Spans) -> NDArray[np.bool_]:
    """Per span: whether its parent is not the one that the times tell, and is written."""
    apart = (spans.kind == Kind.INSTANT) | (spans.dur_ns < 0) | (spans.flags & Flag.DETACHED != 0)
    told, _ = chrome_lines.nest(spans.thread, spans.start_ns, spans.dur_ns, apart.astype("u1"))
    return np.asarray(told != spans.parent, "?")


def _key_columns(spans: Spans) -> list[Column]:
    return [getattr(spans, name) for name in KEY]


def _figures_bytes(trace: Trace) -> Ints:
    """FLOPs, bytes, shapes and dtypes of each op."""
    spans = trace.spans
    counts = count_trace(trace)
    is_op = spans.kind == Kind.OP
    has = counts.leaf & (spans.flags & (Flag.RAISED | Flag.OPEN) == 0)
    size = np.where(is_op, FIGURE_BYTES, 0)
    for figures in (counts.flops, counts.bytes):
        known = np.append(np.where(figures < 0, 4, digits(figures)), 4)  # null
        size += is_op * np.where(has, known[spans.signature_id], 4)
    evaluations = counts.transcendentals
    told = np.append(np.where(evaluations > 0, EVALUATIONS_BYTES + digits(evaluations), 0), 0)
    size += has * told[spans.signature_id]
    size += np.where(is_op & ~counts.leaf, INSIDE_BYTES, 0)
    shown = padded(np.fromiter((_shown_bytes(s) for s in trace.signatures), "i8"))
    return np.asarray(size + is_op * shown[spans.signature_id], "i8")


def _argument_bytes(trace: Trace) -> Ints:
    """Per string, its bytes as the arguments of a span; 0 where it is not that."""
    used = np.zeros(len(trace.strings) + 1, "?")
    used[trace.spans.args_id] = True
    lengths = np.zeros(len(trace.strings), "i8")
    for number in np.flatnonzero(used[:-1]).tolist():
        lengths[number] = _one_argument_bytes(trace.strings[number])
    return lengths


def _one_argument_bytes(arguments: str) -> int:
    """Bytes of ``{"n": 1, "m": 2}`` as ``,"n":1,"m":2``."""
    if "\\" in arguments or not arguments.isascii():
        try:
            text = json.dumps(json.loads(arguments), ensure_ascii=False, separators=(",", ":"))
            return len(text.encode("utf-8", "replace")) - 1
        except (ValueError, RecursionError):
            return _text_bytes(arguments) + 14
    return len(arguments) - arguments.count('": ') - arguments.count(', "') - 1


def _site_bytes(trace: Trace, text: Ints) -> Ints:
    frames = trace.frames
    file = padded(text_bytes(_after_slash(name) for name in trace.strings))
    line = np.where(frames.line > 0, digits(frames.line) + 1, 0)
    return SITE_BYTES + file[frames.file_id] + line + text[frames.name_id] + (frames.name_id >= 0)


def _after_slash(path: str) -> str:
    """Return the last part of a path."""
    return path[path.rfind("/") + 1 :]


def _ids_bytes(trace: Trace) -> tuple[Ints, Ints]:
    """Characters of the process's and of the thread's id, per thread."""
    pid = np.append(_id_bytes(trace.processes.pid), LONG_ID)
    return pid[trace.threads.process], _id_bytes(trace.threads.tid)


def _id_bytes(ids: Column) -> Ints:
    """Characters of ids; one that was there before is written as another, long one."""
    told: set[int] = set()
    lengths = []
    for number in ids.tolist():
        lengths.append(LONG_ID if number in told else len(str(number)))
        told.add(number)
    return np.array(lengths, "i8")


def _shown_bytes(signature: Signature) -> int:
    """``,"shapes":[[2,3],[3]],"dtypes":["float64","float64"]``."""
    operands = sum(
        len(o.dtype) + 6 + sum(len(str(n)) for n in o.shape) + max(0, len(o.shape) - 1)
        for o in signature.operands
    )
    attributes = _text_bytes(signature.attributes) + 16 if "->" in signature.attributes else 0
    return 24 - 2 * bool(signature.operands) + operands + attributes


def counter_bytes(trace: Trace, strings: Ints, *, in_table: bool = True) -> Ints:
    """Return the bytes that each value of a counter takes in the file.

    Args:
        trace: whose counters.
        strings: `text_bytes` of its strings.
        in_table: also those of its row in the table.
    """
    series, counters = trace.series, trace.counters
    name_bytes = strings[series.name_id] + padded(strings)[series.unit_id] * (
        strings[series.unit_id] > 2
    )
    pid = np.append(_id_bytes(trace.processes.pid), LONG_ID)[series.process]
    value = _value_bytes(counters.value)
    size = COUNTER_BYTES + (name_bytes + pid)[counters.series_id] + value
    size += _microseconds(counters.t_ns - trace.start_ns)
    size[~np.isfinite(counters.value)] = 0  # they have a row in the table and no event
    if in_table:
        size += digits(counters.t_ns) + digits(counters.series_id) + value + 3
    return np.asarray(size, "i8")


class SampleSizes:
    """Sizes of samples of one trace; what they share is found once.

    Args:
        trace: whose stacks the samples refer to.
        strings: `text_bytes` of its strings.
    """

    def __init__(self, trace: Trace, strings: Ints) -> None:
        self._begin_ns = trace.start_ns
        self._depth, self._parent, self._node, slice_bytes = _function_tree(trace, strings)
        pid, _ = _ids_bytes(trace)
        tid = trace.threads.tid + 1  # its track of samples; what is taken gets a long number
        self._ids_bytes = pid + np.where(np.isin(tid, trace.threads.tid), LONG_ID, digits(tid))
        # Bytes of the slices of a stack of functions, one within the other, from the root on.
        self._path_bytes = slice_bytes.astype("i8")
        for node in range(1, len(slice_bytes)):  # parents come first
            self._path_bytes[node] += self._path_bytes[self._parent[node]]

    def bytes(self, samples: Samples) -> int:
        """Return the bytes of the rows of these samples and of the slices drawn from them."""
        if not len(samples):
            return 0
        profile = digits(samples.stack_id + 1) + digits(samples.weight_ns // 1000) + SAMPLE_BYTES
        chunks = len(samples) // SAMPLES_PER_PROFILE + 2 * len(distinct(samples.thread))
        return (
            table_rows_bytes(samples)
            + int(profile.sum())
            + PROFILE_BYTES * chunks
            + self._slices_bytes(samples.take(samples.weight_ns > 0))
        )

    def _slices_bytes(self, samples: Samples) -> int:
        """A slice is written for each function that the next snapshot of the thread has left."""
        if not len(samples):
            return 0
        here = self._node[samples.stack_id]
        follows = samples.thread[1:] == samples.thread[:-1]
        follows &= (samples.t_ns - samples.weight_ns)[1:] <= samples.t_ns[:-1]
        after = np.append(np.where(follows, here[1:], 0), 0)
        codes = here * len(self._depth) + after
        first, index = numbered(codes)
        pairs, times = codes[first], np.bincount(index)
        mine, other = np.divmod(pairs, len(self._depth))
        shared = self._shared(mine, other)
        left_bytes = self._path_bytes[mine] - self._path_bytes[shared]
        left = self._depth[mine] - self._depth[shared]
        times_bytes = _microseconds(samples.t_ns - self._begin_ns).mean()
        times_bytes += _microseconds(samples.weight_ns).mean()
        times_bytes += self._ids_bytes[samples.thread].mean()
        return int(((left_bytes + left * times_bytes) * times).sum())

    def _shared(self, mine: Ints, other: Ints) -> Ints:
        """The deepest stack of functions that two have in common."""
        mine, other = mine.copy(), other.copy()
        rows = np.flatnonzero(mine != other)
        while len(rows):
            a, b = mine[rows], other[rows]
            depth_a, depth_b = self._depth[a], self._depth[b]
            mine[rows] = np.where(depth_a >= depth_b, self._parent[a], a)
            other[rows] = np.where(depth_b >= depth_a, self._parent[b], b)
            rows = rows[mine[rows] != other[rows]]
        return mine


def _function_tree(trace: Trace, strings: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The tree of stacks by function: depth, parent and bytes per node (0 is the root), node per stack."""
    stacks, frames = trace.stacks, trace.frames
    functions = list(zip(frames.name_id.tolist(), frames.file_id.tolist(), strict=True))
    text = padded(strings)
    file = padded(text_bytes(_after_slash(name) for name in trace.strings))
    sizes = (
        SLICE_BYTES + text[frames.name_id] + file[frames.file_id] + digits(frames.line)
    ).tolist()
    frame_ids, parents = stacks.frame_id.tolist(), stacks.parent.tolist()
    nodes: dict[tuple[int, tuple[int, int]], int] = {}
    depth, parent, size = [0], [0], [0]
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
                size.append(sizes[frame_ids[one]])
            above = node_of[one] = nodes[key]
    return np.array(depth, "i8"), np.array(parent, "i8"), np.array(node_of, "i8"), np.array(size)


def table_bytes(trace: Trace, strings: Ints) -> int:
    """Return the bytes of all but events: names, places, stacks, signatures, metadata."""
    tables: tuple[Any, ...] = (
        trace.frames, trace.stacks, trace.processes, trace.threads, trace.series, trace.aggregates,
    )  # fmt: skip
    signatures = sum(
        SIGNATURE_BYTES + len(s.op) + _text_bytes(s.attributes)
        + sum(
            OPERAND_BYTES + len(o.dtype) + len(str(o.alias)) + len(str(o.itemsize)) - 3
            + sum(len(str(n)) + 1 for n in (*o.shape, *o.strides))
            for o in s.operands
        )
        for s in trace.signatures
    )  # fmt: skip
    pieces = len(strings) // ROWS_PER_EVENT + len(trace.signatures) // ROWS_PER_EVENT
    names = strings[trace.threads.name_id].sum() + strings[trace.processes.name_id].sum()
    return (
        EVENT_BYTES * (7 + pieces)
        + int(strings.sum())
        + STRING_BYTES * len(strings)
        + len(json.dumps(trace.meta, separators=(",", ":")))
        + int(text_bytes(trace.warnings).sum())
        + signatures
        + sum(map(table_rows_bytes, tables))
        + _nodes_bytes(trace, padded(strings))
        + TRACK_BYTES * (len(trace.processes) + len(trace.threads))
        + int(names)
    )


def _nodes_bytes(trace: Trace, text: Ints) -> int:
    """The stacks as nodes of the profiles: each once per thread that was seen in it."""
    frames, stacks, samples = trace.frames, trace.stacks, trace.samples
    node = (
        NODE_BYTES
        + (text[frames.name_id] + text[frames.file_id] + digits(frames.line))[stacks.frame_id]
    )
    node = node + 2 * digits(np.arange(len(stacks)))
    total = 0
    for thread in distinct(samples.thread).tolist():
        seen = np.zeros(len(stacks) + 1, "?")
        rows = distinct(samples.stack_id[samples.thread == thread])
        while len(rows):
            seen[rows] = True
            rows = distinct(stacks.parent[rows[rows >= 0]])
            rows = rows[~seen[rows] & (rows >= 0)]
        total += int(node[seen[:-1]].sum()) + 2 * TRACK_BYTES
    return total
