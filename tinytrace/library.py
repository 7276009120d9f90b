"""Recording from inside a program: `trace`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from tinytrace.tracer.session import Options, Session

if TYPE_CHECKING:
    from tinytrace.tracer.trace import Trace

F = TypeVar("F", bound=Callable[..., Any])


class trace:
    """Record a block, from `start` to `stop`, or every call of a function.

    Nestable: an inner one belongs to the recording of the outermost, and writes nothing itself.

    Args:
        output: the file to write (``.json``, ``.json.gz``); None: only ``.result`` is kept.
        options: as on the command line: ``rate_hz``, ``sampler``, ``ops``… (`Options`).

    Attributes:
        result: the `Trace`, after the block; None before, and on inner ones.

    Raises:
        TinytraceError: on starting, when nothing can be recorded.

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
        self._output = None if output is None else Path(output)
        self._options = {"children": False, **options}
        self._session: Session | None = None
        self._depth = 0
        self.result: Trace | None = None

    def start(self) -> trace:
        """Begin to record, unless that is being done already."""
        self._depth += 1
        if self._depth == 1 and Session._current is None:
            home = self._output if self._output is not None else Path(_scratch()) / "trace.json"
            session = Session(Options(output=home.absolute(), **self._options), list(sys.argv))
            session.start()
            self._session = session
        return self

    def stop(self) -> None:
        """End the recording and write the file. The run folder stays when that fails."""
        self._depth -= 1
        if self._depth or self._session is None:
            return
        session, self._session = self._session, None
        session.stop()
        recorded = session.trace()
        if self._output is not None:
            from tinytrace.analysis.budget import fit
            from tinytrace.analysis.counting import CONVENTION
            from tinytrace.exporters.registry import export

            recorded = replace(recorded, meta={**recorded.meta, "conventions": dict(CONVENTION)})
            recorded = fit(recorded, session.options.budget_bytes)
            export(recorded, self._output)
        session.discard()
        self.result = recorded

    def __enter__(self) -> trace:
        """`start`."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """`stop`; an exception travels on."""
        self.stop()

    def __call__(self, function: F) -> F:
        """Record every call of a function."""

        @functools.wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return traced  # type: ignore[return-value]


def _scratch() -> str:
    import tempfile

    return tempfile.gettempdir()
