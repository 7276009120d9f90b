"""Recording from inside a program: `trace`."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from tinytrace.errors import OutputError, TinytraceError
from tinytrace.tracer import children
from tinytrace.tracer.annotate import wrap
from tinytrace.tracer.options import Options
from tinytrace.tracer.session import Session

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace

F = TypeVar("F", bound=Callable[..., Any])
# Starting and stopping, of whichever `trace`, is one thing at a time; a call inside of that may start another.
_lock = threading.RLock()


class trace:
    """Record a block, from `start` to `stop`, or every call of a function.

    Nestable: an inner one belongs to the recording of the outermost, and writes nothing itself; so does one
    in a program that is run by ``python -m tinytrace``, and one that another thread begins meanwhile.
    What is recorded is the process, all of its threads. The same object may be used again; the file then
    holds the latest recording. What was not stopped is when the program ends.

    Args:
        output: the file to write (``.json``, ``.json.gz``, ``.pftrace``); None: only ``.result`` is kept.
        options: as on the command line: ``rate_hz``, ``sampler``, ``ops``… (`Options`).

    Attributes:
        result: the `Trace`, after the block; None before, and on inner ones.

    Raises:
        TinytraceError: nothing can be recorded, or written; the message says what is kept where.

    Example:
        >>> import tinytrace as tt
        >>> with tt.trace(sampler="none") as recording:
        ...     with tt.span("work"):
        ...         pass
        >>> [recording.result.strings[i] for i in recording.result.spans.name_id]
        ['work']
    """

    def __init__(self, output: str | Path | None = None, **options: Any) -> None:
        """See the class."""
        if callable(output):
            raise TypeError(f"trace needs a file or nothing, not {output!r}: @trace()")
        self._output = None if output is None else Path(output).absolute()
        self._options = {"children": False, **options}
        self._check()
        self._session: Session | None = None
        self._depth = self._pid = 0
        self.result: Trace | None = None

    def _check(self) -> None:
        """Find out now what could not be written or is no option, and not when there is something to write."""
        try:
            Options(output=self._output or Path("trace.json"), **self._options)
        except TypeError as problem:
            raise TypeError(str(problem).replace("Options.__init__()", "trace()")) from None
        if self._output is not None:
            from tinytrace.exporters.registry import exporter_for

            exporter_for(self._output)

    def start(self) -> trace:
        """Begin to record, unless that is being done already.

        Raises:
            TinytraceError: nothing can be recorded.
        """
        with _lock:
            current = Session._current
            if self._depth == 0 and (current is None or not current.is_alive()):
                self._session, self._pid = self._begin(), os.getpid()
                atexit.register(self._at_exit)
            self._depth += 1
        return self

    def _begin(self) -> Session:
        """Start a session; its run folder lies beside the file, or in a folder of its own."""
        scratch = None
        if self._output is None:
            scratch = Path(tempfile.mkdtemp(prefix="tinytrace-"))
        elif self._output.is_dir() or not self._output.parent.is_dir():
            what = "is a folder" if self._output.is_dir() else "there is no such folder"
            raise OutputError(f"{self._output}: {what}: give the name of a file")
        output = self._output or Path(str(scratch), "trace.json")
        try:
            session = Session(Options(output=output, **self._options), list(sys.argv))
            session.start()
        except BaseException:
            if scratch:
                shutil.rmtree(scratch, ignore_errors=True)
            raise
        if session.options.children:
            children.follow(session, children.describe(session.options, session.run_folder))
        return session

    def stop(self) -> None:
        """End the recording and write the file; without a `start`, nothing.

        Raises:
            TinytraceError: it cannot be written. What was recorded is kept: the message says where.
        """
        with _lock:
            self._depth = max(0, self._depth - 1)
            if self._depth or self._session is None:
                return
            atexit.unregister(self._at_exit)
            session, self._session = self._session, None
            session.stop()
            if self._pid != os.getpid():
                return  # the child of a fork leaves the block: the trace is its parent's to write
            children.unfollow()
        try:
            self.result = self._save(session)
        except TinytraceError as problem:
            kept = f"it is kept: python -m tinytrace recover {session.run_folder}"
            raise type(problem)(f"{problem}; {kept}") from problem
        finally:
            session.release()
        session.discard()
        if self._output is None:
            shutil.rmtree(session.options.output.parent, ignore_errors=True)

    def _at_exit(self) -> None:
        """The program has ended without a `stop`: nothing is lost."""
        self._depth = 1
        self.__exit__(SystemExit, SystemExit(), None)

    def _save(self, session: Session) -> Trace:
        from tinytrace.analysis.counting import with_convention
        from tinytrace.analysis.peaks_attach import with_peaks
        from tinytrace.analysis.torch_merge import with_torch

        recorded = with_peaks(with_convention(with_torch(session.trace(), session.run_folder)))
        if self._output is None:
            return recorded
        from tinytrace.analysis.budget import fit
        from tinytrace.exporters.registry import export

        recorded = fit(recorded, session.options.budget_bytes)
        export(recorded, self._output)
        return recorded

    def __enter__(self) -> trace:
        """`start`."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """`stop`; an exception travels on, even when the trace cannot be written, which is a warning then."""
        try:
            self.stop()
        except TinytraceError as problem:
            if error is None:
                raise
            with contextlib.suppress(RuntimeWarning):  # where warnings are errors
                warnings.warn(str(problem), RuntimeWarning, stacklevel=2)

    def __call__(self, function: F) -> F:
        """Record every call of a function; of a generator or coroutine, until it has ended."""
        return wrap(function, lambda: self, always=True)
