"""What a model is made of: everything that its attributes, lists and dicts lead to."""

from __future__ import annotations

from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

LEAVES = (
    str, bytes, int, float, complex, type, FunctionType, BuiltinFunctionType, MethodType, ModuleType,
    np.dtype, np.random.Generator,
)  # fmt: skip


def things_below(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield everything that is reached from a thing, each once, with the path that led to it first.

    The thing itself comes first, its path is ``""``. Arrays, and what has one as its ``data``, are not looked into;
    functions, modules, types, texts and numbers are left out.

    Args:
        root: any object.

    Example:
        >>> [path for path, _ in things_below({"layers": [np.ones(2), {}], "name": "net"})]
        ['', 'layers', 'layers.0', 'layers.1']
    """
    yield from _below(root, "", {})


def path_of(path: str, key: object) -> str:
    """Return the path of what lies one step below another: ``blocks.2``, ``blocks.2.attn``.

    Args:
        path: of the other; ``""``: the model itself.
        key: an attribute, a key, or a place in a list.

    Example:
        >>> path_of("blocks", 2), path_of("", "head")
        ('blocks.2', 'head')
    """
    return f"{path}.{key}" if path else str(key)


def array_in(thing: Any) -> Any:
    """Return the array that a thing is, or has as its ``data``; None: neither.

    Args:
        thing: any object.

    Example:
        >>> array_in(np.ones(3)).shape, array_in("text")
        ((3,), None)
    """
    if isinstance(thing, np.ndarray) or callable(getattr(thing, "numel", None)):
        return thing
    data = getattr(thing, "data", None)
    return data if isinstance(data, np.ndarray) else None


def _below(thing: Any, path: str, seen: dict[int, Any]) -> Iterator[tuple[str, Any]]:
    """Go down; ``seen`` keeps what was visited alive, so that no id comes twice."""
    if thing is None or isinstance(thing, LEAVES) or id(thing) in seen:
        return
    seen[id(thing)] = thing
    yield path, thing
    if array_in(thing) is not None:
        return
    if isinstance(thing, dict):
        inside = list(thing.items())
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inside = list(enumerate(thing))
    else:
        inside = [*getattr(thing, "__dict__", {}).items()]
    for key, value in inside:
        yield from _below(value, path_of(path, key), seen)
