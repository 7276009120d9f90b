"""Waiting for other threads or processes, while fewer of them work than there are cores."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import RUNNING, Case, Ints, Mask
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.analysis.spans import inside
from tinytrace.tracer.groups import group_ids, sums

NAME = "waiting for other threads"
SHARE = 0.05  # of the run
MIN_SAMPLES = 10
BUSY = 0.8  # of the cores at work meanwhile: then somebody computes, and waiting is what one does
# By the files that the functions are in; a lock that is taken by `with lock:` is C and has no frame of its own.
STARTS = re.compile(r"(^|\.)(start|__init__)$")  # of a thread, a process
MODULES = re.compile(
    r"/(threading|queue|subprocess|concurrent/futures/\w+|multiprocessing/\w+)\.py$"
)


def find(case: Case) -> Iterator[Finding]:
    """Lines of the main thread that wait in such modules for more than 5 % of the run.

    Only time in which the thread had no CPU, outside of ops and of waits that are marked as waits for data. Silent
    where other threads were at work on four of five cores meanwhile.

    Ceiling: what work beside each other can hide. Of the waiting all in which nobody worked; of the rest no more
    than the main thread works itself: two that take turns for W and M take max(W, M) side by side. So a thread that
    does all of the work while the main one joins it is no finding.
    """
    samples, frames = case.trace.samples, case.trace.frames
    if not len(case.trace.stacks) or case.thread is None:
        return
    caller = np.append(case.callers_of(MODULES), -1)[samples.stack_id]
    waits = (caller >= 0) & (samples.cpu_ns >= 0) & ~samples.on_cpu
    waits &= ~np.append(_starting(case), False)[samples.stack_id]
    mine = waits & (samples.thread == case.thread) & (case.gap_ns > 0)
    if not mine.any():
        return
    waited_ns = np.minimum(case.gap_ns, samples.weight_ns - np.maximum(samples.cpu_ns, 0))
    ids, n = group_ids([frames.file_id[caller[mine]], frames.line[caller[mine]]])
    spent_ns, count = sums(ids, n, waited_ns[mine]), np.bincount(ids, minlength=n)
    cores = case.told("machine", "usable_cpus")
    for i in np.flatnonzero((spent_ns >= SHARE * case.wall_ns) & (count >= MIN_SAMPLES)).tolist():
        rows = np.flatnonzero(mine)[ids == i]
        at_work = _at_work(case, rows, waits)
        if at_work >= BUSY * (cores or 1):
            continue
        frame = int(caller[rows[0]])
        nobody = at_work < RUNNING
        idle_ns = int(spent_ns[i]) * max(0.0, 1 - at_work)
        hidden_ns = min(int(spent_ns[i]) - idle_ns, case.wall_ns - int(spent_ns[i]))
        yield case.finding(
            NAME,
            frame,
            f"{case.function(frame)} waits for {100 * int(spent_ns[i]) / case.wall_ns:.0f} % of the run in "
            f"{_called(case, int(samples.stack_id[rows[0]]))}",
            evidence=(
                f"{time(spent_ns[i])} without a CPU, by {count[i]:,} samples",
                f"meanwhile {at_work:.1f} other threads of the run were at work"
                + (f"; {cores} cores may be used" if cores else ""),
            ),
            ceiling_ns=idle_ns + hidden_ns,
            confidence="medium" if nobody else "low",
            why="nobody of the run works meanwhile: it waits for something outside, or one for the other"
            if nobody
            else "somebody works meanwhile; whether that can be shared out or done beforehand is not known",
            remedy="Have what is waited for done earlier: more loaders, a longer queue, the next request sent before "
            "this one is used. A lock should be held for shared data only, not while something is read.",
            code="with ThreadPoolExecutor(4) as pool:\n    coming = deque(pool.submit(load, i) for i in range(4))\n"
            "    for i in range(4, n):\n        batch = coming.popleft().result()\n"
            "        coming.append(pool.submit(load, i))",
        )


def _starting(case: Case) -> Mask:
    """Per stack whether a thread or a process is being started, which returns when the system has let it run."""
    trace = case.trace
    strings = [*trace.strings, ""]
    starts = np.array([bool(STARTS.search(text)) for text in strings], "?")
    files = np.array([bool(MODULES.search(text.replace("\\", "/"))) for text in strings], "?")
    frames = starts[trace.frames.name_id] & files[trace.frames.file_id]
    rows = np.flatnonzero(frames[trace.stacks.frame_id])
    starting = inside(trace.stacks.parent, rows)
    starting[rows] = True
    return starting


def _at_work(case: Case, rows: Ints, waits: Mask) -> float:
    """How many other threads were at work on average, while the main thread waited in these samples.

    A thread that computes has a tenth of its time a CPU even where ten programs share one; so what others do counts as
    work as far as their CPU time is a tenth of it.
    """
    samples = case.trace.samples
    end_ns = np.sort(samples.t_ns[rows])
    start_ns = end_ns - samples.weight_ns[rows][np.argsort(samples.t_ns[rows], kind="stable")]
    others = np.flatnonzero((samples.thread != case.thread) & ~waits)
    middle_ns = samples.t_ns[others] - samples.weight_ns[others] // 2
    at = np.minimum(np.searchsorted(end_ns, middle_ns), len(end_ns) - 1)
    during = others[(middle_ns >= start_ns[at]) & (middle_ns <= end_ns[at])]
    weight_ns = int(samples.weight_ns[during].sum())
    ran_ns = int(np.maximum(samples.cpu_ns[during], 0).sum())
    return min(weight_ns, ran_ns / RUNNING) / max(1, int(samples.weight_ns[rows].sum()))


def _called(case: Case, stack: int) -> str:
    """What the program called that waits: ``queue.get``."""
    trace, name = case.trace, "a function without a name"
    while stack >= 0:
        frame = int(trace.stacks.frame_id[stack])
        file_id = int(trace.frames.file_id[frame])
        file = trace.strings[file_id].replace("\\", "/") if file_id >= 0 else ""
        if not case.is_library[file_id]:
            break
        if MODULES.search(file):
            module = file.rpartition("/")[2].removesuffix(".py")
            name = f"{module}.{case.function(frame).rpartition('.')[2]}"
        stack = int(trace.stacks.parent[stack])
    return name
