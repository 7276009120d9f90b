"""The signature ids of calls: what an ordinary call looks like is worked out once.

A call is looked up by a *glance*: a tuple of what tells its signature from others, read from the
arguments with little work. Calls that are not ordinary (subclasses of arrays, objects of the program's)
have no glance and are described each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinytrace.tracer.pyarrays import ArrayReader
from tinytrace.tracer.pyoperands import ATTRIBUTES, EXPONENT, Hook, describe
from tinytrace.tracer.records import MAX_OPERANDS

MAX_GLANCES = 65536  # of all hooks; as many as there may be signatures (`interning.MAX_SIGNATURES`)
VALUES_MATTER = ATTRIBUTES | EXPONENT
PLAIN_KINDS = frozenset({float, bool, complex, type(None), type})
NO_ARRAYS = frozenset({int, float, bool, complex, str, type(None)})
# `Call.read` looks at this many items of a sequence for an array.
LOOKED_AT = MAX_OPERANDS + 2


class Signatures:
    """Gives calls their signatures.

    Args:
        reader: looks at arrays.
        intern: gives a key (see `records`) its id.
    """

    def __init__(self, reader: ArrayReader, intern: Callable[[bytes], int]) -> None:
        """Know none yet."""
        self.reader = reader
        self._intern = intern
        self._room = MAX_GLANCES

    def of(
        self,
        hook: Hook,
        op: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        results: tuple[Any, ...],
    ) -> int:
        """Return the signature of a call; ``results`` holds what it returned, () if it raised."""
        glance = self._glance(hook, op, args, kwargs, results)
        if glance is None:
            return self._intern(describe(self.reader, hook, args, kwargs, results).packed(op))
        found = hook.known.get(glance)
        return self.learn(hook, op, glance, args, kwargs, results) if found is None else found

    def learn(  # noqa: PLR0917  (called once per kind of call)
        self,
        hook: Hook,
        op: int,
        glance: tuple[Any, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        results: tuple[Any, ...],
    ) -> int:
        """Return the signature of a call, and keep it under what tells it from others."""
        found = self._intern(describe(self.reader, hook, args, kwargs, results).packed(op))
        if self._room:
            self._room -= 1
            hook.known[glance] = found
        return found

    def _glance(
        self,
        hook: Hook,
        op: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        results: tuple[Any, ...],
    ) -> tuple[Any, ...] | None:
        """Return what tells an ordinary call from others; None: it is not ordinary."""
        ndarray, policy = self.reader.ndarray, hook.policy
        key: list[Any] = [op]
        arrays: list[Any] = []
        if hook.bound and args and not isinstance(args[0], ndarray):
            args = args[1:]
        groups = (args, kwargs.values(), results) if kwargs else (args, results)
        for values in groups:
            for value in values:
                kind = type(value)
                if kind is ndarray:
                    self._add_array(key, arrays, value)
                elif kind is int or kind is str:
                    key += (kind, value if policy & VALUES_MATTER else None)
                elif kind in PLAIN_KINDS or kind in self.reader.numbers:
                    key += (kind, value if policy & EXPONENT else None)
                elif (kind is not tuple and kind is not list) or not self._add_sequence(
                    key, arrays, value, policy
                ):
                    return None
            key.append(len(values))
        key += kwargs
        return tuple(key)

    def _add_array(self, key: list[Any], arrays: list[Any], a: Any) -> None:
        """Add an array's facts, and which of those before it are the same one or in the same place."""
        for i, other in enumerate(arrays):
            if other is a:
                key.append(i)
            elif not (other.base is None and a.base is None) and self.reader.same_place(other, a):
                key.append(~i)
        arrays.append(a)
        key += (a.dtype, a.shape, a.strides)

    def _add_sequence(self, key: list[Any], arrays: list[Any], items: Any, policy: int) -> bool:
        """Add a tuple or a list; False: it holds what is not ordinary."""
        ndarray = self.reader.ndarray
        if len(items) <= LOOKED_AT and all(type(item) is ndarray for item in items):
            key += (type(items), len(items))
            for item in items:
                self._add_array(key, arrays, item)
            return True
        if not policy & VALUES_MATTER and _without_arrays(items[:LOOKED_AT]):
            key += (type(items), None)
            return True
        if len(items) <= LOOKED_AT and all(type(item) is int for item in items):
            key += (type(items), tuple(items))
            return True
        return False


def _without_arrays(items: Iterable[Any]) -> bool:
    return all(type(item) in NO_ARRAYS for item in items)
