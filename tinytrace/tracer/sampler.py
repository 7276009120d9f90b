"""The sampling thread in pure Python: what `native/sampler.c` does, slower.

A sample stands for the time since the round before: the GIL decides when we get to look, so counting
samples would favour code that releases it.
"""

from __future__ import annotations

import _thread
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from tinytrace.tracer.interning import MAX_FRAMES
from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.records import Entry
from tinytrace.tracer.thread_writer import ThreadWriter

THREAD_NAME = "tinytrace-stack"  # as the kernel knows it; at most 15 characters
LONGEST_SLEEP = 5.0  # in mean sleeps
NOT_ALONE = (
    "the program has started another interpreter in this process: no stack samples from then on "
    "(the compiled core takes them)"
)
# From then on interpreters run at the same time, and `sys._current_frames` looks into all of them.
OWN_GILS = (3, 12)


class Place:
    """Where a frame is: what `Interning.stack` asks of a frame."""

    __slots__ = ("f_back", "f_code", "f_lasti")

    def __init__(self, frame: FrameType) -> None:
        """Copy."""
        self.f_code = frame.f_code
        self.f_lasti = frame.f_lasti
        self.f_back: Place | None = None

    @property
    def f_lineno(self) -> int | None:
        """The line; only asked for when the place is new."""
        for begin, end, line in self.f_code.co_lines():
            if begin <= self.f_lasti < end:
                return line
        return self.f_code.co_firstlineno


class PythonSampler:
    """A thread that records the stacks of all others, and calls ``ticks``, until it is stopped.

    Args:
        recorder: gets the samples.
        rate_hz: mean number of samples per second; 0: only the ticks are called.
        ticks: periods in seconds, and what to call so often (reading counters); what they raise is
            left out.
        clock: CLOCK_MONOTONIC in ns.
        sleep: waits for some seconds, or less when `stop` is called; None: with a lock.
        rng: draws the sleeps, from an exponential distribution so that sampling does not alias with
            the program's loops.
        frames: the innermost frame of each thread, by ident.
        cpu_clock: CPU time in ns of a thread by native id; −1: not known.
        alone: whether this is the only interpreter of the process, where that matters.

    Example:
        >>> from tinytrace.tracer.recorder import PythonRecorder
        >>> sampler = PythonSampler(PythonRecorder(), 1000, [])
        >>> sampler.start(); sampler.stop()
        >>> sorted(sampler.stats())[:3]
        ['achieved_hz', 'busy_ns', 'largest_gap_ns']
    """

    def __init__(
        self,
        recorder: PythonRecorder,
        rate_hz: float,
        ticks: list[tuple[float, Callable[[], None]]],
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] | None = None,
        rng: random.Random | None = None,
        frames: Callable[[], dict[int, FrameType]] = sys._current_frames,
        cpu_clock: Callable[[int], int] | None = None,
        alone: Callable[[], bool] | None = None,
    ) -> None:
        """Prepare; nothing runs before `start`."""
        if rate_hz < 0 or not (rate_hz or ticks):
            raise ValueError("neither a rate nor a tick")
        self._recorder = recorder
        self._samples_wanted: bool | None = rate_hz > 0  # None: given up
        self._mean_s = 1 / rate_hz if rate_hz else min(period for period, _ in ticks)
        self._clock = clock
        self._sleep = sleep or self._wait
        self._rng = rng or random.Random()
        self._frames = frames
        self._cpu_clock = cpu_clock or thread_cpu_ns
        self._alone = alone or (only_interpreter() if rate_hz else lambda: True)
        self._ticks = [call for _, call in ticks]
        self._periods_ns = [int(period * 1e9) for period, _ in ticks]
        self._next_ns = [0] * len(ticks)
        self._stopping = False
        self._wake = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        self._ident = 0
        self._task = ""  # what the kernel shows of our thread
        self._started_ns = self._last_ns = 0
        self._starter: dict[int, int] = {}  # native id by ident: `threading` may never be imported
        self._cut_said = False
        self._named: set[int] = set()
        self._samples = self._rounds = self._largest_gap_ns = self._late_ns = self._busy_ns = 0

    def start(self) -> None:
        """Start the thread. It is a plain one: ``threading`` is neither imported nor told.

        Raises:
            RuntimeError: no thread can be started, or it is running already.
        """
        if self._ended.locked():
            raise RuntimeError("the sampler is running")
        self._stopping = False
        self._started_ns = self._last_ns = self._clock()
        self._starter = {_thread.get_ident(): _thread.get_native_id()}
        self._wake.acquire()
        self._ended.acquire()
        # The program's signals are for the program's threads: ours begins with all of them blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        started = False
        try:
            _thread.start_new_thread(self._run, ())
            started = True
        finally:
            if not started:
                self._ended.release()
                self._wake.release()
            self._unblock(before)

    def _unblock(self, before: set[signal.Signals | int]) -> None:
        """Put the mask back; what arrived meanwhile runs its handler here, which may raise."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the thread and wait for it; stopping twice is fine."""
        self._stopping = True
        if self._wake.locked():
            self._wake.release()
        if self._ident == _thread.get_ident():
            return  # from a finalizer that runs in our thread: it ends when it returns
        with self._ended:
            task, self._task = self._task, ""
        for _ in range(1000):  # it has nothing left to do but to end
            if not task or not os.path.exists(task):  # noqa: PTH110 - pathlib is not loaded for this
                return
            time.sleep(0.0001)

    def stats(self) -> dict[str, int]:
        """Return how it went: counts, times in ns, and the rate that was achieved."""
        sampled_ns = self._last_ns - self._started_ns
        return {
            "samples": self._samples,
            "rounds": self._rounds,
            "sampled_ns": sampled_ns,
            "achieved_hz": round(self._rounds * 1e9 / sampled_ns) if sampled_ns else 0,
            "largest_gap_ns": self._largest_gap_ns,
            "late_ns": self._late_ns,
            "busy_ns": self._busy_ns,
        }

    # ---- the thread ----

    def _wait(self, seconds: float) -> None:
        if self._wake.acquire(timeout=seconds):
            self._wake.release()

    def _draw_sleep_s(self) -> float:
        return min(self._rng.expovariate(1.0), LONGEST_SLEEP) * self._mean_s

    def _run(self) -> None:
        pid = os.getpid()
        try:
            self._ident = _thread.get_ident()
            self._task = f"/proc/self/task/{_thread.get_native_id()}"
            _name_thread()
            self._tick(self._clock())
            due_ns = self._clock()
            while True:
                sleep_s = self._draw_sleep_s()
                due_ns += int(sleep_s * 1e9)
                self._sleep(sleep_s)
                if self._stopping or not self._recorder.active or os.getpid() != pid:
                    return
                due_ns = self._round(due_ns)
        finally:
            self._ident = 0
            self._ended.release()

    def _round(self, due_ns: int) -> int:
        """Look at every thread once; returns the time when that was done."""
        if self._samples_wanted is None:  # given up
            self._tick(self._clock())
            return self._clock()
        now_ns, before_ns = self._clock(), self._last_ns
        self._largest_gap_ns = max(self._largest_gap_ns, now_ns - before_ns)
        self._late_ns += max(0, now_ns - due_ns)
        try:
            if self._samples_wanted and not self._alone():
                self._give_up()
                return self._clock()
            if self._samples_wanted:
                self._sample_threads(now_ns, before_ns)
        except Exception as problem:  # no memory, say: recording ends, the program goes on
            self._recorder.fail(problem)
        self._last_ns = now_ns
        self._rounds += 1
        self._tick(now_ns)
        done_ns = self._clock()
        self._busy_ns += done_ns - now_ns
        return done_ns

    def _sample_threads(self, now_ns: int, before_ns: int) -> None:
        recorder = self._recorder
        native_ids = {**self._starter, **_native_ids()}
        for ident, place in self._look().items():
            stack = recorder.tables.stack(cast("FrameType", place))
            if not stack:
                continue
            thread = recorder.thread(ident, native_ids.get(ident, 0))
            if thread.index not in self._named:
                self._name(thread)
            since_ns, cpu_ns = self._since(thread, now_ns, before_ns)
            recorder.sample(now_ns, now_ns - since_ns, cpu_ns, thread.index, stack)
            self._samples += 1

    def _name(self, thread: ThreadWriter) -> None:
        """Write down a name: a thread may be met before `threading` has entered it in its table."""
        name = getattr(_known_threads().get(thread.ident), "_name", "")
        if name:
            self._named.add(thread.index)
            head = struct.pack("<IQ", thread.index, thread.native_id)
            self._recorder.put(Entry.THREAD, head + str(name).encode("utf-8", "surrogatepass"))

    def _look(self) -> dict[int, Place]:
        """Return where every thread but ours is.

        Copied at once: the threads go on while we write, and a frame that we hold would keep what its
        function's variables hold, to be destroyed in our thread.
        """
        places = {}
        frames = self._frames()
        frames.pop(self._ident, None)  # in a variable of its own, our frame would never be let go
        for ident, innermost in frames.items():
            top = place = Place(innermost)
            frame = innermost.f_back
            for _ in range(MAX_FRAMES - 1):
                if frame is None:
                    break
                place.f_back = Place(frame)
                place, frame = place.f_back, frame.f_back
            else:
                self._say_cut(frame)
            places[ident] = top
        return places

    def _give_up(self) -> None:
        """Look no more: the figures of how it went end with the last look."""
        self._samples_wanted = None
        self._recorder.put(Entry.WARNING, NOT_ALONE.encode())

    def _say_cut(self, left_out: FrameType | None) -> None:
        if left_out is not None and not self._cut_said:
            self._cut_said = True
            text = f"stacks of more than {MAX_FRAMES} frames: the outer ones are left out"
            self._recorder.put(Entry.WARNING, text.encode())

    def _since(self, thread: ThreadWriter, now_ns: int, before_ns: int) -> tuple[int, int]:
        """Return since when a sample counts, and the CPU time since then; −1: not known.

        It counts since the round before, in which its thread was seen, or was not there, or not in Python.
        """
        followed, cpu_before_ns = thread.sampled_ns == before_ns, thread.sampled_cpu_ns
        cpu_ns = self._cpu_clock(thread.native_id) if thread.native_id else -1
        thread.sampled_ns, thread.sampled_cpu_ns = now_ns, max(0, cpu_ns)
        new = not followed and before_ns < thread.created_ns < now_ns
        known = followed and 0 < cpu_before_ns <= cpu_ns
        return thread.created_ns if new else before_ns, cpu_ns - cpu_before_ns if known else -1

    def _tick(self, now_ns: int) -> None:
        for i, call in enumerate(self._ticks):
            if now_ns >= self._next_ns[i]:
                self._next_ns[i] = now_ns + self._periods_ns[i]
                try:
                    call()
                except Exception:  # a counter that cannot be read is left out this time
                    continue


def _native_ids() -> dict[int, int]:
    """Return the kernel's ids of the threads that ``threading`` knows, by ident."""
    threads = list(_known_threads().items())
    return {ident: getattr(thread, "_native_id", 0) or 0 for ident, thread in threads}


def _known_threads() -> dict[int, Any]:
    threads: dict[int, Any] = getattr(sys.modules.get("threading"), "_active", {})
    return threads


def thread_cpu_ns(native_id: int) -> int:
    """Return the CPU time of a thread of this process; −1: it has ended.

    By the kernel's own numbering of clocks: `time.pthread_getcpuclockid` looks into the memory of the
    thread, and faults when it has ended.
    """
    try:
        return time.clock_gettime_ns(~native_id << 3 | 6)
    except OSError:
        return -1


def only_interpreter() -> Callable[[], bool]:
    """Return what says whether this is the only interpreter of the process, where that matters.

    New ones are entered at the head of the list, and before they run.
    """
    if sys.version_info < OWN_GILS:
        return lambda: True
    import ctypes  # as `segments` does, but for the newest versions

    head, main = (
        getattr(ctypes.pythonapi, f"PyInterpreterState_{which}") for which in ("Head", "Main")
    )
    head.restype = main.restype = ctypes.c_void_p
    head.argtypes = main.argtypes = ()
    return lambda: bool(head() == main())


def _name_thread() -> None:
    """Name this thread for the kernel, as ``ps`` and debuggers show it."""
    try:
        with open(f"/proc/self/task/{_thread.get_native_id()}/comm", "w", encoding="ascii") as comm:
            comm.write(THREAD_NAME)
    except OSError:
        return  # it goes without a name
