"""The program's own marks: `span`, `op`, `step`, `counter`, `instant`.

Near-free while nothing is recording: one attribute is looked at. Spans are context managers and
decorators, for plain and for async functions and generators.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import numbers
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from tinytrace.tracer.records import Flag, Kind

F = TypeVar("F", bound=Callable[..., Any])
MAX_LABELS = 100_000

_recorder: Any = None
_labels: dict[tuple[str, str], int] = {}
_series: dict[tuple[str, str], int] = {}
_step_numbers = itertools.count()


def set_recorder(recorder: Any) -> None:
    """Record marks with this recorder from now on; None: nowhere."""
    global _recorder, _step_numbers  # noqa: PLW0603 - one recording per process
    _labels.clear()
    _series.clear()
    _step_numbers = itertools.count()
    _recorder = recorder


def is_recording() -> bool:
    """Whether marks are being recorded."""
    return _recorder is not None


def _label(name: str, arguments: dict[str, Any]) -> int:
    """Intern a name with its arguments; after `MAX_LABELS` different ones the arguments are left out."""
    text = json.dumps(arguments, default=repr, allow_nan=False) if arguments else ""
    known = _labels.get((name, text))
    if known is None:
        if len(_labels) >= MAX_LABELS and text:
            return _label(name, {})
        known = _labels[name, text] = int(_recorder.label(name, text))
    return known


def _jsonable(value: Any) -> Any:
    """Arguments are kept as JSON: NumPy's scalars as numbers, what is not JSON (NaN, arrays) as its repr."""
    try:
        if isinstance(value, numbers.Real) and not isinstance(
            value, bool
        ):  # np.int64(3), which np.prod(shape) returns, is no int
            value = int(value) if isinstance(value, numbers.Integral) else float(value)
        json.dumps(value, allow_nan=False)
    except Exception:  # the program's own __int__, __repr__… may do anything
        return _repr(value)
    return value


def _repr(value: Any) -> str:
    try:
        return repr(value)[:200]
    except Exception:
        return f"<{type(value).__name__}>"


class span:
    """A named span around a block, or around every call of a function.

    Args:
        name: what the viewer shows.
        args: anything JSON-like, shown with the span.

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
        self._name = name
        self._args = args
        self._tokens: list[int] = []

    def _what(self) -> int:
        return _label(self._name, {k: _jsonable(v) for k, v in self._args.items()})

    def __enter__(self) -> span:
        """Begin."""
        self._tokens.append(0 if _recorder is None else _recorder.begin(self._kind, self._what()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; an exception is noted and travels on."""
        token = self._tokens.pop()
        if token and _recorder is not None:
            _recorder.end(token, Flag.RAISED if kind is not None else 0)

    async def __aenter__(self) -> span:
        """Begin, in a coroutine."""
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, in a coroutine."""
        self.__exit__(kind, error, trace)

    def _again(self) -> span:
        """A span of its own for one call."""
        fresh = type(self).__new__(type(self))
        fresh.__dict__.update(self.__dict__, _tokens=[])
        return fresh

    def __call__(self, function: F) -> F:
        """Wrap a function, an async function, a generator or an async generator."""
        again = self._again
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def async_generator(*args: Any, **kwargs: Any) -> Any:
                with again():
                    async for value in function(*args, **kwargs):
                        yield value

            return async_generator  # type: ignore[return-value]
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                with again():
                    return await function(*args, **kwargs)

            return coroutine  # type: ignore[return-value]
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                with again():
                    return (yield from function(*args, **kwargs))

            return generator  # type: ignore[return-value]

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            if _recorder is None:
                return function(*args, **kwargs)
            with again():
                return function(*args, **kwargs)

        return plain  # type: ignore[return-value]


class op(span):
    """An operation of the program's own, with figures that it knows: counted instead of what runs inside.

    Args:
        name: what tables show.
        flops: floating-point operations, FMA = 2; None = not known, listed as uncounted.
        bytes: bytes read and written; None = not known.

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
        flops: int | None = None,
        bytes: int | None = None,
        **args: Any,
    ) -> None:
        """See the class."""
        super().__init__(name, **args, flops=flops, bytes=bytes)


class step(span):
    """One step of a loop (a training step): everything that begins in it carries its number, from 0.

    Example:
        >>> for batch in range(3):
        ...     with step():
        ...         pass
    """

    _kind = Kind.STEP

    def __init__(self, number: int | None = None) -> None:
        """Number the step; None: one more than the last."""
        super().__init__("step")
        self._number = number

    def _what(self) -> int:
        return next(_step_numbers) if self._number is None else self._number


def counter(name: str, value: float, unit: str = "") -> None:
    """Record a value of a counter (a loss, a queue length) at this moment.

    Example:
        >>> counter("loss", 0.31)
    """
    if _recorder is None:
        return
    series = _series.get((name, unit))
    if series is None:
        series = _series[name, unit] = int(_recorder.series(name, unit))
    _recorder.counter(series, float(value))


def instant(name: str, **args: Any) -> None:
    """Record that something happened, at this moment.

    Example:
        >>> instant("checkpoint", epoch=3)
    """
    if _recorder is not None:
        _recorder.instant(_label(name, {k: _jsonable(v) for k, v in args.items()}))
