"""Batches that are put together sample by sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case, Ints, Site
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import listed, time
from tinytrace.analysis.operands import is_foreign, is_truncated
from tinytrace.analysis.places import place
from tinytrace.tracer.groups import group_ids, sums
from tinytrace.tracer.trace import Signature

NAME = "samples put together one by one"
JOINS = frozenset(["stack", "concatenate", "vstack", "hstack", "column_stack", "dstack"])
MANY = 8  # pieces of one batch: fewer are joined on purpose
PIECE_BYTES = 64 << 10  # of larger pieces the copy takes longer than what surrounds it
TAKES = frozenset(
    ["array", "asarray", "astype", "copy", "getitem", "take", "ascontiguousarray", "reshape"]
)


def find(case: Case) -> Iterator[Finding]:
    """Joins of many small arrays; ceiling: they, the ops that made the pieces, and the Python around both."""
    parts = case.parts
    for site in case.sites(_joins(case)):
        lines = case.trace.frames.line
        here = case.function_of[parts.callsite_id] == site.function_id
        here &= case.sited & (lines[parts.callsite_id] == lines[site.frame])
        pieces = _pieces(case, site)
        here[pieces] = True
        spent_ns = int(parts.self_ns[here].sum())
        makers = np.unique(np.append(case.function_of[parts.callsite_id[pieces]], site.function_id))
        makers = makers[case.is_function(makers)]
        python_ns = case.between_ns(makers)
        frames = np.unique(parts.callsite_id[pieces])
        evidence = [f"{_joins_made(case, site):,} joins of {MANY} and more small arrays each"]
        if len(pieces):
            evidence.append(
                f"{int(parts.calls[pieces].sum()):,} calls make the pieces, at "
                + listed(place(case.trace, int(frame)) or "?" for frame in frames)
            )
        evidence.append(f"{time(spent_ns)} in these ops, {time(python_ns)} of Python between them")
        yield case.finding(
            NAME,
            site.frame,
            f"{case.function(site.frame)} puts batches together from single samples",
            evidence=evidence,
            ceiling_ns=spent_ns + python_ns,
            confidence="high" if len(pieces) else "medium",
            why="the pieces are made one by one, and joined"
            if len(pieces)
            else "where the pieces come from is not seen",
            remedy="Keep the samples in one array and take a batch by one index.",
            code="batch = images[order[begin : begin + size]]",
        )


def _joins(case: Case) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Parts that join many small arrays: the outer call, whether or not ops ran inside."""
    passed = np.array([*(_is_join(s) for s in case.trace.signatures), False], "?")
    mine = passed[case.parts.signature_id] & case.sited
    return np.asarray(mine, "?")


def _joins_made(case: Case, site: Site) -> int:
    """How many joins: stack calls concatenate, which is one of the same pieces."""
    ids, n = group_ids([case.parts.name_id[site.parts]])
    return int(sums(ids, n, case.parts.calls[site.parts]).max(initial=0))


def _is_join(signature: Signature) -> bool:
    from_list = signature.op == "array" and any(map(is_foreign, signature.inputs))
    if from_list:
        return False  # a list of numbers looks the same as a list of arrays
    pieces = signature.inputs
    many = len(pieces) >= MANY or (is_truncated(signature) and len(pieces) > 1)
    small = all(o.elements * o.itemsize <= PIECE_BYTES for o in pieces if o.is_array)
    return signature.op in JOINS and many and small


def _pieces(case: Case, site: Site) -> Ints:
    """Parts that take or copy, in the file of the join or in one function with it, many times per join."""
    parts, frames = case.parts, case.trace.frames
    joins = max(1, _joins_made(case, site))
    takes = np.isin(case.op.astype(str), list(TAKES)) & case.leaf
    same_file = frames.file_id[parts.callsite_id] == frames.file_id[site.frame]
    return np.flatnonzero(takes & case.sited & same_file & (parts.calls >= MANY * joins))
