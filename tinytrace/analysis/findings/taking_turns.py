"""Threads that run Python at the same time, of which the interpreter's lock (GIL) lets one go on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings import waiting
from tinytrace.analysis.findings.case import Case, Ints, Mask
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.tracer.groups import group_ids, sums

NAME = "threads that take turns"
SHARE = 0.05  # of the run
MIN_SAMPLES = 20
# CPUs that all of them use together. Less: other programs have the processors, or one of them waits in C, and what
# they wait for is not known. More: they do run side by side, in C that gives up the lock.
TOGETHER = (0.8, 1.2)
OTHERS = 0.2  # of a CPU: threads that use less hardly hold the lock


def find(case: Case) -> Iterator[Finding]:
    """The main thread runs Python, between ops, while others do; ceiling: its time without a CPU, or theirs with one.

    One CPU for all together, although each has Python to run: then they take turns. A thread that sleeps in C looks as
    if it ran Python, and uses no CPU.
    """
    samples, frames = case.trace.samples, case.trace.frames
    if case.thread is None or not len(case.trace.stacks):
        return
    waits = np.append(case.callers_of(waiting.MODULES) >= 0, False)[samples.stack_id]
    python = (2 * case.gap_ns > samples.weight_ns) & (samples.cpu_ns >= 0) & ~waits
    rows, ran_beside_ns = _beside(case, python)
    if len(rows) < MIN_SAMPLES:
        return
    spent_ns, ran_ns = int(samples.weight_ns[rows].sum()), int(samples.cpu_ns[rows].sum())
    together, others = (ran_ns + ran_beside_ns) / spent_ns, ran_beside_ns / spent_ns
    if spent_ns < SHARE * case.wall_ns or others < OTHERS:
        return
    if not TOGETHER[0] <= together <= TOGETHER[1]:
        return
    frame = case.sample_frame[rows]
    rows, frame = rows[frame >= 0], frame[frame >= 0]
    ids, n = group_ids([frames.file_id[frame], frames.line[frame]])
    most = np.argmax(sums(ids, n, samples.weight_ns[rows])) if n else 0
    where = int(frame[ids == most][0]) if n else -1
    yield case.finding(
        NAME,
        where,
        f"{case.function(where)} runs Python while other threads do: they take turns",
        evidence=(
            f"{time(spent_ns)} of Python in the main thread beside Python in others, by {len(rows):,} samples",
            f"together they used {together:.2f} CPUs, the main thread {ran_ns / spent_ns:.2f} of it",
        ),
        ceiling_ns=min(spent_ns - ran_ns, ran_beside_ns),
        confidence="medium",
        why="the interpreter lets one thread run Python at a time; that they wait for it is concluded from one CPU for "
        "all",
        remedy="Do the work of the other threads in processes, or in operations on whole arrays, during which NumPy "
        "lets other threads run.",
        code="with ProcessPoolExecutor() as pool:\n    results = list(pool.map(work, pieces))",
    )


def _beside(case: Case, python: Mask) -> tuple[Ints, int]:
    """Samples of the main thread in Python during which others were in Python too, and the CPU time of these."""
    samples, threads = case.trace.samples, case.trace.threads
    mine = np.flatnonzero(samples.thread == case.thread)
    same = threads.process[samples.thread] == threads.process[case.thread]
    others = np.flatnonzero(python & same & (samples.thread != case.thread))
    if not len(mine) or not len(others):
        return np.zeros(0, "i8"), 0
    middle_ns = samples.t_ns[others] - samples.weight_ns[others] // 2
    at = np.minimum(np.searchsorted(samples.t_ns[mine], middle_ns), len(mine) - 1)
    row = mine[at]
    during = python[row] & (middle_ns >= samples.t_ns[row] - samples.weight_ns[row])
    during &= middle_ns <= samples.t_ns[row]
    return np.unique(row[during]).astype("i8"), int(samples.cpu_ns[others[during]].sum())
