"""How a model is called, and with what."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytrace.analysis.comparison import SEED
from tinytrace.errors import UsageError
from tinytrace.toolkit.parameters import parameters_of


def as_callable(model: Any) -> Callable[..., Any]:
    """Return what runs a model: itself, or its ``forward``.

    Args:
        model: any object.

    Raises:
        UsageError: neither can be called.

    Example:
        >>> as_callable(abs)(-1)
        1
    """
    found: Callable[..., Any] | None = model if callable(model) else getattr(model, "forward", None)
    if not callable(found):
        raise UsageError(
            f"{type(model).__name__} cannot be called and has no forward(): give a function, or a model with one"
        )
    return found


def call_of(model: Any, data: Any) -> tuple[Callable[[], Any], str]:
    """Return what calls the model, and with what, in words.

    Args:
        model: any object.
        data: as for `measure_performance`.

    Raises:
        UsageError: it cannot be called, or needs an input that cannot be made up.

    Example:
        >>> call, words = call_of(abs, -2)
        >>> call(), words
        (2, 'int')
    """
    function = as_callable(model)
    if data is not None:
        arguments = data if isinstance(data, tuple) else (data,)
        words = ", ".join(_in_words(a) for a in arguments)
        return _to_its_end(lambda: function(*arguments)), words
    if _takes_nothing(getattr(model, "forward", function)):
        return _to_its_end(function), "nothing"
    made_up = _made_up(model, function)
    if made_up is None:
        raise UsageError(f"{name_of(model)} needs an input, and none could be made up: give data=")
    shape = tuple(np.shape(getattr(made_up, "data", made_up)))
    return _to_its_end(lambda: function(made_up)), f"made up: float32 {shape}, standard normal"


def _to_its_end(call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that waits for the GPU, where PyTorch uses one."""
    if "torch" not in sys.modules:
        return call
    from tinytrace.toolkit.torch_ops import synchronized

    return synchronized(call)


def name_of(model: Any) -> str:
    """Return what a model is called in tables.

    Args:
        model: any object.

    Example:
        >>> name_of(abs)
        'abs'
    """
    return getattr(model, "__name__", None) or type(model).__name__


def batch_of(data: Any) -> int | None:
    """Return how many samples an input has; None: not known.

    Args:
        data: as for `measure_performance`.

    Example:
        >>> batch_of(np.ones((64, 10))), batch_of(3)
        (64, None)
    """
    first = data[0] if isinstance(data, tuple) and data else data
    shape = getattr(first, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) > 1 else None


def _in_words(value: Any) -> str:
    shape = getattr(value, "shape", None)
    name = getattr(value, "dtype", None) or type(value).__name__
    return str(name) if shape is None else f"{name} {tuple(shape)}"


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


def _made_up(model: Any, function: Callable[..., Any]) -> Any:
    """Return an input that the model takes: one sample, as wide as a side of its first matrix; None: none found."""
    matrix = next((p for p in parameters_of(model) if len(p.shape) == 2), None)
    if matrix is None:
        return None
    for width in matrix.shape:
        values = np.random.default_rng(SEED).standard_normal((1, width)).astype(np.float32)
        for candidate in (values, *_wrapped(values, _makers(model, matrix.holder))):
            try:
                function(candidate)
            except Exception:  # not this one
                continue
            return candidate
    return None


def _makers(model: Any, holder: Any) -> list[Callable[[Any], Any]]:
    """Return what makes an input of an array: the class of what holds the parameters; PyTorch's function."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from tinytrace.toolkit.torch_ops import input_like

        return [lambda values: input_like(model, values)]
    return [] if holder is None else [type(holder)]


def _wrapped(values: Any, makers: list[Callable[[Any], Any]]) -> list[Any]:
    """Return the values as a tensor of the kind that the parameters are, where its constructor takes them."""
    found = []
    for make in makers:
        try:
            found.append(make(values))
        except Exception:  # it wants something else
            continue
    return found
