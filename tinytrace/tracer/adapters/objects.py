"""Looking at objects of half-finished programs: nothing of theirs is called, not even by reading an attribute."""

from __future__ import annotations

from collections.abc import Iterator
from types import MemberDescriptorType
from typing import Any

from tinytrace.tracer.adapters.classes import mro, namespace

# Where tensors keep the node that made them.
NODES = ("_grad_fn", "grad_fn", "creator", "_creator", "_ctx")
attribute = object.__getattribute__


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
        own = attribute(thing, "__dict__")
    except Exception:  # a property of that name, say
        return None
    return own if type(own) is dict else None


def node_of(tensor: Any) -> tuple[str, Any]:
    """Return the node of the graph that made a tensor, and what it is called there; None: it says of none.

    Example:
        >>> class Tensor: "Made by nobody, then by somebody."
        >>> tensor = Tensor()
        >>> node_of(tensor)
        ('', None)
        >>> tensor.grad_fn = "add"
        >>> node_of(tensor)
        ('grad_fn', 'add')
    """
    own = dictionary(tensor)
    held = own if own is not None else dict(attributes(tensor))
    return next(((name, held[name]) for name in NODES if held.get(name) is not None), ("", None))
