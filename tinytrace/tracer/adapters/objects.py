"""Looking at objects of half-finished programs: nothing of theirs is called, not even by reading an attribute."""

from __future__ import annotations

from collections.abc import Iterator
from types import MemberDescriptorType
from typing import Any

from tinytrace.tracer.adapters.classes import mro, namespace

# Where tensors keep the node that made them.
NODES = ("_grad_fn", "grad_fn", "creator", "_creator", "_ctx")
_attribute = object.__getattribute__


def attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds in its dictionary and its slots, by name.

    Example:
        >>> class Layer:
        ...     __slots__ = ("weight", "bias")
        ...     def __init__(self): self.weight = 1
        ...     def __getattr__(self, name): raise RuntimeError
        >>> list(attributes(Layer()))
        [('weight', 1)]
    """
    own = dictionary(thing)
    if own is not None:
        yield from list(own.items())
    for cls in mro(type(thing)):
        for name, slot in namespace(cls).items():
            if type(slot) is MemberDescriptorType:
                try:
                    yield name, slot.__get__(thing)
                except AttributeError:
                    continue


def dictionary(thing: Any) -> dict[str, Any] | None:
    """Return an object's own dictionary; None: it has none."""
    try:
        own = _attribute(thing, "__dict__")
    except Exception:  # a property of that name, say
        return None
    return own if type(own) is dict else None


def node_of(tensor: Any) -> Any:
    """Return the node of the graph that made a tensor; None: it says of none."""
    own = dictionary(tensor)
    if own is not None:
        for name in NODES:
            node = own.get(name)
            if node is not None:
                return node
        return None
    return next(
        (value for name, value in attributes(tensor) if name in NODES and value is not None), None
    )
