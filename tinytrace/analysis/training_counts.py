"""What a training program did, in numbers that are the same on every machine: to be graded by.

Nothing here is a time. Work is counted from shapes (docs/counting.md); calls of layers and nodes are those that were
recorded (docs/frameworks.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.counting import TraceCounts
from tinytrace.analysis.op_parts import NOT_KNOWN, OpParts, op_parts
from tinytrace.tracer.groups import group_ids, numbered, sums
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace
from tinytrace.tracer.trees import inherited

ARROW = "forward to backward"  # the kind of arrows from what made a node to its backward
FRAMEWORK = (Kind.LAYER, Kind.FORWARD, Kind.BACKWARD, Kind.OPTIMIZER)
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Work:
    """Of operations in which no other ran.

    Attributes:
        ops: calls.
        flops, bytes: of those that are counted.
        uncounted: calls without a formula for their FLOPs, or that did not end normally.
    """

    ops: int
    flops: int
    bytes: int
    uncounted: int


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """A layer.

    Attributes:
        path: where it is in the outermost one, ``blocks.2.attn.q_proj``; of that one, its class.
        cls: its class.
        trainable: how many tensors it has itself that want a gradient; None: not known.
        calls: of its forward.
        forward: what ran in them, and in no layer inside.
        backward: what ran in the backward of nodes that were made there.
        reached: calls of these.
    """

    path: str
    cls: str
    trainable: int | None
    calls: int
    forward: Work
    backward: Work
    reached: int


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Nodes of one sort.

    Attributes:
        name: of their class.
        nodes: how many different ones were visited, of those whose forward was seen.
        calls: of their backward.
    """

    name: str
    nodes: int
    calls: int


@dataclass(frozen=True, slots=True)
class TrainingCounts:
    """The counts of a program that trains, or that just runs layers.

    Attributes:
        work: of all operations.
        layer_calls, batches, optimizer_steps, backward_passes: how often.
        backward_calls: of nodes, in all backward passes.
        backward_nodes: different nodes, per backward pass; None: not known, since arrows are missing.
        without_forward: backward calls of nodes whose forward was not seen; they are in no ``backward_nodes``.
        nodes: by class, those with most calls first.
        layers: in order of their first call.
        is_complete: no span and no arrow is missing or known as a sum only.
    """

    work: Work
    layer_calls: int
    batches: int
    optimizer_steps: int
    backward_passes: int
    backward_calls: int
    backward_nodes: int | None
    without_forward: int
    nodes: tuple[NodeCounts, ...]
    layers: tuple[LayerCounts, ...]
    is_complete: bool


@dataclass(frozen=True, eq=False)
class Passes:
    """What belongs to what in a training program; one entry per span.

    Attributes:
        layer: the innermost layer around it, a row; −1: none.
        made_in: of a backward, and what ran in it, the span that made its node, a row; −1: not known.
        walk: of these, the backward pass as a whole, a row; −1: none.
        is_node: whether it is the backward of a node.
    """

    layer: Ints
    made_in: Ints
    walk: Ints
    is_node: NDArray[np.bool_]


def passes_of(trace: Trace) -> Passes:
    """Return what belongs to what.

    Example:
        >>> passes_of(Trace()).layer.tolist()
        []
    """
    spans, flows = trace.spans, trace.flows
    row = np.arange(len(spans))
    is_backward = spans.kind == Kind.BACKWARD.value
    is_walk = is_backward & _walk_names(trace)[spans.name_id]
    source = np.full(len(spans), -1)
    arrows = np.flatnonzero(flows.kind_id == _string(trace, ARROW))
    source[flows.to_span[arrows]] = flows.from_span[arrows]
    return Passes(
        layer=inherited(np.where(spans.kind == Kind.LAYER.value, row, -1), spans.parent),
        made_in=inherited(np.where(is_backward, source, -1), spans.parent),
        walk=inherited(np.where(is_walk, row, -1), spans.parent),
        is_node=np.asarray(is_backward & ~is_walk),
    )


def _walk_names(trace: Trace) -> NDArray[np.bool_]:
    """Per string whether it names a backward pass as a whole: ``Tensor.backward``; nodes are called by their class."""
    return np.array([text.endswith(".backward") for text in trace.strings] + [False], "?")


def _string(trace: Trace, text: str) -> int:
    return trace.strings.index(text) if text in trace.strings else -2


def training_counts(counts: TraceCounts) -> TrainingCounts | None:
    """Return the counts; None: nothing of a framework was recorded.

    Args:
        counts: of the trace.
    """
    trace = counts.trace
    spans, folded = trace.spans, trace.aggregates
    kinds = np.bincount(spans.kind, minlength=len(Kind))
    kinds += sums(folded.kind.astype("i8"), len(kinds), folded.count)
    if not kinds[list(FRAMEWORK)].sum():
        return None
    passes = passes_of(trace)
    walks = _walks(trace)
    nodes, matched = _nodes(trace, passes)
    # Modules of PyTorch are layers, too: what is run backward in them no arrow tells.
    layers = tuple(layer for layer in _layers(counts, passes) if layer.cls)
    if not layers and not kinds[Kind.FORWARD]:
        return None
    audit = trace.meta.get("audit")
    lost = audit if isinstance(audit, dict) else {}
    missing = any(
        lost.get(key) for key in ("folded_spans", "dropped", "folded_flows", "dropped_flows")
    )
    is_complete = not len(folded) and not missing
    calls = int(kinds[Kind.BACKWARD]) - walks
    return TrainingCounts(
        work=_work(op_parts(counts), None)[0],
        layer_calls=int(kinds[Kind.LAYER]),
        batches=int(kinds[Kind.DATA]),
        optimizer_steps=int(kinds[Kind.OPTIMIZER]),
        backward_passes=walks,
        backward_calls=calls,
        backward_nodes=sum(node.nodes for node in nodes) if is_complete else None,
        without_forward=int(passes.is_node.sum()) - matched,
        nodes=nodes,
        layers=layers,
        is_complete=is_complete,
    )


def _walks(trace: Trace) -> int:
    walks, spans, folded = _walk_names(trace), trace.spans, trace.aggregates
    whole = (spans.kind == Kind.BACKWARD.value) & walks[spans.name_id]
    summed = (folded.kind == Kind.BACKWARD.value) & walks[folded.name_id]
    return int(whole.sum()) + int(folded.count[summed].sum())


def _nodes(trace: Trace, passes: Passes) -> tuple[tuple[NodeCounts, ...], int]:
    """By class; and how many backward calls have an arrow."""
    rows = np.flatnonzero(passes.is_node)
    name = trace.spans.name_id[rows]
    has_arrow = np.zeros(len(trace.spans), "?")
    has_arrow[trace.flows.to_span] = True
    found = []
    for i in numbered(name)[0].tolist():
        mine = rows[name == name[i]]
        made = mine[has_arrow[mine]]
        visits = group_ids([passes.made_in[made], passes.walk[made]])[1] if len(made) else 0
        found.append(NodeCounts(trace.strings[int(name[i])], visits, len(mine)))
    found.sort(key=lambda node: (-node.calls, node.name))
    return tuple(found), int(has_arrow[rows].sum())


def _layers(counts: TraceCounts, passes: Passes) -> tuple[LayerCounts, ...]:
    trace = counts.trace
    spans = trace.spans
    rows = np.flatnonzero(spans.kind == Kind.LAYER.value)
    if not len(rows):
        return ()
    ids, n = group_ids([spans.name_id[rows], spans.args_id[rows]])
    group = np.full(len(spans) + 1, NOT_KNOWN)
    group[rows] = ids
    forward = group[passes.layer]
    made = passes.made_in
    backward = np.where(made >= 0, group[np.append(passes.layer, -1)[made]], NOT_KNOWN)
    # Of a span in a backward pass the layer is that of its node, and not one that calls ``backward``.
    extra = np.where(made >= 0, np.where(backward >= 0, n + backward, NOT_KNOWN), forward)
    work = _work(op_parts(counts, extra), 2 * n)
    reached = np.bincount(backward[passes.is_node & (backward >= 0)], minlength=n)
    first = np.full(n, len(spans))
    np.minimum.at(first, ids, rows)
    order = np.argsort(spans.start_ns[first], kind="stable")
    found = []
    for i in order.tolist():
        told = _arguments(trace, int(spans.args_id[first[i]]))
        cls, trainable = told.get("class"), told.get("trainable")
        found.append(
            LayerCounts(
                path=trace.strings[int(spans.name_id[first[i]])],
                cls=cls if isinstance(cls, str) else "",
                trainable=trainable if type(trainable) is int else None,
                calls=int((ids == i).sum()),
                forward=work[i],
                backward=work[n + i],
                reached=int(reached[i]),
            )
        )
    return tuple(found)


def _arguments(trace: Trace, args_id: int) -> dict[str, object]:
    try:
        told = json.loads(trace.strings[args_id]) if args_id >= 0 else {}
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _work(parts: OpParts, groups: int | None) -> Sequence[Work]:
    """Work of all parts, or by their ``extra``: 0 … groups − 1."""
    ids = np.zeros(len(parts), "i8") if groups is None else parts.extra
    totals = [[0, 0, 0, 0] for _ in range(groups or 1)]
    columns = parts.leaves, np.nan_to_num(parts.flops), np.nan_to_num(parts.bytes), parts.uncounted
    # Some hundred parts: Python's integers are exact whatever they come to, in whatever order.
    for group, *figures in zip(ids.tolist(), *(column.tolist() for column in columns), strict=True):
        if group >= 0:
            totals[group] = [a + int(b) for a, b in zip(totals[group], figures, strict=True)]
    return [Work(*total) for total in totals]
