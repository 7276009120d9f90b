"""The numbers under which a viewer shows processes and threads.

A viewer knows a thread by its process and thread id. Ids of the system may repeat in one trace (a
program that replaced itself by `execv`, machines of a cluster) or be out of a viewer's range; then two
tracks would become one, and spans of it that do not nest would be dropped. So the first keeps its
number and the others get numbers of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinytrace.tracer.trace import Trace

LARGEST_ID = 2**31 - 1  # viewers fold larger ones into others; 0 is the system's idle task
FIRST_FREE_ID = 2**30  # far above what Linux gives out (2**22)


@dataclass(frozen=True)
class Tracks:
    """Ids as written.

    Attributes:
        pids: per row of ``Trace.processes``; one more at the end for threads of no process.
        thread_pids: per row of ``Trace.threads``.
        thread_tids: likewise.
        sample_tids: likewise: the track of its merged stack samples.
    """

    pids: list[int]
    thread_pids: list[int]
    thread_tids: list[int]
    sample_tids: list[int]


class _Ids:
    """Hands out ids, each one once."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._next = FIRST_FREE_ID

    def take(self, wanted: int) -> int:
        if not 0 < wanted <= LARGEST_ID or wanted in self._taken:
            while self._next in self._taken:
                self._next += 1
            wanted = self._next
        self._taken.add(wanted)
        return wanted


def tracks(trace: Trace) -> Tracks:
    """Choose the ids of all tracks of a trace."""
    processes, threads = _Ids(), _Ids()
    pids = [processes.take(pid) for pid in [*trace.processes.pid.tolist(), FIRST_FREE_ID]]
    thread_pids = [pids[process] for process in trace.threads.process.tolist()]
    thread_tids = [threads.take(tid) for tid in trace.threads.tid.tolist()]
    sample_tids = [threads.take(tid + 1) for tid in thread_tids]  # sorted beside the thread
    return Tracks(pids, thread_pids, thread_tids, sample_tids)
