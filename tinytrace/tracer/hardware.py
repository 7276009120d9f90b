"""Hardware counters of this process: cycles, instructions, cache misses, as the kernel counts them.

Each is a file of ``perf_event_open(2)``, opened before the program begins and read by the sampling thread. Counted is
what runs in user mode, in the thread that starts the recording and in all threads that begin later (``inherit``).
``docs/counters.md`` says what is not, and why a counter may be missing.
"""

from __future__ import annotations

import _thread
import errno
import struct
import sys
from typing import Any, NamedTuple, Protocol

from tinytrace.tracer.forks import other_threads
from tinytrace.tracer.machine import cpu_info
from tinytrace.tracer.records import Entry

CLOSED = "the program has closed the files of hardware counters: what they say ends there"

# perf_event_open(2): the first 64 bytes of its attributes, which every kernel knows.
_LAYOUT = struct.Struct("=IIQQQQQIIQ")
_TIMES_AND_ID = 1 | 2 | 4  # PERF_FORMAT_TOTAL_TIME_ENABLED, _TOTAL_TIME_RUNNING, _ID
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_THREADS_ONLY = (
    1 << 35
)  # inherit_thread, Linux 5.13: without it, processes that are forked count here too
FEWEST_FILES = 256  # a program that may open fewer is not to find five of them taken


class Event(NamedTuple):
    """What is counted: its name in the trace, and type and config of `perf_event_open`."""

    name: str
    type: int
    config: int


_HARDWARE, _CACHE = 0, 3  # PERF_TYPE_HARDWARE, PERF_TYPE_HW_CACHE
_MISSES = 1 << 16  # of reads of a cache; the level is in the lowest byte: 0 is L1d, 2 the last one
CORE = (
    Event("cycles", _HARDWARE, 0),
    Event("instructions", _HARDWARE, 1),
    Event("l1d_misses", _CACHE, _MISSES),
)
# "Cache references" and "cache misses" are whatever the kernel takes for them: on Intel those of the last level, on
# AMD those of the L2 (arch/x86/events/amd/core.c), on ARMv8 those of the L1d (drivers/perf/arm_pmuv3.c). Where they
# are not the last level's, that is asked for by its name, which AMD's cores do not count.
GENERIC_CACHE = {"GenuineIntel": "llc", "AuthenticAMD": "l2", "HygonGenuine": "l2"}


def events_of(vendor: str) -> tuple[Event, ...]:
    """Return what to count on a CPU of a vendor, as ``/proc/cpuinfo`` spells it; "": not known.

    >>> [event.name for event in events_of("AuthenticAMD")]
    ['cycles', 'instructions', 'l1d_misses', 'l2_references', 'l2_misses']
    """
    level = GENERIC_CACHE.get(vendor)
    if level is None:
        outer = Event("llc_references", _CACHE, 2), Event("llc_misses", _CACHE, 2 | _MISSES)
    else:
        outer = Event(f"{level}_references", _HARDWARE, 2), Event(f"{level}_misses", _HARDWARE, 3)
    return (*CORE, *outer)


class EventCalls(Protocol):
    """What opens and reads events: the compiled core, or `tracer.event_files.EventFiles`."""

    def event_open(self, attributes: bytes, /) -> tuple[int, int]:
        """Return file number and the kernel's number of the event, or raise `OSError`."""

    def event_read(self, fd: int, event: int, /) -> tuple[int, int, int] | None:
        """Return value, ns enabled, ns running; None: the file is not this event any more."""

    def event_close(self, fd: int, event: int, /) -> None:
        """Close it, unless the program has done so."""


class Counting:
    """What one event has counted, scaled to the time in which it was not counting.

    Where more events are asked for than the CPU has counters, the kernel lets them take turns. What one counted
    between two readings is then multiplied by the time for which it was asked for, over that in which it counted: an
    estimate, as `perf stat` makes it, here for each time between readings.

    Example:
        >>> counting = Counting()
        >>> counting.add(1000, 50, 50); counting.total, counting.counted_percent
        (1000.0, None)
        >>> counting.add(1600, 100, 70); counting.total, counting.counted_percent
        (2500.0, 70.0)
    """

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self.total = 0.0
        self.counted_percent: float | None = None  # of the time enabled; None: all of it
        self._before = (0, 0, 0)

    def add(self, value: int, enabled_ns: int, running_ns: int) -> None:
        """Take a reading. One in which the event did not get to count is left to the next."""
        counted, enabled, running = (
            now - before
            for now, before in zip((value, enabled_ns, running_ns), self._before, strict=True)
        )
        if enabled > 0 and running <= 0:
            return
        self.total += counted * (max(enabled, running) / running if running > 0 else 1.0)
        self._before = (value, enabled_ns, running_ns)
        if running_ns < enabled_ns:
            self.counted_percent = 100 * running_ns / enabled_ns


class HardwareCounters:
    """The events that are open, and why others are not.

    Args:
        recorder: which may open and read events itself (`EventCalls`).
        when: ``auto``, ``on`` or ``off``. ``auto`` leaves it where trying might harm (a seccomp filter may kill who
            tries), or would cost (in a virtual machine each switch of threads would have to ask the machine below).
        events: what to count; None: what this CPU has.

    Attributes:
        meta: for the trace: ``when``; ``counted``, names; ``missing``, names with the reason (``ENOENT``); ``refused``,
            why none was tried or kept; ``paranoid``; ``earlier_threads``, which are not counted; ``children``, whether
            processes that are forked count here too.

    Example:
        >>> HardwareCounters(None, "off").meta["refused"]
        'off'
    """

    def __init__(self, recorder: Any, when: str, events: tuple[Event, ...] | None = None) -> None:
        """Open what can be opened. Never raises."""
        self._open: list[tuple[str, int, int, Counting]] = []
        self._reading = _thread.allocate_lock()
        self._missing: dict[str, str] = {}
        self._with_children = False
        self._recorder = recorder
        self._dropped = False
        info = cpu_info()
        refused = _refused(when)
        if refused is None:
            try:
                self._calls = _calls(recorder)
            except (ImportError, OSError, AttributeError):
                refused = "system"
        if refused is None:
            for event in events_of(info.get("vendor_id", "")) if events is None else events:
                self._try(event)
            if when == "auto" and self._open and " hypervisor " in f" {info.get('flags', '')} ":
                self.close()
                refused = "virtual"
        self.meta: dict[str, Any] = {
            "when": when, "refused": refused, "counted": [name for name, *_ in self._open],
            "missing": self._missing, "paranoid": _paranoid(), "earlier_threads": other_threads(),
            "children": self._with_children,
        }  # fmt: skip

    def _try(self, event: Event) -> None:
        try:
            fd, number = self._opened(event)
        except OSError as problem:
            self._missing[event.name] = errno.errorcode.get(problem.errno or 0, str(problem.errno))
            return
        self._open.append((event.name, fd, number, Counting()))

    def _opened(self, event: Event) -> tuple[int, int]:
        flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
        try:
            return self._calls.event_open(_attributes(event, flags | _THREADS_ONLY))
        except OSError as problem:
            if problem.errno != errno.EINVAL:  # which an older kernel says of what it does not know
                raise
        found = self._calls.event_open(_attributes(event, flags))
        self._with_children = True
        return found

    def read(self) -> list[tuple[str, str, float]]:
        """Return name, unit and value of each counter: what was counted since the start, scaled where it must be.

        ``<name>_counted`` (%) beside one that is scaled: the share of time in which it really counted. What has counted
        nothing has no value: there are virtual machines whose counters stand still.
        """
        found: list[tuple[str, str, float]] = []
        if not self._reading.acquire(blocking=False):
            return found  # another thread is at it
        try:
            for one in tuple(self._open):
                name, fd, number, counting = one
                reading = self._calls.event_read(fd, number)
                if reading is None:
                    self._drop(one)
                    continue
                counting.add(*reading)
                if counting.total:
                    found.append((name, "count", counting.total))
                if counting.total and counting.counted_percent is not None:
                    found.append((f"{name}_counted", "%", counting.counted_percent))
        finally:
            self._reading.release()
        return found

    def _drop(self, one: tuple[str, int, int, Counting]) -> None:
        """Its number is the program's: it is neither read nor closed any more, and that is said once."""
        self._open.remove(one)
        if not self._dropped:
            self._recorder.put(Entry.WARNING, CLOSED.encode())
        self._dropped = True

    def close(self) -> None:
        """Close what is still ours; in the child of a fork, its copies of it."""
        for _, fd, number, _ in self._open:
            self._calls.event_close(fd, number)
        self._open = []


def _attributes(event: Event, flags: int) -> bytes:
    return _LAYOUT.pack(event.type, _LAYOUT.size, event.config, 0, 0, _TIMES_AND_ID, flags, 0, 0, 0)


def _calls(recorder: Any) -> EventCalls:
    if hasattr(recorder, "event_open"):
        calls: EventCalls = recorder
        return calls
    from tinytrace.tracer.event_files import EventFiles

    return EventFiles()


def _refused(when: str) -> str | None:
    """Why no event is tried; None: there is no reason not to."""
    if when == "off":
        return "off"
    if not sys.platform.startswith("linux") or sys.byteorder != "little":
        return "system"
    if when == "auto" and _seccomp():
        return "seccomp"
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return "files" if limit != resource.RLIM_INFINITY and limit < FEWEST_FILES else None


def _seccomp() -> bool:
    """Whether a filter of system calls is active, or may be."""
    try:
        with open("/proc/self/status", "rb") as status:
            return b"\nSeccomp:\t0\n" not in status.read()
    except OSError:
        return True


def _paranoid() -> int | None:
    try:
        with open("/proc/sys/kernel/perf_event_paranoid", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
