"""``np.add.at``: a scatter, one element at a time, often into a table of zeros that was made for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case, Ints, Site
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, time
from tinytrace.tracer.trace import Signature

NAME = "scatter by ufunc.at"
CLEARED = frozenset(["zeros", "zeros_like", "copyto"])


def find(case: Case) -> Iterator[Finding]:
    """Calls of ufunc.at; ceiling: all of their time, and that of clearing the tables in the same function."""
    for site in case.sites(case.where(lambda signature: signature.op.endswith(".at"))):
        signature = case.signature(int(site.parts[0]))
        tables = _tables(case, site, signature)
        cleared_ns = int(case.parts.self_ns[tables].sum())
        table = signature.inputs[0] if signature.inputs else None
        evidence = [f"{site.calls:,} calls of {signature.op} take {time(site.self_ns)}"]
        if table is not None:
            evidence.append(f"into {array(table)}")
        if cleared_ns:
            evidence.append(
                f"arrays of that shape are cleared in the same function, {time(cleared_ns)}"
            )
        yield case.finding(
            NAME,
            site.frame,
            f"{signature.op} adds up rows one after the other in {case.function(site.frame)}",
            evidence=evidence,
            ceiling_ns=site.self_ns + cleared_ns,
            confidence="high",
            why="it is the slow form of a sum by groups, whatever the operands",
            remedy="Sort the index once and add runs of equal rows; keep the gradient of the rows that were used only, "
            "instead of a table of zeros.",
            code='order = np.argsort(index, kind="stable")\n'
            "rows, begins = np.unique(index[order], return_index=True)\n"
            "sums = np.add.reduceat(grad[order], begins, axis=0)  # table[rows] -= rate * sums",
        )


def _tables(case: Case, site: Site, signature: Signature) -> Ints:
    """The parts that clear an array of the table's shape, in the same function."""
    if not signature.inputs:
        return np.zeros(0, "i8")
    shape = signature.inputs[0].shape
    clears = case.where(
        lambda other: (
            other.op in CLEARED and bool(other.outputs) and other.outputs[0].shape == shape
        )
    )
    rows = np.flatnonzero(clears)
    same = case.function_of[case.parts.callsite_id[rows]] == site.function_id
    return np.asarray(rows[same], "i8")
