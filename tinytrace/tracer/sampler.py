"""The sampling thread in pure Python: what `native/sampler.c` does, slower.

A sample stands for the time since its thread was last seen: the GIL decides when we get to look, so
counting samples would favour code that releases it.
"""

from __future__ import annotations

import _thread
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from tinytrace.tracer.recorder import PythonRecorder
from tinytrace.tracer.thread_writer import ThreadWriter

THREAD_NAME = "tinytrace-stack"  # as the kernel knows it; at most 15 characters
LONGEST_SLEEP = 5.0  # in mean sleeps


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
    ) -> None:
        """Prepare; nothing runs before `start`."""
        if rate_hz < 0 or not (rate_hz or ticks):
            raise ValueError("neither a rate nor a tick")
        self._recorder = recorder
        self._samples_wanted = rate_hz > 0
        self._mean_s = 1 / rate_hz if rate_hz else min(period for period, _ in ticks)
        self._clock = clock
        self._sleep = sleep or self._wait
        self._rng = rng or random.Random()
        self._frames = frames
        self._cpu_clock = cpu_clock or thread_cpu_ns
        self._ticks = [call for _, call in ticks]
        self._periods_ns = [int(period * 1e9) for period, _ in ticks]
        self._next_ns = [0] * len(ticks)
        self._stopping = False
        self._wake = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        self._ident = 0
        self._started_ns = self._last_ns = 0
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
        self._wake.acquire()
        self._ended.acquire()
        try:
            _thread.start_new_thread(self._run, ())
        except BaseException:
            self._ended.release()
            self._wake.release()
            raise

    def stop(self) -> None:
        """Stop the thread and wait for it; stopping twice is fine."""
        self._stopping = True
        if self._wake.locked():
            self._wake.release()
        if self._ident != _thread.get_ident():
            with self._ended:
                return

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
            # The program's signals are for the program's threads.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
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
        now_ns = self._clock()
        self._largest_gap_ns = max(self._largest_gap_ns, now_ns - self._last_ns)
        self._late_ns += max(0, now_ns - due_ns)
        self._last_ns = now_ns
        self._rounds += 1
        try:
            if self._samples_wanted:
                self._sample_threads(now_ns)
        except Exception as problem:  # no memory, say: recording ends, the program goes on
            self._recorder.fail(problem)
        self._tick(now_ns)
        done_ns = self._clock()
        self._busy_ns += done_ns - now_ns
        return done_ns

    def _sample_threads(self, now_ns: int) -> None:
        recorder = self._recorder
        native_ids = _native_ids()
        for ident, frame in self._frames().items():
            if ident == self._ident:
                continue
            stack = recorder.tables.stack(frame)
            if not stack:
                continue
            thread = recorder.thread(ident, native_ids.get(ident, 0))
            recorder.sample(now_ns, *self._since(thread, now_ns), thread.index, stack)
            self._samples += 1

    def _since(self, thread: ThreadWriter, now_ns: int) -> tuple[int, int]:
        """Return the wall and CPU time since a thread was last seen; CPU −1: not known."""
        seen_ns, cpu_before_ns = thread.sampled_ns, thread.sampled_cpu_ns
        cpu_ns = self._cpu_clock(thread.native_id) if thread.native_id else -1
        thread.sampled_ns, thread.sampled_cpu_ns = now_ns, max(0, cpu_ns)
        weight_ns = now_ns - (seen_ns or max(thread.created_ns, self._started_ns))
        known = cpu_ns > 0 and cpu_before_ns > 0 and cpu_ns >= cpu_before_ns
        return max(0, weight_ns), cpu_ns - cpu_before_ns if known else -1

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
    active = getattr(sys.modules.get("threading"), "_active", {})
    return {ident: getattr(thread, "_native_id", 0) or 0 for ident, thread in list(active.items())}


def thread_cpu_ns(native_id: int) -> int:
    """Return the CPU time of a thread of this process; −1: it has ended.

    By the kernel's own numbering of clocks: `time.pthread_getcpuclockid` looks into the memory of the
    thread, and faults when it has ended.
    """
    try:
        return time.clock_gettime_ns(~native_id << 3 | 6)
    except OSError:
        return -1


def _name_thread() -> None:
    """Name this thread for the kernel, as ``ps`` and debuggers show it."""
    try:
        with open(f"/proc/self/task/{_thread.get_native_id()}/comm", "w", encoding="ascii") as comm:
            comm.write(THREAD_NAME)
    except OSError:
        return  # it goes without a name
