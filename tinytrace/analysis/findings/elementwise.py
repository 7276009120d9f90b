"""Operations element by element that return a new array each: what the rules about temporaries share."""

from __future__ import annotations

from functools import cache

import numpy as np

from tinytrace.analysis.findings.case import Case, Mask, Site

IN_PLACE = (
    0.5  # of the calls of a function write into memory that is there: its author knows about out=
)


@cache
def is_elementwise(op: str) -> bool:
    """Whether an op computes every element of its result from the elements at the same place.

    Example:
        >>> is_elementwise("tanh"), is_elementwise("add.reduce"), is_elementwise("matmul")
        (True, False, False)
    """
    ufunc = getattr(np, op, None) if op.isidentifier() else None
    return isinstance(ufunc, np.ufunc) and ufunc.signature is None


def elementwise(case: Case) -> Mask:
    """Return per part whether it is a leaf op of this sort."""
    return case.where(lambda signature: is_elementwise(signature.op))


def fresh(case: Case, site: Site, min_bytes: int) -> Site | None:
    """Return those ops of a site that return new arrays of some size; None: too few of them.

    An ``out=`` that is no input of the same call looks like a new array. So a function most of whose calls
    are seen to work in place is taken to do so throughout; as is one while which the array allocator
    was called less than half as often as there were results.
    """
    parts = case.parts
    is_new = case.new_bytes[site.parts] >= min_bytes
    mine = site.parts[is_new]
    calls = int(parts.calls[mine].sum())
    if len(mine) < 2 or calls < IN_PLACE * site.calls or not_allocated(case, site, calls):
        return None
    most = int(parts.callsite_id[mine[np.argmax(parts.self_ns[mine])]])
    return Site(most, site.function_id, mine, int(parts.self_ns[mine].sum()), calls)


def not_allocated(case: Case, site: Site, results: int) -> bool:
    """Return whether counters tell of less than one allocation for two results, while these ops ran."""
    trace = case.trace
    named = [
        i for i, name in enumerate(trace.series.name_id) if trace.strings[name] == "allocations"
    ]
    chosen = np.isin(case.parts.part_of, site.parts)
    if len(named) != 1 or not chosen.any():
        return False  # several processes, or no counters
    starts = trace.spans.start_ns[case.parts.rows[chosen]]
    counters = trace.counters
    mine = counters.series_id == named[0]
    mine &= (counters.t_ns >= starts.min()) & (counters.t_ns <= starts.max())
    t_ns, value = counters.t_ns[mine], counters.value[mine]
    if len(t_ns) < 3:
        return False
    share = float(((starts >= t_ns[0]) & (starts <= t_ns[-1])).mean())
    return bool(value[-1] - value[0] < results * share / 2)


def fused_ns(case: Case, site: Site) -> float:
    """Return what ops would take at least if they were one: all of the arithmetic, or the longest of them."""
    parts, roofs = case.parts, case.roofs.roofs
    signature = parts.signature_id[site.parts]
    each = np.fmax(roofs.compute_ns[signature], roofs.evaluate_ns[signature])
    arithmetic_ns = float((np.nan_to_num(each) * parts.leaves[site.parts]).sum())
    return max(arithmetic_ns, float(parts.self_ns[site.parts].max()))
