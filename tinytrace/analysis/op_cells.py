"""Cells of tables of ops: figures, and the words that stand in place of one."""

from __future__ import annotations

from collections.abc import Callable

from tinytrace.analysis.figures import format_rate
from tinytrace.analysis.op_groups import OpGroup

UNKNOWN = "?"


def gflops_cell(row: OpGroup) -> str:
    """Return the rate of FLOPs, else of evaluations, else why there is none."""
    if row.gflops == 0 and row.gtranscendentals:
        return f"{format_rate(row.gtranscendentals)} T"
    if row.gflops is None and row.uncounted_calls:
        return "uncounted"
    return figure_cell(row, row.gflops)


def figure_cell(row: OpGroup, value: float | None) -> str:
    """Return a figure, else why there is none."""
    if value is not None:
        return format_rate(value)
    return "inside" if row.only_outer else UNKNOWN


def site_cell(row: OpGroup, name: Callable[[str], str]) -> str:
    """Return the call site with most time, and how many others there are."""
    site = UNKNOWN if row.callsite is None else name(row.callsite)
    return site if row.n_callsites < 2 else f"{site} (+{row.n_callsites - 1})"
