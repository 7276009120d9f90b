"""Recording a block or a function and being told at once: `Profiler` and `profile`."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, overload

from tinytrace.errors import UsageError
from tinytrace.library import trace
from tinytrace.tracer import annotate
from tinytrace.tracer.annotate import span, step, wrap
from tinytrace.tracer.session import Session

if TYPE_CHECKING:
    from tinytrace.analysis.op_groups import By, OpGroup
    from tinytrace.analysis.report import Report
    from tinytrace.tracer.trace import Trace

F = TypeVar("F", bound=Callable[..., Any])


class Profiler:
    """Record a block, or from `start` to `stop`, and look at it there and then.

    Inside a recording that goes on already (``python -m tinytrace``, an outer `Profiler`), the block belongs to that
    one: it is marked there as a span, and has no trace of its own.

    Args:
        options: as for `tinytrace.trace`: ``rate_hz``, ``sampler``, ``ops``…

    Example:
        >>> import numpy as np
        >>> x = np.ones((200, 200))
        >>> profiler = Profiler(sampler="none")
        >>> with profiler:
        ...     _ = x @ x + x
        >>> [row.label for row in profiler.top_operations(n=1)]
        ['Matrix multiplication']
    """

    def __init__(self, **options: Any) -> None:
        """See the class."""
        self._recording = trace(None, **options)
        self._span = span("Profiler")

    @property
    def trace(self) -> Trace:
        """What was recorded last.

        Raises:
            UsageError: nothing was, or an outer recording has it.
        """
        found = self._recording.result
        if found is None:
            raise UsageError(
                "this profiler has no trace: it has not stopped yet, or an outer recording has what it saw"
            )
        return found

    def start(self) -> Profiler:
        """Begin to record.

        Raises:
            TinytraceError: nothing can be recorded.
        """
        if Session.is_recording():
            self._span.__enter__()
        self._recording.start()
        return self

    def stop(self) -> None:
        """End it; without a `start`, nothing.

        Raises:
            TinytraceError: what was recorded cannot be read back.
        """
        self._span.__exit__(None, None, None)
        self._recording.stop()

    def __enter__(self) -> Profiler:
        """`start`."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """`stop`; an exception travels on."""
        self._span.__exit__(kind, error, tb)
        self._recording.__exit__(kind, error, tb)

    def top_operations(self, n: int | None = 10, by: By = "kind") -> tuple[OpGroup, ...]:
        """Return the operations that took most time.

        Args:
            n: how many at most; None: all.
            by: ``kind`` (as people call them), ``op``, ``callsite``, ``layer``, ``step`` or ``thread``.

        Raises:
            UsageError: there is no trace.
        """
        from tinytrace.analysis.op_groups import group_ops

        return group_ops(self.trace, by, n)

    def print_top_operations(
        self, n: int = 10, by: By = "kind", file: TextIO | None = None
    ) -> None:
        """Print what took most of the wall time, and how much was outside of all operations.

        Args:
            n: how many.
            by: as for `top_operations`.
            file: where to; None: stdout.

        Raises:
            UsageError: there is no trace.
        """
        from tinytrace.cli.toolkit_text import print_top_operations

        print_top_operations(self.trace, self.top_operations(None, by), n, file or sys.stdout)

    def report(self) -> Report:
        """Return what ``python -m tinytrace report`` tells, as a dataclass.

        Raises:
            UsageError: there is no trace.
        """
        from tinytrace.analysis.report import report_of

        return report_of(self.trace)

    def save(self, path: str | Path) -> None:
        """Write the trace; the ending of the name chooses the format.

        Raises:
            UsageError: there is no trace.
            OutputError: it cannot be written.
        """
        from tinytrace.exporters.registry import export

        export(self.trace, path)


@overload
def profile(function: F, /) -> F: ...
@overload
def profile(
    *, calls: int | None = 1, quiet: bool = False, output: str | Path | None = None, **options: Any
) -> Callable[[F], F]: ...
def profile(
    function: Any = None,
    /,
    *,
    calls: int | None = 1,
    quiet: bool = False,
    output: str | Path | None = None,
    **options: Any,
) -> Any:
    """Record calls of a function, and print the summary on stderr after the last of them.

    ``@profile`` or ``@profile(calls=5)``; plain functions, methods, coroutine functions and generators. The recording
    begins with the first call and ends after ``calls`` of them, or when the program ends: what runs between the
    calls is recorded too, and each call is a step. Later calls cost nothing. Inside a recording that goes on
    already, every call is a span of that one, and nothing is printed.

    Args:
        function: what to record.
        calls: how many calls; None: all, until the program ends.
        quiet: print nothing.
        output: also write the trace to this file.
        options: as for `tinytrace.trace`.

    Returns:
        The function; its attribute ``profile`` has ``trace``, ``report()``, ``print_top_operations()`` and ``save()``
        as a `Profiler` has.

    Raises:
        TypeError: it is no function.
        UsageError: ``calls`` is not at least 1, or an option makes no sense.

    Example:
        >>> import numpy as np
        >>> @profile(quiet=True, sampler="none")
        ... def forward(x, w):
        ...     return x @ w
        >>> _ = forward(np.ones((2, 3)), np.ones((3, 4)))
        >>> forward.profile.top_operations()[0].label
        'Matrix multiplication'
    """
    if function is not None:
        return profile()(function)
    if calls is not None and calls < 1:
        raise UsageError(f"profile needs at least one call to record, not {calls}")

    def decorate(function: F) -> F:
        profiled = ProfiledFunction(
            getattr(function, "__qualname__", "function"), calls, quiet, output, options
        )
        wrapped = wrap(function, profiled.call, always=True)
        target: Any = (
            wrapped.__func__ if isinstance(wrapped, (staticmethod, classmethod)) else wrapped
        )
        target.profile = profiled
        return wrapped

    return decorate


class ProfiledFunction(Profiler):
    """What `profile` keeps of a function."""

    def __init__(
        self,
        name: str,
        calls: int | None,
        quiet: bool,
        output: str | Path | None,
        options: dict[str, Any],
    ) -> None:
        """See `profile`."""
        super().__init__(**options)
        self._recording = trace(output, **options)
        self._name = name
        self._left = calls
        self._quiet = quiet
        self._output = None if output is None else Path(output)
        self._open = 0
        self._begun = False
        self._lock = threading.Lock()

    def call(self) -> AbstractContextManager[object]:
        """Return the context of a call that begins, and begin the recording with the first one."""
        with self._lock:
            if self._left == 0:
                return nullcontext()
            if not self._begun and Session.is_recording():
                return span(self._name)
            if not self._begun:
                self._recording.start()
                atexit.register(self._finish)  # before that of the recording, which began first
                self._begun = True
            if self._left is not None:
                self._left -= 1
            self._open += 1
        return _Call(self)

    def _call_ended(self) -> None:
        with self._lock:
            self._open -= 1
            if self._left != 0 or self._open:
                return
        self._finish()

    def _finish(self) -> None:
        """End the recording and print the summary: after the last call, or when the program ends."""
        atexit.unregister(self._finish)
        self._recording.__exit__(*sys.exc_info())
        if not self._quiet and self._recording.result is not None and sys.stderr is not None:
            from tinytrace.cli.render import print_summary

            with suppress(
                OSError, ValueError
            ):  # nobody reads it: the program's call has its result
                print_summary(self._recording.result, self._output, file=sys.stderr)


class _Call(step):
    """One recorded call: a step."""

    def __init__(self, profiled: ProfiledFunction) -> None:
        super().__init__()
        self._profiled = profiled

    def __enter__(self) -> _Call:
        marks = annotate._marks
        if marks is not None:
            self._begin(marks, sys._getframe(1))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open:
            self._end(sys._getframe(1), kind)
        self._profiled._call_ended()
