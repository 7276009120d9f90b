"""Functions of other people's Python code, seen from outside: what happens before and after each call.

The function that is put in the place of another looks like it, and no frame of it is on the stack while the
other one runs where the compiled core is there (`tinytrace.tracer._native.around`); in pure Python there is one.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

Before = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""Called with the arguments before each call. What it returns goes to `After`; None: that is not called."""

After = Callable[[Any, Any, bool], None]
"""Called with what `Before` returned, the result, and whether the call raised (then the result is None)."""

Failed = Callable[[BaseException], None]
"""Told of what `Before` or `After` raised: never the program."""

_MISSING = object()


class _Callbacks(NamedTuple):
    """What goes with a function into the closure of the one that is seen.

    It is pickled as ``()``: cloudpickle takes functions of ``__main__`` along by value, to processes that
    know nothing of this recording, nor, perhaps, of tinytrace.
    """

    before: Before
    after: After
    failed: Failed

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return tuple, ()


def around_in_python(function: Any, before: Before, after: After, failed: Failed) -> Any:
    """Return a function that calls ``function``, and the others around it.

    Args:
        function: any callable that binds as functions do.
        before: see `Before`.
        after: see `After`.
        failed: see `Failed`.

    Example:
        >>> seen = []
        >>> double = around_in_python(
        ...     lambda x: 2 * x, lambda args, kwargs: args, lambda token, result, raised: seen.append((token, result)),
        ...     print)
        >>> double(4), seen
        (8, [((4,), 8)])
    """
    callbacks = _Callbacks(before, after, failed)

    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        if not callbacks:  # in another process
            return function(*args, **kwargs)
        before, after, failed = callbacks
        try:
            token = before(args, kwargs)
        except Exception as problem:
            failed(problem)
            token = None
        if token is None:
            return function(*args, **kwargs)
        result, raised = None, True
        try:
            result = function(*args, **kwargs)
            raised = False
        finally:
            try:
                after(token, result, raised)
            except Exception as problem:
                failed(problem)
        return result

    return around


class Wrappings:
    """Functions that were replaced by ones that are seen, put back last in first out.

    Args:
        around: makes a seen function of another: `around_in_python`, or the compiled core's.
        failed: told of what a `Before` or an `After` raised.

    Example:
        >>> class Layer:
        ...     def forward(self, x): return x + 1
        >>> calls = []
        >>> wrappings = Wrappings(around_in_python, print)
        >>> wrappings.wrap(Layer, "forward", lambda args, kwargs: calls.append(args[1]), lambda *_: None)
        True
        >>> Layer().forward(1), calls
        (2, [1])
        >>> wrappings.undo()
        []
        >>> Layer().forward(2), calls
        (3, [1])
    """

    def __init__(self, around: Callable[..., Any], failed: Failed) -> None:
        """Nothing is replaced yet."""
        self._around = around
        self._failed = failed
        self._on = True
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self._seen: dict[
            tuple[int, str], Any
        ] = {}  # by id of the owner, which the list keeps alive

    def wrap(self, owner: Any, name: str, before: Before, after: After) -> bool:
        """Have calls of ``owner.name`` seen; whether that can be.

        Args:
            owner: a class or a module, which has the function in its own ``__dict__``.
            name: of the function, a static or a class method.
            before: see `Before`; of a method, the first argument is its object.
            after: see `After`.

        A function that is seen already is not wrapped again; what is no function, and what cannot be replaced (in
        classes written in C), is left as it is.
        """
        original = vars(owner).get(name, _MISSING)
        function = getattr(original, "__func__", original)
        if original is _MISSING or not callable(function) or self.is_seen(owner, name):
            return False
        if not hasattr(type(function), "__get__") or isinstance(function, type):
            return False  # it does not bind as functions do

        def if_on(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return before(args, kwargs) if self._on else None

        seen = self._around(function, if_on, after, self._failed)
        if isinstance(original, (staticmethod, classmethod)):
            seen = type(original)(seen)
        try:
            setattr(owner, name, seen)
        except (AttributeError, TypeError):
            return False
        self._replaced.append((owner, name, original, seen))
        self._seen[id(owner), name] = seen
        return True

    def is_seen(self, owner: Any, name: str) -> bool:
        """Whether ``owner.name`` is a function of ours at present."""
        return vars(owner).get(name) is self._seen.get((id(owner), name), _MISSING)

    def undo(self) -> list[str]:
        """Put everything back; return what could not be, as sentences.

        What the program has replaced meanwhile is left to it; a function of ours that it kept calls the original.
        """
        self._on = False
        self._seen.clear()
        problems = []
        while self._replaced:
            owner, name, original, seen = self._replaced.pop()
            if vars(owner).get(name, _MISSING) is not seen:
                continue
            try:
                setattr(owner, name, original)
            except (AttributeError, TypeError) as problem:
                problems.append(
                    f"{getattr(owner, '__name__', owner)}.{name} was not put back: {problem}"
                )
        return problems


class SeenObjects:
    """Objects of one type, with a vectorcall of its own, whose calls are seen; they stay what they are.

    Args:
        redirect: the compiled core's.
        seen: made by its ``around``; `Before` gets the object before its arguments.
    """

    def __init__(self, redirect: Callable[[Any, Any], None], seen: Any) -> None:
        """See none yet."""
        self._redirect = redirect
        self._seen = seen
        self._objects: dict[int, weakref.ref[Any]] = {}

    def add(self, thing: Any) -> None:
        """See calls of an object, which is not kept alive.

        Raises:
            TypeError: it has no vectorcall, or is of another type than those before.
        """
        number = id(thing)
        reference = weakref.ref(thing, lambda _: self._objects.pop(number, None))
        self._redirect(thing, self._seen)
        self._objects[number] = reference

    def undo(self) -> None:
        """See none any more."""
        while self._objects:
            thing = self._objects.popitem()[1]()
            if thing is not None:
                self._redirect(thing, None)
