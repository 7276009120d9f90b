"""What is read at intervals while a process is recorded: stacks, by a thread of ours or py-spy; and counters."""

from __future__ import annotations

import _thread
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinytrace.errors import StoreError
from tinytrace.tracer.options import Options
from tinytrace.tracer.records import Entry

# Python hands the GIL to a waiting thread after this long. With the default of 5 ms a 1 kHz sampling
# thread gets 160 samples/s out of pure Python code, with 0.5 ms 950.
SWITCH_INTERVAL_S = 0.0005
TICK_S = 0.05
FIRST_TICK_S = 1.0  # a thread that has not begun by then is not waited for


class Sampling:
    """The sampling of one recording.

    Args:
        recorder: where to.
        options: the user's.
        folder: the store of this process.
        tick: reads the counters.
        undo: what ends it is put here.

    Attributes:
        asked_hz: of our own thread.
        tick: to be called when recording stops, for what there is since the last one.
    """

    def __init__(
        self,
        recorder: Any,
        options: Options,
        folder: Path,
        tick: Callable[[], None],
        undo: list[Callable[[], None]],
    ) -> None:
        """Prepare."""
        self._recorder, self._options, self._folder = recorder, options, folder
        self._undo = undo
        self.tick = tick
        self._stats: Callable[[], dict[str, int]] | None = None
        self.asked_hz = 0.0

    def stats(self) -> dict[str, int]:
        """Return how it went so far; {}: it has not begun."""
        return self._stats() if self._stats is not None else {}

    def start(self) -> None:
        """Begin: as the user wants it, else by a thread, which the trace says."""
        if self._options.sampler == "py-spy":
            self._start_pyspy()
        rate = self._options.rate_hz if self._options.sampler == "thread" else 0.0
        self._start_thread(rate)

    def _start_pyspy(self) -> None:
        from tinytrace.tracer.pyspy import PySpySampler

        spy = PySpySampler(
            self._recorder, self._options.rate_hz, self._options.native, self._folder
        )
        try:
            spy.start()
        except StoreError as problem:
            text = f"{problem}; the sampling thread took the samples"
            self._recorder.put(Entry.WARNING, text.encode("utf-8", "replace"))
            self._start_thread(self._options.rate_hz)
            return
        self._undo.append(spy.stop)
        counters = self.tick

        def tick() -> None:
            spy.tick()
            counters()

        self.tick = tick

    def _start_thread(self, rate_hz: float) -> None:
        """Start the sampling thread; at rate 0 it reads the counters only."""
        if self._stats is not None:
            return
        self.asked_hz = rate_hz
        first, tick = _first_call(self.tick)
        if self._recorder.core == "c":
            self._recorder.sampler_start(
                rate_hz, tick, TICK_S, random.SystemRandom().getrandbits(63)
            )
            self._stats = self._recorder.sampler_stats
            self._undo.append(self._recorder.sampler_stop)
        else:
            from tinytrace.tracer.sampler import PythonSampler

            sampler = PythonSampler(self._recorder, rate_hz, [(TICK_S, tick)])
            sampler.start()
            self._stats = sampler.stats
            self._undo.append(sampler.stop)
        # What the thread opens at first, it opens before the program goes on: one that was just forked may
        # be about to close every file and to open its own.
        first.acquire(timeout=FIRST_TICK_S)
        before = sys.getswitchinterval()
        if rate_hz and before > SWITCH_INTERVAL_S:
            sys.setswitchinterval(SWITCH_INTERVAL_S)

            def restore() -> None:
                if abs(sys.getswitchinterval() - SWITCH_INTERVAL_S) < 1e-9:
                    sys.setswitchinterval(before)

            self._undo.append(restore)


def _first_call(tick: Callable[[], None]) -> tuple[_thread.LockType, Callable[[], None]]:
    """A lock that is free once ``tick`` was called for the first time; and what is to be called."""
    first = _thread.allocate_lock()
    first.acquire()

    def call() -> None:
        try:
            tick()
        finally:
            if first.locked():
                first.release()

    return first, call
