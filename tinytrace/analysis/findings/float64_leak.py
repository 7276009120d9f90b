"""float64 where the inputs were float32: the op that first widened."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case, Ints, Mask
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, listed, time
from tinytrace.analysis.places import place
from tinytrace.analysis.training_counts import passes_of
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Operand, Signature

NAME = "float64 out of float32"
MIN_ELEMENTS = (
    1_000  # smaller arrays cost the same in both widths: what surrounds the call takes longer
)
HALF = 0.5  # float64 moves twice the bytes and fills vector registers with half as many numbers
# That they convert is what these are for, or the result is as wide as the caller said.
ASKED_FOR = frozenset(["astype", "array", "asarray", "copyto", "setitem", "full", "full_like"])


def find(case: Case) -> Iterator[Finding]:
    """One finding: the first op that made float64 out of float32; ceiling: half of all float64 work that follows."""
    widening = case.where(_widens)
    if not widening.any():
        return
    starts = _first_ns(case, widening)
    first = int(np.argmin(np.where(widening, starts, np.iinfo("i8").max)))
    signature = case.signature(first)
    culprit = _culprit(signature)
    wide = case.where(_is_wide) & (_last_ns(case) >= starts[first])
    wide_ns = int(case.parts.self_ns[wide].sum())
    frame = int(case.parts.callsite_id[first])
    others = [place(case.trace, site.frame) or "?" for site in case.sites(widening)]
    sure = culprit is not None and not culprit.shape
    yield case.finding(
        NAME,
        frame,
        f"{signature.op} makes float64 out of float32 in {case.function(frame)}, and what follows stays so",
        evidence=(
            f"{signature.op}: {' and '.join(array(o) for o in signature.inputs)} give {array(signature.outputs[0])}",
            f"{int(case.parts.calls[wide].sum()):,} calls on float64 arrays from then on take {time(wide_ns)}",
            f"widened at {listed(others)}",
            *_in_framework(case, first),
        ),
        ceiling_ns=HALF * wide_ns,
        confidence="high" if sure else "medium",
        why="a float64 scalar met a float32 array"
        if sure
        else "a wider array met a float32 array; that it has to be so wide cannot be excluded",
        remedy="Keep the other operand as narrow as the array. float64 takes twice the memory and half the speed. "
        + ("NumPy's own scalars are float64 and widen; Python's float does not." if sure else ""),
        code=_code(culprit),
        parts=np.flatnonzero(wide),
    )


def _in_framework(case: Case, part: int) -> Iterator[str]:
    """Where it came in, by layers and nodes: of the first of these calls."""
    parts, trace = case.parts, case.trace
    rows = parts.rows[parts.part_of == part]
    if not len(rows):
        return
    row = int(rows[np.argmin(trace.spans.start_ns[rows])])
    passes = passes_of(trace)
    made, layer = int(passes.made_in[row]), int(passes.layer[row])
    names = [trace.strings[int(trace.spans.name_id[at])] for at in (made, layer) if at >= 0]
    if made >= 0:
        inside = int(passes.layer[made])
        of = "" if inside < 0 else f" of layer {trace.strings[int(trace.spans.name_id[inside])]}"
        yield f"it came in first in the backward of {names[0]}{of}"
    elif layer >= 0:
        yield f"it came in first in the forward of layer {names[0]}"


def _widens(signature: Signature) -> bool:
    """Whether a float32 array went in and a new float64 array came out, without anyone asking for it."""
    if signature.op in ASKED_FOR or "dtype=" in signature.attributes or not signature.outputs:
        return False
    out = signature.outputs[0]
    arrays = [o for o in signature.inputs if o.is_array and o.shape]
    narrow = any(o.dtype == "float32" and o.elements >= MIN_ELEMENTS for o in arrays)
    return narrow and out.dtype == "float64" and out.alias < 0 and out.elements >= MIN_ELEMENTS


def _is_wide(signature: Signature) -> bool:
    return any(
        o.is_array and o.dtype == "float64" and o.elements >= MIN_ELEMENTS
        for o in signature.operands
    )


def _culprit(signature: Signature) -> Operand | None:
    """The input that made it wider: a scalar rather than an array."""
    wider = [o for o in signature.inputs if o.dtype not in ("float32", "float", "int", "bool")]
    return min(wider, key=lambda operand: len(operand.shape), default=None)


def _first_ns(case: Case, mask: Mask) -> Ints:
    """Per part when its first call began."""
    parts, spans = case.parts, case.trace.spans
    first = np.full(len(parts), np.iinfo("i8").max)
    np.minimum.at(first, parts.part_of, spans.start_ns[parts.rows])
    folded = case.trace.aggregates.start_ns[_folded_rows(case)]
    first[parts.folded] = folded
    first[~mask] = np.iinfo("i8").max
    return np.asarray(first, "i8")


def _last_ns(case: Case) -> Ints:
    """Per part when its last call began."""
    parts, spans = case.parts, case.trace.spans
    last = np.zeros(len(parts), "i8")
    np.maximum.at(last, parts.part_of, spans.start_ns[parts.rows])
    last[parts.folded] = case.trace.aggregates.end_ns[_folded_rows(case)]
    return last


def _folded_rows(case: Case) -> Ints:
    return np.flatnonzero(case.trace.aggregates.kind == Kind.OP)


def _code(culprit: Operand | None) -> str:
    if culprit is not None and not culprit.shape:
        return "SCALE = float(np.sqrt(2 / np.pi))  # a Python float takes on the width of the array"
    return "other = other.astype(np.float32)  # once, where it is made: np.zeros(shape, dtype=np.float32)"
