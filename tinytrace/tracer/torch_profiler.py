"""torch's own profiler (Kineto) run underneath a recording, cut into files that are complete.

Kineto keeps everything in memory and turns it into a file only after it was stopped. So it is stopped and
started again every now and then: what a kill loses is the last stretch.

An operation that is going on while Kineto is stopped writes its end into memory that is Kineto's no more, if
Kineto runs again by then: the program crashes. And in code that an operation calls (backward, say), torch keeps
which profiler is on, and brings that back afterwards. So all this is done only where no operation of the thread can
be going on (`Quiet`).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

LOG_LEVEL = "KINETO_LOG_LEVEL"
SILENT = "99"  # beyond all levels: torch 2.13 reports each start and stop on stderr
CHUNK_BYTES = (
    10_000_000  # of a file: some 25,000 events, which are 90 MB of memory while it is written
)
FIRST_CHUNK_NS = 30_000_000  # the smallest operations come at 1,000,000 events a second
GROWTH = (
    4  # a chunk is at most so much longer than the one before: what begins slowly may become fast
)
LONGEST_CHUNK_NS = 10_000_000_000
# A chunk that nothing ends (no step, no module) is ended by force after twice its time, so that it stays small.
OVERDUE_NS = 30_000_000
# Where it cannot be ended either, and the process has grown by as much: then it is ended where it is, and is the last.
GIVE_UP_BYTES = 1_000_000_000
PART_SUFFIX = ".part"
# Python code that torch's C++ calls while an operation is going on lies in, or is called from, these.
CALLED_BY_OPERATIONS = tuple(
    os.path.join("torch", *path)  # noqa: PTH118 - pathlib has no part of a path
    for path in (("autograd", "function.py"), ("_ops.py",), ("utils", "checkpoint.py"),
                 ("utils", "_python_dispatch.py"), ("_functorch", ""), ("_library", ""),
                 ("_dynamo", ""), ("_inductor", ""), ("_subclasses", ""))
)  # fmt: skip
DISPATCH = "__torch_dispatch__"


def resident_bytes() -> int:
    """Return the resident memory of this process; 0: not known."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def clocks() -> tuple[int, int]:
    """Return how far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, and how far off that may be; in ns.

    The best of several readings of one between two of the other.
    """
    width, ahead = min(_reading() for _ in range(20))
    return ahead, width


def _reading() -> tuple[int, int]:
    before = time.monotonic_ns()
    unix = time.time_ns()
    after = time.monotonic_ns()
    return after - before, unix - (before + after) // 2


class Kineto:
    """torch's profiler in the thread that made this, in chunks.

    Args:
        torch: as the program has imported it.
        folder: where the chunks go: ``torch-<n>.json`` and, before it, ``torch-<n>.clock.json``.

    Attributes:
        is_running: between `start` and `stop`.
        due_ns: when the present chunk should end.
        late_ns: how long after that it is to be ended by force.
        written_bytes: of all chunks.
        busy_ns: what starting, stopping and writing took.
    """

    def __init__(self, torch: ModuleType, folder: Path) -> None:
        """Not started yet."""
        self._torch = torch
        self._folder = folder
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._config: Any = None
        self._number = 0
        self._chunk_ns = FIRST_CHUNK_NS
        self._began_ns = 0
        self._began_bytes = 0
        self._ahead_ns, self._ahead_error_ns = 0, 0
        self.is_running = False
        self.with_device = False
        self.due_ns = self.late_ns = 0
        self.written_bytes = 0
        self.busy_ns = 0

    def is_here(self) -> bool:
        """Whether this is the process and the thread that it runs in."""
        return threading.get_ident() == self._thread and os.getpid() == self._pid

    def is_too_large(self) -> bool:
        """Whether the process has grown so much since the chunk began that it may be the cause."""
        return resident_bytes() - self._began_bytes > GIVE_UP_BYTES

    def start(self) -> None:
        """Begin a chunk."""
        autograd, activity = self._torch.autograd, self._torch.profiler.ProfilerActivity
        begun_ns = time.monotonic_ns()
        self._ahead_ns, self._ahead_error_ns = clocks()
        self.with_device = self._torch.cuda.is_initialized()
        activities = {activity.CPU} | ({activity.CUDA} if self.with_device else set())
        quiet: dict[str, str] = {}
        if self._config is None:  # Kineto reads what it is to say once
            self._config = _config(self._torch)
            quiet = {} if LOG_LEVEL in os.environ else {LOG_LEVEL: SILENT}
        os.environ.update(quiet)
        try:
            autograd._prepare_profiler(self._config, activities)
            autograd._enable_profiler(self._config, activities)
        finally:
            for name in quiet:
                os.environ.pop(name, None)
        self.is_running = True
        self._began_bytes = resident_bytes()
        self._began_ns = time.monotonic_ns()
        self.due_ns = self._began_ns + self._chunk_ns
        self.late_ns = max(self._chunk_ns, OVERDUE_NS)
        self.busy_ns += self._began_ns - begun_ns

    def stop(self) -> None:
        """End the chunk and write it."""
        if not self.is_running:
            return
        self.is_running = False
        if self.with_device:
            self._torch.cuda.synchronize()  # kernels that have not run are not in it
        ended_ns = time.monotonic_ns()
        result = self._torch.autograd._disable_profiler()
        self._write(result, ended_ns)
        del result
        self.busy_ns += time.monotonic_ns() - ended_ns

    def _write(self, result: Any, ended_ns: int) -> None:
        ahead_ns, error_ns = clocks()
        self._number += 1
        path = self._folder / f"torch-{self._number}.json"
        part = path.with_suffix(PART_SUFFIX)
        result.save(str(part))
        size = part.stat().st_size
        about = {
            "pid": self._pid, "begin_ns": self._began_ns, "end_ns": ended_ns,
            "unix_ahead_ns": (self._ahead_ns + ahead_ns) // 2,
            "clock_error_ns": (self._ahead_error_ns + error_ns + abs(ahead_ns - self._ahead_ns)) // 2,
            "torch": str(self._torch.__version__), "busy_ns": self.busy_ns, "bytes": size,
        }  # fmt: skip
        path.with_suffix(".clock.json").write_text(json.dumps(about))
        part.rename(path)
        self.written_bytes += size
        per_ns = size / max(ended_ns - self._began_ns, 1)
        longer_ns = min(GROWTH * self._chunk_ns, LONGEST_CHUNK_NS)
        self._chunk_ns = int(min(CHUNK_BYTES / max(per_ns, 1e-9), longer_ns))


def _config(torch: ModuleType) -> Any:
    """Return the settings of the profiler: shapes and nothing that costs more."""
    profiler = torch._C._profiler
    try:
        experimental = profiler._ExperimentalConfig(trace_only=True)  # no events as Python objects
    except TypeError:  # before torch 2.11
        experimental = profiler._ExperimentalConfig()
    wanted = (profiler.ProfilerState.KINETO, True, False, False, False, False, experimental)
    try:
        return profiler.ProfilerConfig(*wanted, "")
    except TypeError:  # before torch 2.6
        return profiler.ProfilerConfig(*wanted)


class Quiet:
    """Whether an operation of torch may be going on in the calling thread.

    Args:
        torch: as the program has imported it.
    """

    def __init__(self, torch: ModuleType) -> None:
        """See the class."""
        graph: Callable[[], int] | None = getattr(torch._C, "_current_graph_task_id", None)
        self._graph_task = graph

    def here(self, frame: FrameType) -> bool:
        """Return False where one may be: in backward, in functions that operations call.

        Args:
            frame: of the code that asks.
        """
        if self._graph_task is None or self._graph_task() != -1:
            return False
        caller: FrameType | None = frame
        while caller is not None:
            code = caller.f_code
            if code.co_name == DISPATCH:
                return False
            file = code.co_filename
            if any(part in file for part in CALLED_BY_OPERATIONS):
                return False
            caller = caller.f_back
        return True


def is_distributed() -> bool:
    """Whether collectives may be going on in the background."""
    distributed = sys.modules.get("torch.distributed")
    return bool(distributed and distributed.is_available() and distributed.is_initialized())
