"""How hooks in Python look at arrays. NumPy is met, never imported.

No code of the program's is called: subclasses of arrays may override everything.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tinytrace.tracer.records import LAYOUT_SWAPPED, NO_ALIAS, Layout

_word_at = ctypes.c_size_t.from_address
# PyArrayObject begins with the pointer to its data, in every NumPy so far.
_DATA = object.__basicsize__


def bare_word(layout: int, kind: str, itemsize: int) -> int:
    """Return an operand without elements as the word of a signature (see `records`)."""
    return layout << 8 | NO_ALIAS << 16 | ord(kind) << 24 | itemsize << 32


def _is_number(kind: type, numpy: ModuleType) -> bool:
    return issubclass(kind, numpy.number) and not issubclass(kind, numpy.timedelta64)


class ArrayReader:
    """Reads arrays and NumPy's scalars by NumPy's own descriptors."""

    def __init__(self, numpy: ModuleType) -> None:
        """Take the descriptors."""
        self.ndarray: type = numpy.ndarray
        self.generic: type = numpy.generic
        # scalar types of one size each
        self.numbers = frozenset(
            {numpy.bool_, *(kind for kind in numpy.sctypeDict.values() if _is_number(kind, numpy))}
        )
        get = {name: numpy.ndarray.__dict__[name].__get__ for name in ("dtype", "shape", "strides")}
        self.dtype: Callable[[Any], Any] = get["dtype"]
        self.shape: Callable[[Any], tuple[int, ...]] = get["shape"]
        self.strides: Callable[[Any], tuple[int, ...]] = get["strides"]
        self._base: Callable[[Any], Any] = numpy.ndarray.__dict__["base"].__get__
        self._flags: Callable[[Any], Any] = numpy.ndarray.__dict__["flags"].__get__
        self.scalar_dtype: Callable[[Any], Any] = numpy.generic.__dict__["dtype"].__get__
        self._interface = numpy.ndarray.__dict__["__array_interface__"].__get__
        probe = numpy.ndarray((3,), "u1")
        if _word_at(id(probe) + _DATA).value != self._address(probe):
            self.same_place = self._same_place  # type: ignore[method-assign]
        self._references = self._references_alone()

    def _address(self, a: Any) -> int:
        return int(self._interface(a)["data"][0])

    def same_place(self, a: Any, b: Any) -> bool:
        """Whether two arrays have the same memory, shape and strides."""
        return (
            _word_at(id(a) + _DATA).value == _word_at(id(b) + _DATA).value
            and self.shape(a) == self.shape(b)
            and self.strides(a) == self.strides(b)
        )

    def _same_place(self, a: Any, b: Any) -> bool:
        """Do the same where arrays are laid out otherwise."""
        return (
            self._address(a) == self._address(b)
            and self.shape(a) == self.shape(b)
            and self.strides(a) == self.strides(b)
        )

    def words(self, a: Any, alias: int) -> list[int]:
        """Return an array as an operand of a signature, as `records` describes it."""
        dtype, shape, flags = self.dtype(a), self.shape(a), self._flags(a)
        layout = Layout.STRIDED
        if flags.c_contiguous:
            layout = Layout.C
        elif flags.f_contiguous:
            layout = Layout.F
        swapped = LAYOUT_SWAPPED if dtype.byteorder == ">" else 0
        head = len(shape) | (layout | swapped) << 8 | alias << 16
        head |= ord(dtype.kind) << 24 | dtype.itemsize << 32
        return [head, *shape, *(self.strides(a) if layout == Layout.STRIDED else ())]

    # ---- views ----

    def _root(self, value: Any) -> Any:
        """Return the object that owns the memory of an array."""
        while isinstance(value, self.ndarray):
            base = self._base(value)
            if base is None:
                break
            value = base
        return value

    def shares_memory(self, result: Any, given: tuple[Any, ...]) -> bool:
        """Whether a result lies in memory that was there before: nothing was copied then.

        It may be an argument's, a foreign object's (a buffer), or that of an array which an object
        handed over (``__array__``) and something else still holds.

        Args:
            result: an array. One function between the one that called NumPy and this one has it as
                an argument: references to it are counted.
            given: the arguments of the call.
        """
        home = self._root(result)
        if not isinstance(home, self.ndarray) or not self._flags(home).owndata:
            return True
        if any(isinstance(a, self.ndarray) and self._root(a) is home for a in given):
            return True
        foreign = (a for a in given if not isinstance(a, (self.ndarray, self.generic)))
        if not any("__array__" in vars(cls) for a in foreign for cls in type(a).__mro__):
            return False
        alone = self._references[home is result]
        return sys.getrefcount(result) > alone[0] or sys.getrefcount(home) > alone[1]

    def _references_alone(self) -> dict[bool, tuple[int, int]]:
        """Return how many references a result and its memory have in `shares_memory` if no one else has any.

        By whether the two are one.
        """

        def references(result: Any) -> tuple[bool, tuple[int, int]]:
            home = self._root(result)
            return home is result, (sys.getrefcount(result), sys.getrefcount(home))

        def between(result: Any) -> tuple[bool, tuple[int, int]]:
            return references(result)

        result = self.ndarray((2,))
        view = self.ndarray((2,))[:1]
        return dict([between(result), between(view)])
