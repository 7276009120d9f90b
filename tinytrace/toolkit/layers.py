"""The layers of a model, each its own span while the model runs once: `layers_marked`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

from tinytrace.toolkit.walking import things_below
from tinytrace.tracer.adapters.frameworks import unseen
from tinytrace.tracer.annotate import span

RUNS = ("forward", "__call__")  # what runs a layer


def layers_of(model: Any) -> dict[str, Any]:
    """Return the layers of a model by the paths that lead to them.

    A layer is whatever can be reached from the model's attributes, lists and dicts and has, by its class, a
    ``forward`` or can be called. The model itself is none.

    Args:
        model: any object.

    Example:
        >>> class Double:
        ...     def forward(self, x):
        ...         return x + x
        >>> list(layers_of({"blocks": [Double(), Double()]}))
        ['blocks.0', 'blocks.1']
    """
    if isinstance(model, MethodType):  # `model.forward`
        model = model.__self__
    return {path: thing for path, thing in things_below(model) if path and _runs(type(thing))}


@contextlib.contextmanager
def layers_marked(model: Any) -> Iterator[None]:
    """Have every call of a layer be a span of its path, until the end of the block.

    What runs a layer is replaced in the class that defines it, where calls by name and ``layer(x)`` both look, and
    put back. Layers of classes that cannot be changed are left as they are.

    Args:
        model: any object.
    """
    layers = layers_of(model)
    # By id: layers need be neither hashable nor comparable. `layers` keeps them alive.
    paths = {id(layer): path for path, layer in layers.items()}
    undo: list[tuple[type, str, Any]] = []
    with unseen():  # else each layer would be two spans
        try:
            for owner, name in {
                (owner, name): None
                for layer in layers.values()
                for owner, name in _runs(type(layer))
            }:
                original = vars(owner)[name]
                try:
                    setattr(owner, name, _marking(original, paths))
                except TypeError:  # a class that is written in C
                    continue
                undo.append((owner, name, original))
            yield
        finally:
            for owner, name, original in reversed(undo):
                setattr(owner, name, original)


def _runs(kind: type) -> list[tuple[type, str]]:
    """Return which classes define what runs a layer of this one, as plain functions."""
    found = []
    for name in RUNS:
        owner = next((base for base in kind.__mro__ if name in vars(base)), None)
        if owner is not None and hasattr(vars(owner)[name], "__code__"):
            found.append((owner, name))
    return found


def _marking(original: Callable[..., Any], paths: dict[int, str]) -> Callable[..., Any]:
    @functools.wraps(original)
    def marked(self: Any, *arguments: Any, **keywords: Any) -> Any:
        path = paths.get(id(self))
        if path is None:
            return original(self, *arguments, **keywords)
        with span(path):
            return original(self, *arguments, **keywords)

    return marked
