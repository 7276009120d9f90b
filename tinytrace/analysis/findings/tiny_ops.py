"""Many calls on tiny arrays: what surrounds the work takes longer than the work."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, listed, time
from tinytrace.analysis.roofline import OVERHEAD, VERDICTS, Verdict

NAME = "many tiny operations"
MIN_CALLS = 200  # from one function; fewer can hardly be worth a batch


def find(case: Case) -> Iterator[Finding]:
    """Functions whose ops are overhead-bound; ceiling: all of them and the Python between, but the roofs."""
    parts = case.parts
    if case.peaks is None:
        return  # what the fixed cost of a call is here is not known
    tiny = case.leaf & (case.judged.code == VERDICTS.index(Verdict.OVERHEAD))
    all_ns = np.bincount(
        case.function_of[parts.callsite_id[case.leaf]], parts.self_ns[case.leaf], case.n_functions
    )
    for site in case.sites(tiny, by="function"):
        if site.calls < MIN_CALLS or 2 * site.self_ns < all_ns[site.function_id]:
            continue
        python_ns = case.between_ns(np.array([site.function_id]))
        least_ns = float(case.part_least_ns[site.parts].sum())
        order = site.parts[np.argsort(-parts.self_ns[site.parts], kind="stable")]
        example = next((o for o in case.signature(int(order[0])).operands if o.is_array), None)
        yield case.finding(
            NAME,
            site.frame,
            f"{site.calls:,} operations on tiny arrays in {case.function(site.frame)}",
            evidence=(
                f"{listed(case.op[i] for i in order)}"
                + (f", for example on {array(example)}" if example else ""),
                f"{time(site.self_ns / site.calls)} per call; the fixed cost is over {OVERHEAD:.0f} % of it",
                f"{time(site.self_ns)} in these ops, {time(python_ns)} of Python between them",
            ),
            ceiling_ns=site.self_ns + python_ns - least_ns,
            confidence="medium",
            why="sizes and the fixed cost are measured; whether the calls can be made one is not known",
            remedy="Do the work of many calls in one: add a dimension for the batch, and loop in NumPy, not in Python.",
            code="y = x @ weight  # x: (batch, features), instead of one product per sample",
        )
