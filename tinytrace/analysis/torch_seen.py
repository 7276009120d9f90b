"""When the operations of torch were not recorded: its profiler runs in some stretches of a program only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.between_ops import within
from tinytrace.tracer.trace import Trace


def torch_unseen(trace: Trace) -> NDArray[np.bool_]:
    """Return per sample whether operations of torch may have run in it that were not recorded.

    Those of a process whose torch was recorded, from then on, outside of the stretches in ``meta["torch_profiler"]``.

    Example:
        >>> torch_unseen(Trace()).tolist()
        []
    """
    samples = trace.samples
    unseen = np.zeros(len(samples), "?")
    about = trace.meta.get("torch_profiler")
    windows = about.get("windows_ns") if isinstance(about, dict) else None
    try:
        table = np.array(windows or [], np.int64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        return unseen
    pid_of = trace.processes.pid[trace.threads.process]
    for pid in np.unique(table[:, 0]).tolist():
        mine = table[table[:, 0] == pid]
        starts, ends = np.sort(mine[:, 1]), np.sort(mine[:, 2])
        of = pid_of[samples.thread] == pid
        unseen |= of & (samples.t_ns >= starts[0]) & ~within(samples.t_ns, (starts, ends))
    return unseen
