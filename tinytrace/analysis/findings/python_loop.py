"""A function that spends its time in Python, with hardly any op: a loop over elements."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.tracer.groups import sums

NAME = "Python loop over elements"
MIN_SAMPLES = 20  # the share of a function is then known to about ±22 % (1/√n)
PYTHON = 0.9  # of the function's own time: more than this, and ops are not what it does
MIN_SHARE = 0.05  # of the run: samples near the limit of what can be told come and go
# Reads of single elements are not recorded, only counted; one takes about 50 ns (docs/ops.md). A loop over
# elements reads at least one for every 2 µs of Python.
NS_PER_ELEMENT = 2_000


def find(case: Case) -> Iterator[Finding]:
    """Functions with much Python and few ops; ceiling: all of their Python."""
    parts = case.parts
    mine = case.sited
    op_ns = sums(case.function_of[parts.callsite_id[mine]], case.n_functions, parts.self_ns[mine])
    python_ns = case.python_ns
    loops = (case.python_samples >= MIN_SAMPLES) & (python_ns >= PYTHON * (python_ns + op_ns))
    loops &= python_ns >= MIN_SHARE * case.wall_ns
    elements = case.elements
    for function_id in np.flatnonzero(loops).tolist():
        frame, spent_ns = case.hottest_frame(function_id), int(python_ns[function_id])
        name = case.function(frame)
        sure = elements * NS_PER_ELEMENT >= spent_ns
        yield case.finding(
            NAME,
            frame,
            f"{name} spends its time in Python, not in operations on arrays",
            evidence=(
                f"{time(spent_ns)} of Python between ops in {name}, by {case.python_samples[function_id]:,} samples",
                f"ops that it calls itself: {time(op_ns[function_id])}",
                f"{elements:,} single elements of arrays were read or written in the whole run",
            ),
            ceiling_ns=spent_ns,
            confidence="high" if sure else "low",
            why="single elements are accessed all the time"
            if sure
            else "few single elements are accessed: it may be work that has no form in arrays",
            remedy="Replace the loop over elements by operations on whole arrays. A window that slides is a view; "
            "sums of products are one matrix product.",
            code="windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(-2, -1))\n"
            'y = np.einsum("bchwij,ocij->bohw", windows, weight, optimize=True)',
        )
