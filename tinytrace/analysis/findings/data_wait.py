"""Waiting for data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.between_ops import data_wait_ns
from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.tracer.groups import group_ids, sums
from tinytrace.tracer.records import Kind

NAME = "waiting for data"
SOME = 0.05  # of the run
MUCH = 0.20


def find(case: Case) -> Iterator[Finding]:
    """The main thread waits for data more than 5 % of the run; ceiling: all of it, if loading went on beside."""
    spans = case.trace.spans
    if case.thread is None:
        return
    waited_ns = data_wait_ns(case.trace, case.thread)
    share = waited_ns / case.wall_ns
    if share < SOME:
        return
    rows = np.flatnonzero((spans.kind == Kind.DATA) & (spans.thread == case.thread))
    ids, n = group_ids([spans.callsite_id[rows]])
    frame = int(spans.callsite_id[rows[ids == np.argmax(sums(ids, n, spans.dur_ns[rows]))][0]])
    yield case.finding(
        NAME,
        frame,
        f"{100 * share:.0f} % of the run is spent waiting for data"
        + (": more than the work can hide" if share > MUCH else ""),
        evidence=(f"{len(rows):,} waits take {time(waited_ns)} of {time(case.wall_ns)}",),
        ceiling_ns=waited_ns,
        confidence="high",
        why="waits are marked in the trace",
        remedy="Load the next batch while this one is worked on, or make loading cheaper: whole batches by one index, "
        "decoded once and kept.",
        code="with ThreadPoolExecutor(1) as pool:\n    coming = pool.submit(load, 0)\n"
        "    for i in range(n):\n        batch, coming = coming.result(), pool.submit(load, i + 1)",
    )
