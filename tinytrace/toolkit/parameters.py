"""What a model has learnt: `count_parameters`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

LEAVES = (
    str,
    bytes,
    int,
    float,
    complex,
    type,
    FunctionType,
    ModuleType,
    np.dtype,
    np.random.Generator,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """An array that a model has learnt.

    Attributes:
        name: the path of attributes that leads to it, ``layers.0.weight``.
        shape: its dimensions.
        size: how many numbers.
        bytes: that they take.
        holder: the object whose ``data`` it is; None: it is held directly.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    bytes: int
    holder: Any


def count_parameters(model: Any) -> int:
    """Return how many numbers a model has as parameters, each array once however often it is shared.

    They are what ``model.parameters()`` returns (a method or an attribute; a list, a dict or an iterator), where
    there is such; else all arrays that are reached from its attributes, lists and dicts.

    Args:
        model: any object; an array, a list or a dict of such too.

    Example:
        >>> class Linear:
        ...     def __init__(self):
        ...         self.weight, self.bias = np.ones((4, 3)), np.ones(3)
        >>> count_parameters(Linear())
        15
    """
    return sum(parameter.size for parameter in parameters_of(model))


def parameters_of(model: Any) -> list[Parameter]:
    """Return the parameters of a model, see `count_parameters`.

    Args:
        model: any object.

    Example:
        >>> [p.name for p in parameters_of({"w": np.ones(3), "name": "linear"})]
        ['w']
    """
    declared = getattr(model, "parameters", None)
    root = declared() if callable(declared) else declared
    if root is None:
        root = model
    elif not isinstance(root, dict):
        root = list(root)
    return list(_below(root, "", {}))


def _below(thing: Any, name: str, seen: dict[int, Any]) -> Iterator[Parameter]:
    """Yield the arrays below a thing; ``seen`` keeps what was visited alive, so that no id comes twice."""
    if thing is None or isinstance(thing, LEAVES) or id(thing) in seen:
        return
    seen[id(thing)] = thing
    found = _array(thing)
    if found is not None:
        if found is thing or id(found) not in seen:
            seen[id(found)] = found
            shape = tuple(int(n) for n in found.shape)
            size = int(np.prod(shape, dtype=object))
            holder = None if found is thing else thing
            yield Parameter(name, shape, size, size * _item_bytes(found), holder)
        return
    if isinstance(thing, dict):
        inside = [(str(key), value) for key, value in thing.items()]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inside = [(str(i), value) for i, value in enumerate(thing)]
    else:
        inside = [*getattr(thing, "__dict__", {}).items()]
    for key, value in inside:
        yield from _below(value, f"{name}.{key}" if name else key, seen)


def _array(thing: Any) -> Any:
    """Return the array that a thing is, or has as its ``data``; None: neither."""
    if isinstance(thing, np.ndarray) or callable(getattr(thing, "numel", None)):
        return thing
    data = getattr(thing, "data", None)
    return data if isinstance(data, np.ndarray) else None


def _item_bytes(array: Any) -> int:
    size = getattr(
        array, "itemsize", None
    )  # a number in NumPy, a method in older releases of PyTorch
    return int(size if isinstance(size, int) else array.element_size())
