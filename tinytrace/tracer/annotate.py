"""The program's own marks: `span`, `op`, `step`, `counter`, `instant`.

Near-free while nothing is recording: one name is looked at, no argument is. Spans are context managers
and decorators, for plain and for async functions and generators.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

from tinytrace.tracer.marks import Marks, OpenSpan
from tinytrace.tracer.records import Flag, Kind

F = TypeVar("F", bound=Callable[..., Any])
MAX_STEP = 2**31 - 1

_marks: Marks | None = None  # of the recording that goes on; one per process


def set_recorder(recorder: Any) -> None:
    """Record marks with this recorder from now on; None: nowhere."""
    global _marks  # noqa: PLW0603
    _marks = None if recorder is None else Marks(recorder)


class span:
    """A named span around a block, or around every call of a function.

    Args:
        name: what the viewer shows.
        args: anything, shown with the span: kept as JSON where it is JSON-like; of arrays type and
            shape, of anything else the repr.

    Raises:
        TypeError: the name is no text (``@span`` instead of ``@span("name")``).

    Example:
        >>> with span("load", path="digits.npz"):
        ...     pass
        >>> @span("evaluate")
        ... def evaluate(): return 0.97
        >>> evaluate()
        0.97
    """

    _kind = Kind.SPAN

    def __init__(self, name: str, /, **args: Any) -> None:
        """See the class."""
        if not isinstance(name, str):
            raise _not_a_name(type(self).__name__, name)
        self._name = name
        self._args = args
        self._open: list[OpenSpan] = []

    def _what(self, marks: Marks) -> int:
        return marks.label(self._name, self._args)

    def __enter__(self) -> span:
        """Begin."""
        marks = _marks
        if marks is not None:
            self._begin(marks, sys._getframe(1))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; an exception is noted and travels on."""
        if self._open:
            self._end(sys._getframe(1), kind)

    async def __aenter__(self) -> span:
        """Begin, in a coroutine."""
        marks = _marks
        if marks is not None:
            self._begin(marks, sys._getframe(1))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, in a coroutine."""
        if self._open:
            self._end(sys._getframe(1), kind)

    def _begin(self, marks: Marks, frame: FrameType) -> None:
        if marks.suspendable:
            marks.note_suspended(frame)
        token = marks.recorder.begin(self._kind, self._what(marks))
        self._open.append(marks.opened(frame, token))

    def _end(self, frame: FrameType, kind: type[BaseException] | None) -> None:
        """End what this frame began: one object may be open in several threads and coroutines.

        Where begin and end are in different frames (an `ExitStack`, callbacks): what began last.
        """
        ident = id(frame)
        opened = self._open
        try:
            found = next((o for o in reversed(opened) if o.frame == ident), None) or opened[-1]
            opened.remove(found)
        except (IndexError, ValueError):  # another thread has just ended it
            return
        marks = found.marks
        marks.closed(found)
        if marks.suspendable:
            marks.note_suspended(frame)
        if found.token and marks is _marks:
            raised = kind is not None and not issubclass(kind, GeneratorExit)
            flags = (Flag.RAISED if raised else 0) | (Flag.DETACHED if found.suspended else 0)
            marks.recorder.end(found.token, flags)

    def _again(self) -> span:
        """A span of its own for one call."""
        fresh = type(self).__new__(type(self))
        fresh.__dict__.update(self.__dict__, _open=[])
        return fresh

    def __call__(self, function: F) -> F:
        """Wrap a function, an async function, a generator or an async generator."""
        return wrap(function, self._again)


class op(span):
    """An operation of the program's own, with figures that it knows: counted instead of what runs inside.

    Args:
        name: what tables show.
        flops: floating-point operations, FMA = 2; None = not known, listed as uncounted.
        bytes: bytes read and written; None = not known.
        args: as for `span`.

    Example:
        >>> with op("my_kernel", flops=2 * 10**6, bytes=24_000):
        ...     pass
    """

    _kind = Kind.LABELLED_OP

    def __init__(
        self,
        name: str,
        /,
        *,
        flops: float | None = None,
        bytes: float | None = None,
        **args: Any,
    ) -> None:
        """See the class."""
        super().__init__(name, **args)
        figures = {"flops": flops, "bytes": bytes}
        self._args |= {key: value for key, value in figures.items() if value is not None}


class step(span):
    """One step of a loop (a training step): everything that begins in it carries its number, from 0.

    It ends where its block ends: ``step()`` alone, as a statement, marks nothing.

    Args:
        number: 0 … 2³¹ − 1; None: one more than that of the step that began last.

    Raises:
        TypeError, ValueError: that is no number of a step.

    Example:
        >>> for batch in range(3):
        ...     with step():
        ...         pass
    """

    _kind = Kind.STEP

    def __init__(self, number: int | None = None) -> None:
        """See the class."""
        super().__init__("step")
        if number is not None:
            if callable(number):
                raise _not_a_name("step", number)
            number = operator.index(number)
            if not 0 <= number <= MAX_STEP:
                raise ValueError(f"a step has a number from 0 to {MAX_STEP}, not {number}")
        self._number = number

    def _what(self, marks: Marks) -> int:
        return marks.step(self._number)


def counter(name: str, value: float, unit: str = "") -> None:
    """Record a value of a counter (a loss, a queue length) at this moment.

    Args:
        name: what the viewer shows; a value that is no number is left out, which the trace says.
        value: anything that is a number, an array of one element too.
        unit: shown with the name; any.

    Example:
        >>> counter("loss", 0.31)
    """
    marks = _marks
    if marks is not None:
        marks.counter(name, value, unit)


def instant(name: str, /, **args: Any) -> None:
    """Record that something happened, at this moment.

    Example:
        >>> instant("checkpoint", epoch=3)
    """
    marks = _marks
    if marks is not None:
        marks.recorder.instant(marks.label(name, args))


def _not_a_name(what: str, name: object) -> TypeError:
    brackets = "()" if what == "step" else '("name")'
    hint = f": @{what}{brackets}" if callable(name) else ""
    return TypeError(f"{what} needs a {'number' if what == 'step' else 'name'}, not {name!r}{hint}")


def wrap(
    function: F, again: Callable[[], AbstractContextManager[Any]], *, always: bool = False
) -> F:
    """Return a function that runs ``function`` inside a context of its own, whatever kind it is.

    Args:
        function: a plain one, a coroutine function, a generator function, an async one of these.
        again: makes the context of one call.
        always: also while nothing is recording.

    Raises:
        TypeError: it is no function.
    """
    if isinstance(function, (staticmethod, classmethod)):
        inner = wrap(function.__func__, again, always=always)
        return cast("F", type(function)(inner))
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"functions can be decorated, not {function!r}")
    if inspect.isasyncgenfunction(function):
        return _wrap_async_generator(function, again, always)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            if _marks is None and not always:
                return await function(*args, **kwargs)
            with again():
                return await function(*args, **kwargs)

        return cast("F", coroutine)
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            if _marks is None and not always:
                return (yield from function(*args, **kwargs))
            with again():
                return (yield from function(*args, **kwargs))

        return cast("F", generator)

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        if _marks is None and not always:
            return function(*args, **kwargs)
        with again():
            return function(*args, **kwargs)

    return cast("F", plain)


def _wrap_async_generator(
    function: F, again: Callable[[], AbstractContextManager[Any]], always: bool
) -> F:
    """As `wrap`; values sent and exceptions thrown in reach the generator, and so does its closing."""

    @functools.wraps(function)
    async def async_generator(*args: Any, **kwargs: Any) -> Any:
        inner = function(*args, **kwargs)
        with nullcontext() if _marks is None and not always else again():
            try:
                value = await inner.__anext__()
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:
                        value = await inner.athrow(error)
                    else:
                        value = await inner.asend(sent)
            except StopAsyncIteration:
                return

    return cast("F", async_generator)
