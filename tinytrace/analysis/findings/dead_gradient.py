"""Layers with parameters that the backward pass never comes to: the graph is cut behind them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case, Ints
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import listed
from tinytrace.analysis.training_counts import LayerCounts, passes_of, training_counts

NAME = "no gradient arrives"
MOST = 5  # layers that are named


def find(case: Case) -> Iterator[Finding]:
    """Layers with trainable tensors that ran before backward passes, of which none came to them; no ceiling."""
    if not len(case.trace.flows):
        return
    counts = training_counts(case.parts.counts)
    if counts is None or not counts.is_complete:
        return
    rows = _before_passes(case)
    dead = [
        (layer, mine)
        for layer in counts.layers
        if layer.trainable and not layer.reached and len(mine := _of(case, rows, layer))
    ]
    if not dead or not any(layer.reached and layer.trainable for layer in counts.layers):
        return
    layer, mine = dead[0]
    spans = case.trace.spans
    reached = [x.path for x in counts.layers if x.trainable and x.reached]
    frame = _inside(case, mine)
    yield case.finding(
        NAME,
        frame,
        f"{listed([x.path for x, _ in dead][:MOST])} {'gets' if len(dead) == 1 else 'get'} no gradient",
        evidence=(
            f"{layer.path} ({layer.cls}) ran {len(mine):,} times before backward passes, has "
            f"{layer.trainable} trainable tensor{'s' if layer.trainable != 1 else ''}, and none of its nodes was run",
            f"{counts.backward_calls:,} backward calls came to {listed(reached[:MOST])}",
            f"first called in span {int(mine[0])}, for {int(spans.dur_ns[mine].sum()) / 1e6:.3g} ms in all",
        ),
        ceiling_ns=None,
        confidence="medium",
        why="that it is kept as it is on purpose cannot be excluded",
        remedy="A tensor that is made anew of another's data knows nothing of what it was made of. Keep the node: let "
        "the operation that makes the result set its gradient function.",
        code="result = Tensor(out)\nresult.requires_grad = x.requires_grad\nresult._grad_fn = ConvBackward(x, weight)",
    )


def _before_passes(case: Case) -> Ints:
    """Outermost calls of layers after which, and before the next optimizer step, something was run backward."""
    from tinytrace.tracer.records import Kind

    spans = case.trace.spans
    passes = passes_of(case.trace)
    rows = np.flatnonzero(spans.kind == Kind.LAYER.value)
    walks = np.unique(passes.walk[passes.is_node & (passes.walk >= 0)])
    last_ns = int(spans.start_ns[walks].max(initial=-1))
    return np.asarray(rows[spans.start_ns[rows] < last_ns], "i8")


def _of(case: Case, rows: Ints, layer: LayerCounts) -> Ints:
    names = case.trace.strings
    mine = [names[i] == layer.path for i in case.trace.spans.name_id[rows].tolist()]
    return np.asarray(rows[np.array(mine, "?")], "i8")


def _inside(case: Case, mine: Ints) -> int:
    """A place in the layer: of the last operation that ran in its first call; else where it was called from."""
    spans = case.trace.spans
    first = int(mine[0])
    end_ns = int(spans.start_ns[first] + spans.dur_ns[first])
    inner = np.arange(first + 1, len(spans))
    inner = inner[(spans.thread[inner] == spans.thread[first]) & (spans.start_ns[inner] < end_ns)]
    return int(spans.callsite_id[inner[-1] if len(inner) else first])
