"""How long a block took: `Timer`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

from tinytrace.tracer.annotate import wrap

F = TypeVar("F", bound=Callable[..., Any])
NS_PER_MS = 1e6


class Timer:
    """Measure a block, or every call of a function, by the monotonic clock.

    Blocks of one timer may lie inside each other, and run in several threads: each is timed from its own
    beginning. A block that raises is timed like any other.

    Args:
        clock: tells ns.

    Attributes:
        ns: of the block that ended last, in ns; while the first one is still running, so far; None: none began.
        calls: how many blocks have ended.
        total_ns: of all of them together; those inside others of this timer are in both.

    Example:
        >>> ticks = iter([0, 2_500_000])
        >>> with Timer(clock=lambda: next(ticks)) as t:
        ...     pass
        >>> t.elapsed, t.ns
        (2.5, 2500000)
    """

    def __init__(self, *, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        """See the class."""
        self._clock = clock
        self._begun = threading.local()
        self._first_ns: int | None = None
        self._lock = threading.Lock()
        self._latest_ns: int | None = None
        self.calls = 0
        self.total_ns = 0

    @property
    def ns(self) -> int | None:
        """See the class."""
        if self._latest_ns is None and self._first_ns is not None:
            return self._clock() - self._first_ns
        return self._latest_ns

    @property
    def elapsed(self) -> float:
        """`ns` in ms.

        Raises:
            RuntimeError: no block has begun.
        """
        ns = self.ns
        if ns is None:
            raise RuntimeError("this timer has not timed anything yet: with timer: …")
        return ns / NS_PER_MS

    @property
    def mean(self) -> float:
        """Mean of the blocks that have ended, ms.

        Raises:
            RuntimeError: none has.
        """
        if not self.calls:
            raise RuntimeError("no block of this timer has ended yet")
        return self.total_ns / self.calls / NS_PER_MS

    def __enter__(self) -> Timer:
        """Begin a block."""
        stack = self._begun.__dict__.setdefault("stack", [])
        stack.append(0)
        begun_ns = stack[-1] = self._clock()  # last, so that nothing of ours is inside
        if self._first_ns is None:
            self._first_ns = begun_ns
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the block that this thread began last."""
        now_ns = self._clock()
        self._ended(now_ns - self._begun.stack.pop())

    def _ended(self, ns: int) -> None:
        with self._lock:
            self._latest_ns = ns
            self.calls += 1
            self.total_ns += ns

    def __call__(self, function: F) -> F:
        """Time every call of a function; of a generator or coroutine, until it has ended."""
        return wrap(function, lambda: _Call(self), always=True)

    def __repr__(self) -> str:
        """What was measured."""
        ns = self.ns
        return "Timer()" if ns is None else f"Timer({ns / NS_PER_MS:.6g} ms, {self.calls} ended)"


class _Call(AbstractContextManager["_Call"]):
    """One call of a timed function: coroutines and generators of one thread end in any order."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def __enter__(self) -> _Call:
        self._begun_ns = self._timer._clock()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer._ended(self._timer._clock() - self._begun_ns)
