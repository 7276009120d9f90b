"""How much memory a block took: `MemoryTracker`."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from tinytrace.errors import UsageError
from tinytrace.tracer.annotate import wrap
from tinytrace.tracer.counters import BYTES_PER_MB, resident_reader
from tinytrace.tracer.session import load_core

F = TypeVar("F", bound=Callable[..., Any])
FRAMES = 1  # that tracemalloc keeps per block: the line that made it


@dataclass(frozen=True, slots=True)
class HeldLine:
    """What one line made inside the block and was still there at its end.

    Attributes:
        file, line: where.
        bytes: arrays and Python objects together.
        blocks: how many.
    """

    file: str
    line: int
    bytes: int
    blocks: int


class MemoryTracker:
    """Measure by how much a block raises memory, above where it was when the block began.

    Array bytes are what NumPy allocates (NEP 49), in all threads, exact to the byte at every moment; arrays that
    are older and freed inside lower the level. Without the compiled core only ``tracemalloc`` can tell: then
    ``python_heap`` is on, and the figures are those of arrays and Python objects together (`what`).

    Args:
        python_heap: follow Python's objects too, by ``tracemalloc``: the block then runs 2 to 4 times as long.

    Attributes:
        lines: with ``python_heap``: which lines made what is still there at the end, most bytes first.
        array_bytes, array_peak_bytes: rise of array bytes at the end, and at most; None: not measured.
        allocations: arrays allocated; None: not measured.
        heap_bytes, heap_peak_bytes: the same of Python objects and arrays together, by ``tracemalloc``; None: not so.
        rss_bytes: rise of resident memory from begin to end; None: not known here.

    Raises:
        UsageError: it was entered again before it ended.

    Example:
        >>> import numpy as np
        >>> with MemoryTracker() as m:
        ...     x = np.ones(1_000_000)
        ...     del x
        >>> 8 <= m.peak_usage < 8.1
        True
    """

    def __init__(self, *, python_heap: bool = False) -> None:
        """See the class."""
        self._core = load_core()
        self._resident = resident_reader(self._core)
        self._has_watch = hasattr(self._core, "memory_watch")
        self._heap = python_heap or not self._has_watch
        self._watch: int | None = None
        self._running = False
        self.lines: tuple[HeldLine, ...] = ()
        self._forget()

    def _forget(self) -> None:
        self.array_bytes: int | None = None
        self.array_peak_bytes: int | None = None
        self.allocations: int | None = None
        self.heap_bytes: int | None = None
        self.heap_peak_bytes: int | None = None
        self.rss_bytes: int | None = None

    @property
    def what(self) -> str:
        """What `peak_usage` counts: ``NumPy arrays``, or ``NumPy arrays and Python objects``."""
        return "NumPy arrays" if self._has_watch else "NumPy arrays and Python objects"

    @property
    def peak_usage(self) -> float:
        """The highest rise above the beginning, in MB (10⁶ bytes); while the block runs, so far.

        Raises:
            RuntimeError: nothing was measured yet.
        """
        return self._figure(self._arrays_now(), self.array_peak_bytes, self.heap_peak_bytes, 1)

    @property
    def net_usage(self) -> float:
        """How much more there is at the end than at the beginning, in MB (10⁶ bytes).

        Raises:
            RuntimeError: nothing was measured yet.
        """
        return self._figure(self._arrays_now(), self.array_bytes, self.heap_bytes, 0)

    def _figure(
        self, now: tuple[int, int, int] | None, arrays: int | None, heap: int | None, which: int
    ) -> float:
        found = now[which] if now is not None else arrays
        if found is None:
            found = self._heap_now()[which] if self._running else heap
        if found is None:
            raise RuntimeError("this tracker has not measured anything yet: with tracker: …")
        return found / BYTES_PER_MB

    def _arrays_now(self) -> tuple[int, int, int] | None:
        """Return rise, highest rise and number of allocations so far; None: the block has ended, or has no watch."""
        if self._watch is None:
            return None
        live, peak, allocations = self._core.memory_watched(self._watch)
        return live, peak, allocations

    def _heap_now(self) -> tuple[int, int]:
        live, peak = tracemalloc.get_traced_memory()
        return live - self._heap_before, max(0, peak - self._heap_before)

    def __enter__(self) -> MemoryTracker:
        """Begin."""
        if self._running:
            raise UsageError("this MemoryTracker is measuring already: use another one inside")
        self._forget()
        self._running = True
        self._rss_before = self._resident() if self._resident else None
        if self._heap:
            self._started_heap = not tracemalloc.is_tracing()
            if self._started_heap:
                tracemalloc.start(FRAMES)
            tracemalloc.reset_peak()
            self._before = tracemalloc.take_snapshot()
            self._heap_before = tracemalloc.get_traced_memory()[0]
        if self._has_watch:
            import numpy  # noqa: F401  # the handler is NumPy's

            self._watch = self._core.memory_watch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        found = self._arrays_now()
        if found is not None:
            self.array_bytes, self.array_peak_bytes, self.allocations = found
            self._core.memory_unwatch(self._watch)
            self._watch = None
        if self._heap:
            self._end_heap()
        rss = self._resident() if self._resident else None
        if rss is not None and self._rss_before is not None:
            self.rss_bytes = rss - self._rss_before
        self._running = False

    def _end_heap(self) -> None:
        if not tracemalloc.is_tracing():  # the program has stopped it
            return
        self.heap_bytes, self.heap_peak_bytes = self._heap_now()
        after = tracemalloc.take_snapshot()
        if self._started_heap:
            tracemalloc.stop()
        rows = after.compare_to(self._before, "lineno")
        ours = (tracemalloc.__file__, __file__)
        self.lines = tuple(
            HeldLine(
                row.traceback[0].filename, row.traceback[0].lineno, row.size_diff, row.count_diff
            )
            for row in sorted(rows, key=lambda row: -row.size_diff)
            if row.size_diff > 0 and row.traceback[0].filename not in ours
        )
        del self._before

    def __call__(self, function: F) -> F:
        """Measure every call of a function; the figures are those of the latest."""
        return wrap(function, lambda: self, always=True)
