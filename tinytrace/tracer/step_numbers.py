"""Which step each span belongs to."""

from __future__ import annotations

import numpy as np

from tinytrace.tracer.groups import distinct
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Column, Spans
from tinytrace.tracer.trees import inherited


def step_numbers(spans: Spans, process_of: Column) -> Column:
    """Return per span the number of the step that it began in, or −1; a step's own for a step.

    The innermost step that encloses it in its own thread. In a thread that never has a step of its own (a
    worker), of the steps of the process that were going on, the one that began last.

    Args:
        spans: whose ``step`` is known for steps only.
        process_of: of each thread.
    """
    is_step = spans.kind == Kind.STEP.value
    if not is_step.any():
        return spans.step
    number = inherited(spans.step, spans.parent)
    with_steps = distinct(spans.thread[is_step])
    for thread in with_steps:
        _by_time(spans, number, spans.thread == thread, is_step & (spans.thread == thread))
    process = process_of[spans.thread]
    worker = ~np.isin(spans.thread, with_steps)
    for p in distinct(process[is_step]):
        _by_time(spans, number, worker & (process == p), is_step & (process == p))
    return number


def _by_time(spans: Spans, number: Column, of: Column, is_step: Column) -> None:
    """Set, in place, the numbers that are missing: of the step that began last and still goes on."""
    steps = np.flatnonzero(is_step)
    steps = steps[np.argsort(spans.start_ns[steps], kind="stable")]
    start = spans.start_ns[steps]
    end = start + spans.dur_ns[steps]
    longer = _outlasting(end.tolist())
    rows = np.flatnonzero(of & (number < 0))
    at = np.searchsorted(start, spans.start_ns[rows], "right") - 1
    over = (at >= 0) & (end[at] <= spans.start_ns[rows])
    while over.any():
        at[over] = longer[at[over]]
        over = (at >= 0) & (end[at] <= spans.start_ns[rows])
    number[rows[at >= 0]] = spans.step[steps[at[at >= 0]]]


def _outlasting(end: list[int]) -> Column:
    """Return per step the latest one before it that ends after it; −1: none."""
    found = np.full(len(end), -1, np.int64)
    going_on: list[int] = []
    for i, e in enumerate(end):
        while going_on and end[going_on[-1]] <= e:
            going_on.pop()
        found[i] = going_on[-1] if going_on else -1
        going_on.append(i)
    return found
