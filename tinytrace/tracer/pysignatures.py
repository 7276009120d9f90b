"""The signature ids of calls: what an ordinary call looks like is worked out once.

A call is looked up by a *glance*: a tuple of what tells its signature from others, read from the
arguments with little work. Calls that are not ordinary (subclasses of arrays, objects of the program's)
have no glance and are described each time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from tinytrace.tracer.caps import CAPS
from tinytrace.tracer.pyarrays import ArrayReader
from tinytrace.tracer.pyoperands import ATTRIBUTES, EXPONENT, Hook, describe, numbers
from tinytrace.tracer.records import MAX_OPERANDS

MAX_GLANCES = CAPS.signatures // 2  # of all hooks: a memory; what is beyond is worked out each time
VALUES_MATTER = ATTRIBUTES | EXPONENT
# Python's own that are described by their type alone, or by type and value.
PLAIN_KINDS = frozenset({float, bool, complex, type(None), type})
LOOKED_AT = MAX_OPERANDS + 2  # items of a sequence, by `pyoperands.Call.read`, for arrays


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
        self._scalars = PLAIN_KINDS | reader.numbers
        # Whose subclasses are described by more than their being there.
        self._special = (reader.ndarray, reader.generic, int, str, tuple, type)
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
        if hook.bound and args and not isinstance(args[0], self.reader.ndarray):
            args = args[1:]
        if results and type(results[0]) is tuple:
            results = (tuple, *results[0])
            if any(type(item) is tuple for item in results):
                return None
        key: list[Any] = [op]
        arrays: list[Any] = []
        for values in (args, kwargs.values(), results) if kwargs else (args, results):
            if not self._add(key, arrays, values, hook.policy):
                return None
        key += kwargs
        return tuple(key)

    def _add(self, key: list[Any], arrays: list[Any], values: Collection[Any], policy: int) -> bool:
        """Add arguments or results to a glance at a call; False: one of them is not ordinary.

        Of an array that is the facts of its signature, behind the places in ``arrays`` of those that are
        the same (i) or lie in the same place (~i).
        """
        ndarray = self.reader.ndarray
        for value in values:
            kind = type(value)
            if kind is ndarray:
                for i, other in enumerate(arrays) if arrays else ():
                    if other is value:
                        key.append(i)
                    elif not (other.base is None and value.base is None) and self.reader.same_place(
                        other, value
                    ):
                        key.append(~i)
                arrays.append(value)
                key += (value.dtype, value.shape, value.strides)
            elif kind is int or kind is str:
                key += (kind, value if policy & VALUES_MATTER else None)
            elif kind in self._scalars:
                key += (kind, value if policy & EXPONENT else None)
            elif kind is tuple or kind is list:
                if value and len(value) <= LOOKED_AT and all(type(x) is ndarray for x in value):
                    key.append(kind)
                    self._add(key, arrays, value, policy)
                    continue
                items = _integers(value) if policy & VALUES_MATTER else self._without_arrays(value)
                if items is None:
                    return False
                key += (kind, items, *numbers(value, kind))
            elif issubclass(kind, self._special):
                return False
            else:  # whatever it is, all that is said of it is that it is there
                key.append(object)
        key.append(len(values))
        return True

    def _without_arrays(self, items: Sequence[Any]) -> tuple[()] | None:
        """Return () for a sequence that is described by its being one; None: it is not."""
        with_arrays = any(issubclass(type(x), self.reader.ndarray) for x in items[:LOOKED_AT])
        return None if with_arrays else ()


def _integers(items: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return a sequence of integers, or of tuples of integers, to tell its text by; None: it is another."""
    if len(items) > LOOKED_AT:
        return None
    for item in items:
        if type(item) is not int and (
            type(item) is not tuple or any(type(x) is not int for x in item)
        ):
            return None
    return tuple(items)
