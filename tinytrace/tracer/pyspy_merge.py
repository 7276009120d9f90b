"""What py-spy saw as samples of the trace that is being put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from tinytrace.tracer.pyspy_samples import PySpySamples
from tinytrace.tracer.tables import Tables
from tinytrace.tracer.trace import Samples


class _Names(Protocol):
    def frame(self, function: str, file: str, line: int, /) -> int: ...
    def stack(self, frame: int, parent: int, /) -> int: ...


def as_samples(
    found: PySpySamples, tables: Tables, names: _Names, thread_row: Callable[[int], int]
) -> Samples:
    """Return the samples, sorted by thread, then time; their CPU time is not known.

    Args:
        found: at least one sample.
        tables: of the process; threads that only py-spy saw are added.
        names: frames and stacks of the trace.
        thread_row: the row in the trace of a thread of the process.
    """
    frames = [names.frame(*frame) for frame in found.frames]
    stacks: list[int] = []
    pairs = zip(found.stack_frame_id.tolist(), found.stack_parent.tolist(), strict=True)
    for frame, parent in pairs:
        stacks.append(names.stack(frames[frame], stacks[parent] if parent >= 0 else -1))
    index_of = {tid: index for index, (tid, _) in tables.threads.items()}
    rows = {}
    for tid in np.unique(found.tid).tolist():
        if tid not in index_of:
            index_of[tid] = max(tables.threads, default=-1) + 1
            tables.threads[index_of[tid]] = (tid, found.thread_names.get(tid, ""))
        rows[tid] = thread_row(index_of[tid])
    thread = np.array([rows[tid] for tid in found.tid.tolist()], np.int64)
    stack = np.array(stacks, np.int64)[found.stack_id]
    order = np.lexsort((found.t_ns, thread))
    not_known = np.full(len(thread), -1)
    samples: Samples = Samples(found.t_ns, found.weight_ns, not_known, thread, stack).take(order)
    return samples
