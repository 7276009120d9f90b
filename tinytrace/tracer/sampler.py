"""The sampling thread in Python: what `native/sampler.c` does, where there is no compiled core.

A sample carries a weight: the time since the last one. Counting samples instead is wrong by tens of
percent, since the thread gets the GIL early from code that releases it and late from code that holds it.
"""

from __future__ import annotations

import _thread
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tinytrace.tracer.recorder import PythonRecorder

MAX_SLEEP_PERIODS = 5  # the longest sleep that is drawn


class _Random(Protocol):
    def expovariate(self, lambd: float, /) -> float: ...


@dataclass
class _Tick:
    period_ns: int
    call: Callable[[], None]
    due_ns: int = 0


class PythonSampler:
    """Takes the stacks of all other threads, about ``rate_hz`` times a second; 0: never.

    Args:
        recorder: where the samples go.
        ticks: functions that are called about every so many seconds, with the period first.
        clock: CLOCK_MONOTONIC in nanoseconds.
        sleep: seconds.
        rng: draws the sleeps, from an exponential distribution, so that sampling does not alias with
            the loops of the program.
    """

    def __init__(
        self,
        recorder: PythonRecorder,
        rate_hz: float,
        ticks: list[tuple[float, Callable[[], None]]],
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], None] = time.sleep,
        rng: _Random | None = None,
    ) -> None:
        """Prepare; `start` begins."""
        self._recorder = recorder
        self._rate_hz = rate_hz
        self._ticks = [_Tick(int(period_s * 1e9), call) for period_s, call in ticks]
        self._clock = clock
        self._sleep = sleep
        self._rng: _Random = rng if rng is not None else random.Random()
        self._period_s = 1 / rate_hz if rate_hz else min([p for p, _ in ticks], default=0.05)
        self._stopping = False
        self._ended = _thread.allocate_lock()
        self._started_ns = self._last_ns = 0
        self._samples = self._rounds = self._largest_gap_ns = self._late_ns = self._busy_ns = 0

    def start(self) -> None:
        """Start the thread, which ``threading`` does not know of."""
        self._started_ns = self._last_ns = self._clock()
        self._ended.acquire()
        _thread.start_new_thread(self._run, ())

    def stop(self) -> None:
        """Stop the thread and wait for its end, a few periods at most."""
        self._stopping = True
        self._ended.acquire(timeout=5.0)

    def stats(self) -> dict[str, int]:
        """Return samples, rounds, sampled_ns, largest_gap_ns, late_ns and busy_ns."""
        return {
            "samples": self._samples,
            "rounds": self._rounds,
            "sampled_ns": self._last_ns - self._started_ns,
            "largest_gap_ns": self._largest_gap_ns,
            "late_ns": self._late_ns,
            "busy_ns": self._busy_ns,
        }

    def _run(self) -> None:
        own = _thread.get_ident()
        try:
            self._tick(self._clock())
            while not self._stopping:
                period = min(self._rng.expovariate(1.0), MAX_SLEEP_PERIODS) * self._period_s
                due = self._clock() + int(period * 1e9)
                self._sleep(period)
                if self._stopping or not self._recorder.active:
                    break
                self.round(due, own)
        finally:
            self._ended.release()

    def round(self, due_ns: int, own: int) -> None:
        """Take one sample of every thread but ``own``; ``due_ns`` is when that was to happen."""
        now = self._clock()
        self._largest_gap_ns = max(self._largest_gap_ns, now - self._last_ns)
        self._late_ns += max(0, now - due_ns)
        self._last_ns = now
        self._rounds += 1
        if self._rate_hz:
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    self._sample(ident, frame, now)
        self._tick(now)
        self._busy_ns += self._clock() - now

    def _sample(self, ident: int, frame: object, now: int) -> None:
        stack = self._recorder.tables.stack(frame)  # type: ignore[arg-type]
        if not stack:
            return
        active = getattr(sys.modules.get("threading"), "_active", {})
        writer = self._recorder.thread(ident, getattr(active.get(ident), "_native_id", None) or 0)
        since = writer.sampled_ns or max(writer.created_ns, self._started_ns)
        cpu = self._cpu_ns(ident)
        known = cpu is not None and writer.sampled_cpu_ns and cpu >= writer.sampled_cpu_ns
        used = cpu - writer.sampled_cpu_ns if cpu is not None and known else -1
        self._recorder.sample(now, max(0, now - since), used, writer.index, stack)
        writer.sampled_ns = now
        writer.sampled_cpu_ns = cpu or 0
        self._samples += 1

    @staticmethod
    def _cpu_ns(ident: int) -> int | None:
        """CPU time of a thread; None: it has ended, or this system does not tell."""
        try:
            return time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
        except (AttributeError, OSError):
            return None

    def _tick(self, now: int) -> None:
        for tick in self._ticks:
            if now >= tick.due_ns:
                tick.due_ns = now + tick.period_ns
                tick.call()
