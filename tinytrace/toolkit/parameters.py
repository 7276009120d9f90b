"""What a model has learnt: `count_parameters`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytrace.toolkit.walking import array_in, things_below


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
    found: dict[int, Parameter] = {}  # by the id of the array: shared ones count once
    for path, thing in things_below(root):
        array = array_in(thing)
        if array is not None and id(array) not in found:
            shape = tuple(int(n) for n in array.shape)
            size = int(np.prod(shape, dtype=object))
            holder = None if array is thing else thing
            found[id(array)] = Parameter(path, shape, size, size * _item_bytes(array), holder)
    return list(found.values())


def _item_bytes(array: Any) -> int:
    size = getattr(
        array, "itemsize", None
    )  # a number in NumPy, a method in older releases of PyTorch
    return int(size if isinstance(size, int) else array.element_size())
