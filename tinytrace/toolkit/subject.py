"""A model made ready to be measured, wherever that is done."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from tinytrace.errors import UsageError
from tinytrace.toolkit.calling import call_of

if TYPE_CHECKING:
    from tinytrace.toolkit.performance import Facts

IMPORTABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Subject:
    """A model with its inputs.

    Args:
        given: a model; its name as ``module:name``; or what makes one, see `model_from`.
        data: as for `measure_performance`.

    Attributes:
        model: the model itself.
        data: its inputs.
        call: calls it with the inputs.

    Raises:
        UsageError: it cannot be found, or not be called.
        Exception: whatever making it raises.
    """

    def __init__(self, given: Any, data: Any) -> None:
        """See the class."""
        self.model = model_from(given, data)
        self.data = data
        self.call: Callable[[], Any] = call_of(self.model, data)[0]

    def facts(self, accuracy: Any, name: str) -> Facts:
        """Run it a few times and find out all but how long it takes.

        Raises:
            Exception: whatever the model raises.
        """
        # Loaded when asked for: processes that only tell times start in half of the time without it.
        from tinytrace.toolkit.performance import facts_of

        return facts_of(self.model, self.data, accuracy, name)


def model_from(given: Any, data: Any) -> Any:
    """Return a model: what was given, what has that name, or what it makes.

    What makes a model is a class that needs no arguments and whose objects can be called or have a ``forward``; or,
    where there are inputs, a function that takes none.

    Args:
        given: any object, or ``module:name``.
        data: inputs; None: none.

    Raises:
        UsageError: there is nothing of that name.
        Exception: whatever importing or making it raises.

    Example:
        >>> model_from("math:sqrt", 2.0)
        <built-in function sqrt>
        >>> model_from(lambda: abs, -1)
        <built-in function abs>
    """
    if isinstance(given, str):
        given = imported(given)
    if isinstance(given, type):
        runs = hasattr(given, "forward") or "__call__" in vars(given)
        return given() if runs and _fits(given) else given
    if data is None or not isinstance(given, FunctionType):
        return given
    arguments = data if isinstance(data, tuple) else (data,)
    return given() if _fits(given) and not _fits(given, *arguments) else given


def imported(name: str) -> Any:
    """Return what a name stands for.

    Args:
        name: ``module:name``, ``module:outer.inner``.

    Raises:
        UsageError: it is no such name, or there is nothing of it.
        Exception: whatever importing the module raises.
    """
    if not IMPORTABLE.fullmatch(name):
        raise UsageError(f"{name!r} is no model: give one, or its name as module:name")
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{name}: {module} has no {part!r}")
        found = getattr(found, part)
    return found


def _fits(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True
