"""Layers with parameters that the backward pass never comes to: the graph is cut behind them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case, Ints
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import listed
from tinytrace.analysis.training_counts import passes_of, training_counts
from tinytrace.tracer.groups import distinct
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trees import depth_and_last

NAME = "no gradient arrives"


def find(case: Case) -> Iterator[Finding]:
    """Layers with trainable tensors that ran before a backward pass, of which none came to them; no ceiling."""
    counts = training_counts(case.parts.counts) if len(case.trace.flows) else None
    if counts is None or not counts.is_complete:
        return
    trainable = [layer for layer in counts.layers if layer.trainable]
    reached = [layer.path for layer in trainable if layer.reached]
    ran = _ran_before(case)
    dead = [layer for layer in trainable if not layer.reached and layer.path in ran]
    if not dead or not reached:
        return
    layer = dead[0]
    rows = ran[layer.path]
    tensors = (
        "1 trainable tensor" if layer.trainable == 1 else f"{layer.trainable} trainable tensors"
    )
    frame = _inside(case, int(rows[0]))
    yield case.finding(
        NAME,
        frame,
        f"{listed(other.path for other in dead)} {'get' if len(dead) > 1 else 'gets'} no gradient",
        evidence=(
            f"{layer.path} ({layer.cls}) has {tensors} and ran {len(rows):,} times before a backward pass, "
            "which ran no node that was made in it",
            f"{counts.backward_calls:,} backward calls came to {listed(reached)}",
        ),
        ceiling_ns=None,
        won="a gradient",
        confidence="medium",
        why="every node and its backward was recorded; that the layer is to stay as it is cannot be excluded",
        remedy="A tensor that is made anew from another's data knows nothing of what it was made of: let the operation "
        "that makes the result also give it the function that made it.",
        code="result = Tensor(out, requires_grad=x.requires_grad)\nresult._grad_fn = ConvBackward(x, weight)",
    )


def _ran_before(case: Case) -> dict[str, Ints]:
    """Calls of layers that began before the last backward pass, by path."""
    spans, passes = case.trace.spans, passes_of(case.trace)
    walks = passes.walk[passes.is_node & (passes.walk >= 0)]
    last_ns = int(spans.start_ns[walks].max(initial=-1))
    rows = np.flatnonzero((spans.kind == Kind.LAYER.value) & (spans.start_ns < last_ns))
    names = spans.name_id[rows]
    return {case.trace.strings[i]: rows[names == i] for i in distinct(names).tolist()}


def _inside(case: Case, row: int) -> int:
    """The place of the last operation of a call, in its ``forward`` if there is one; else that of the call."""
    spans = case.trace.spans
    last = int(depth_and_last(spans.parent)[1][row])
    frames = spans.callsite_id[row + 1 : last + 1][::-1].tolist()
    of_forward = (f for f in frames if case.function(f).rpartition(".")[2] == "forward")
    return int(next(of_forward, frames[0] if frames else spans.callsite_id[row]))
