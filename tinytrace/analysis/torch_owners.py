"""Which layer and which line of the program operations of torch belong to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.op_groups import LAYERS
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Spans
from tinytrace.tracer.trees import inherited

Ints = NDArray[np.int64]
ARROW = "fwdbwd"  # torch.profiler's name of the arrow from a forward operation to its node
EVALUATE = "autograd::engine::evaluate_function: "
NONE = -1
TORCH_MODULE = '{"module": "torch.'  # what a layer of torch's own has as its arguments


def with_layers(
    spans: Spans, strings: Sequence[str], string: Callable[[str], int], arrows: tuple[Ints, Ints]
) -> Spans:
    """Return the spans with each node that a layer's forward operation leads to as a span of that layer.

    What torch calls ``autograd::engine::evaluate_function: AddmmBackward0`` is a span ``blocks.0.mlp.0 backward``
    of kind BACKWARD, with ``{"node": "AddmmBackward0"}``: the operations in it are the layer's. It has the call
    site of the forward operation.

    Args:
        spans: nested.
        strings: of the trace.
        string: gives further ones their numbers.
        arrows: from forward operations to nodes, rows.
    """
    forward, node = arrows
    evaluates = np.array([text.startswith(EVALUATE) for text in strings], "?")
    above = spans.parent[node]
    whole = (above >= 0) & evaluates[spans.name_id[above]]
    layers = np.where(np.isin(spans.kind, LAYERS), spans.name_id, NONE).astype(np.int64)
    layer = np.asarray(inherited(layers, spans.parent), np.int64)[forward]
    whole &= layer >= 0
    rows, forward, layer = above[whole], forward[whole], layer[whole]
    names = {i: string(f"{strings[i]} backward") for i in np.unique(layer).tolist()}
    texts = {
        i: string(json.dumps({"node": strings[i].removeprefix(EVALUATE)}))
        for i in np.unique(spans.name_id[rows]).tolist()
    }
    columns = {name: column.copy() for name, column in spans.columns()}
    columns["kind"][rows] = Kind.BACKWARD
    columns["args_id"][rows] = [texts[i] for i in spans.name_id[rows].tolist()]
    columns["signature_id"][rows] = NONE
    columns["callsite_id"][rows] = spans.callsite_id[forward]
    columns["name_id"][rows] = [names[i] for i in layer.tolist()]
    return Spans(**columns)


def with_call_sites(spans: Spans, strings: Iterable[str], unknown: int) -> Spans:
    """Give operations the line of the program that called the module of torch's own (or the optimizer) around them.

    In the backward pass, that of the forward operation. The line inside a module of the program's own is not known.

    Args:
        spans: nested.
        strings: of the trace.
        unknown: a number that is no frame's.
    """
    torchs = {row for row, text in enumerate(strings) if text.startswith(TORCH_MODULE)}
    stops = np.isin(spans.kind, (*LAYERS, Kind.STEP))
    knows = np.isin(spans.kind, (Kind.OPTIMIZER, Kind.DATA, Kind.BACKWARD)) | (
        (spans.kind == Kind.LAYER) & np.isin(spans.args_id, list(torchs))
    )
    own = np.where(stops, np.where(knows, spans.callsite_id, unknown), spans.callsite_id)
    own = np.where(stops & (own < 0), unknown, own)
    found = inherited(own.astype(np.int64), spans.parent)
    found[found == unknown] = -1
    site = np.where((spans.callsite_id < 0) & (spans.kind == Kind.OP), found, spans.callsite_id)
    return Spans(**{**dict(spans.columns()), "callsite_id": site})
