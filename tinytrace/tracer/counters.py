"""Counters of the process: resident memory, CPU, array memory, what the CPU counts. Read by the sampling thread.

Resident memory is read with the interpreter's lock held, by the compiled core or through ctypes: psutil opens a
file, which gives up the lock, and what the program then does with it could not be sampled. Where there is no
``/proc``, psutil is imported when the first `ProcessCounters` is made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Protocol

STATM = b"/proc/self/statm"
BYTES_PER_MB = 1e6  # as everywhere in tinytrace: decimal units


class _Process(Protocol):
    def memory_info(self) -> Any: ...


class _Sink(Protocol):
    def series(self, name: str, unit: str) -> int: ...
    def counter(self, series: int, value: float, t_ns: int = 0) -> None: ...


class ProcessCounters:
    """Write one value of each counter per `tick`.

    Series: ``rss_mb`` (MB), ``cpu_percent`` (% of one CPU, all threads: 250 is two and a half CPUs
    busy; over the time since the tick before, so the first tick writes none), ``system_percent``
    (likewise, of the time in the kernel), ``page_faults`` (count, since the process began, minor and
    major), ``major_faults`` (those of them that waited for a disk; these three not on Windows). When the
    recorder counts array memory (``memory() -> (live bytes, peak bytes since the last call, allocations)``),
    also ``array_mb``, ``array_peak_mb`` (MB) and ``allocations`` (count, since the start). And what
    ``hardware`` reads.

    What cannot be read is left out of that tick: never a 0, never an exception.

    Args:
        recorder: has ``series`` and ``counter``, and may have ``memory`` and ``resident_bytes``.
        process: this process as a ``psutil.Process``, or None: what the recorder says, or one that is
            made where it says nothing.
        clock: ns on CLOCK_MONOTONIC.
        usage: CPU time in the kernel in s, page faults and major ones of this process; None: what the kernel says.
        hardware: what reads hardware counters: name, unit, value of each.
        cpu_clock: CPU time of this process in ns. By default the kernel's exact clock: psutil reads
            the one that counts in steps of 10 ms, which are 20 % of a tick of 50 ms.
    """

    def __init__(
        self,
        recorder: _Sink,
        process: _Process | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        cpu_clock: Callable[[], int] = time.process_time_ns,
        *,
        usage: Callable[[], tuple[float, int, int]] | None = None,
        hardware: Callable[[], list[tuple[str, str, float]]] = list,
    ) -> None:
        self._recorder = recorder
        self._resident = resident_reader(recorder, process)
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._memory: Callable[[], tuple[int, int, int]] | None = getattr(recorder, "memory", None)
        self._usage = usage or _usage_reader()
        self._hardware = hardware
        self._previous: tuple[int, int] | None = None  # time and CPU time in ns
        self._previous_system: tuple[int, float] | None = None  # time in ns, and CPU time in s
        self._series: dict[str, int] = {}

    def tick(self) -> None:
        """Read everything and write it down with the present time. Never raises."""
        now_ns = self._clock()
        for tick in (
            self._tick_hardware, self._tick_rss, self._tick_cpu, self._tick_kernel, self._tick_arrays,
        ):  # fmt: skip
            try:
                tick(now_ns)
            except Exception:  # /proc may vanish, be hidden or hold anything: say nothing this time
                continue

    def _tick_hardware(self, now_ns: int) -> None:
        for name, unit, value in self._hardware():
            self._put(name, unit, value, now_ns)

    def _tick_rss(self, now_ns: int) -> None:
        rss_bytes = self._resident() if self._resident else None
        if rss_bytes is not None:
            self._put("rss_mb", "MB", rss_bytes / BYTES_PER_MB, now_ns)

    def _tick_cpu(self, now_ns: int) -> None:
        used_ns = self._cpu_clock()
        previous, self._previous = self._previous, (now_ns, used_ns)
        if previous is None or now_ns <= previous[0]:
            return
        percent = 100 * (used_ns - previous[1]) / (now_ns - previous[0])
        self._put("cpu_percent", "%", percent, now_ns)

    def _tick_kernel(self, now_ns: int) -> None:
        if self._usage is None:
            return
        system_s, faults, major = self._usage()
        previous, self._previous_system = self._previous_system, (now_ns, system_s)
        self._put("page_faults", "count", float(faults), now_ns)
        self._put("major_faults", "count", float(major), now_ns)
        if previous is not None and now_ns > previous[0]:
            percent = 100e9 * (system_s - previous[1]) / (now_ns - previous[0])
            self._put("system_percent", "%", percent, now_ns)

    def _tick_arrays(self, now_ns: int) -> None:
        if self._memory is None:
            return
        live_bytes, peak_bytes, allocations = self._memory()
        self._put("array_mb", "MB", live_bytes / BYTES_PER_MB, now_ns)
        self._put("array_peak_mb", "MB", peak_bytes / BYTES_PER_MB, now_ns)
        self._put("allocations", "count", float(allocations), now_ns)

    def _put(self, name: str, unit: str, value: float, now_ns: int) -> None:
        series = self._series.get(name)
        if series is None:
            series = self._series[name] = self._recorder.series(name, unit)
        self._recorder.counter(series, value, now_ns)


def resident_reader(
    recorder: Any, process: _Process | None = None
) -> Callable[[], int | None] | None:
    """Return what reads resident memory in bytes; None: nothing does."""
    own: Callable[[], int | None] | None = getattr(recorder, "resident_bytes", None)
    if process is None and own is not None:
        return own
    if process is None and (statm := _statm_reader()) is not None:
        return statm
    read = process or _this_process()
    return None if read is None else lambda: int(read.memory_info().rss)


def _statm_reader() -> Callable[[], int | None] | None:
    """What reads resident memory from /proc, and keeps the interpreter's lock meanwhile; None: no /proc.

    Who gives up the lock, as all of Python's own files do, may get it back after the program's next long
    call, when the stack no longer shows what that time went to. `native/memory.c` does the same.
    """
    try:
        import ctypes

        libc = ctypes.PyDLL(None)
        room = ctypes.create_string_buffer(256)
        page_bytes = os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, TypeError, ValueError):
        return None

    def read() -> int | None:
        file = libc.open(STATM, os.O_RDONLY | os.O_CLOEXEC)
        if file < 0:
            return None
        count = libc.read(file, room, len(room))
        libc.close(file)
        words = room.raw[: max(0, count)].split()
        return int(words[1]) * page_bytes if len(words) > 1 else None

    return read if _is_number(read) else None


def _usage_reader() -> Callable[[], tuple[float, int, int]] | None:
    """What tells the CPU time in the kernel and the page faults; None: this system has no such call.

    It keeps the interpreter's lock. It also knows how often threads were switched, which says nothing here: most
    switches of a recorded program are made by its sampling.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None

    def read() -> tuple[float, int, int]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_stime, usage.ru_minflt + usage.ru_majflt, usage.ru_majflt

    return read


def _is_number(read: Callable[[], int | None]) -> bool:
    try:
        return read() is not None
    except (AttributeError, ValueError, OSError):  # no such functions, no such file
        return False


# Once imported: a forked child must import nothing, since a thread that is not there may hold a module's lock.
_psutil: list[Any] = []


def _this_process() -> _Process | None:
    """Return None where psutil cannot read this process: then there is no such counter."""
    try:
        if not _psutil:
            import psutil

            _psutil.append(psutil)
        process: _Process = _psutil[0].Process()
        return process
    except Exception:  # psutil.Error, ImportError, a broken /proc
        return None
