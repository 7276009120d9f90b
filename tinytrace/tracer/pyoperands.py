"""From a call to its signature, in Python: the arrays read and written, the arguments that count.

The rules are those of ``native/operands.c``, to the byte. NumPy is met, never imported.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from tinytrace.tracer.caps import CAPS
from tinytrace.tracer.records import (
    LAYOUT_SWAPPED,
    MAX_ATTRIBUTE_BYTES,
    MAX_OPERANDS,
    NO_ALIAS,
    Layout,
    Policy,
)

# Plain integers: the operators of enumerations are slow.
ATTRIBUTES, EXPONENT = int(Policy.ATTRIBUTES), int(Policy.EXPONENT)
WRITES_SELF, WRITES_FIRST = int(Policy.WRITES_SELF), int(Policy.WRITES_FIRST_ARGUMENT)
NUMPY_SCALAR, PYTHON_SCALAR = int(Layout.NUMPY_SCALAR), int(Layout.PYTHON_SCALAR)
OTHER = int(Layout.OTHER)
VALUES_MATTER = ATTRIBUTES | EXPONENT
PLAIN_KINDS = frozenset({float, bool, complex, type(None), type})
MAX_INPUTS = MAX_OPERANDS - 2  # the result is always kept
MAX_TUPLE_ATTRIBUTE = 8  # longer tuples decide no count
MAX_INTEGERS_BYTES = MAX_ATTRIBUTE_BYTES + 64  # as in C: there the buffer's size
MAX_RESULTS = 4
MAX_KNOWN_CALLS = CAPS.signatures // 2  # a memory; what is beyond is worked out each time
SCALARS: dict[type, tuple[str, int]] = {
    float: ("f", 8), bool: ("b", 1), int: ("i", 8), complex: ("c", 16),
}  # fmt: skip


class Hook(NamedTuple):
    """What is known of a hooked object."""

    op: int
    policy: int
    n_in: int  # ufuncs: positional arguments beyond these are outputs; −1: all are inputs
    bare: int  # the signature without operands: what a span is while it is open
    bound: bool  # the first positional argument is the object called, or the self of a method
    name: str = ""  # methods of ufuncs: ``reduce``; the op is ``add.reduce``


def describe_attribute(value: object) -> str | None:
    """Return an argument as text for a signature; None: it decides no count and is left out.

    Integers of up to 64 bits as Python writes them; ASCII strings bare; tuples and lists of at most
    eight integers, or of such tuples, as a tuple. No None, no booleans, no floats, no objects.

    Example:
        >>> [describe_attribute(v) for v in (1, "ij,jk->ik", [(0, 1), ()], None, 0.5)]
        ['1', 'ij,jk->ik', '((0, 1), ())', None, None]
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int.__repr__(value) if fits_int64(value) else None
    if isinstance(value, str):
        return str.__str__(value)[:MAX_ATTRIBUTE_BYTES] if str.isascii(value) else None
    if type(value) in {tuple, list}:
        return _integers(value, MAX_INTEGERS_BYTES, True)  # type: ignore[arg-type]
    return None


def _integers(items: Sequence[object], room: int, deeper: bool) -> str | None:
    """Return integers as a tuple; None: something else is among them, or there is no room."""
    if len(items) > MAX_TUPLE_ATTRIBUTE or room < 16:
        return None
    text = "("
    for i, item in enumerate(items):
        if i:
            text += ", "
        if isinstance(item, int) and fits_int64(item):
            text += str(int(item))
        elif deeper and type(item) in {tuple, list}:
            inner = _integers(item, room - len(text), False)  # type: ignore[arg-type]
            if inner is None:
                return None
            text += inner
        else:
            return None
        if len(text) + 32 > room:
            return None
    return text + (",)" if len(items) == 1 else ")")


def _plain(items: tuple[Any, ...]) -> bool:
    """Whether a tuple holds integers only."""
    return all(type(item) is int for item in items)


def fits_int64(value: int) -> bool:
    """Whether an integer has at most 64 bits, as C wants it."""
    return -(1 << 63) <= value < 1 << 63


def describe_exponent(value: object) -> str:
    """Return a power's Python exponent as text; "" for anything else."""
    if isinstance(value, int):
        return f"exponent={int(value)}" if fits_int64(value) else ""
    return f"exponent={value:.17g}" if type(value) is float else ""


class Call:
    """A call being described: its operands so far, as a hashable ``key`` that tells signatures apart."""

    __slots__ = ("arrays", "attributes", "key", "left_out", "n_in", "n_out", "reader")

    def __init__(self, reader: ArrayReader) -> None:
        """Begin without operands."""
        self.reader = reader
        self.arrays: list[Any] = []  # None for scalars
        self.key: list[Any] = []
        self.attributes = ""
        self.n_in = self.n_out = 0
        self.left_out = False

    def array(self, a: Any) -> bool:
        """Add an array; False: there is no room."""
        if len(self.arrays) == MAX_OPERANDS:
            self.left_out = True
            return False
        reader = self.reader
        dtype, shape, strides = reader.dtype(a), reader.shape(a), reader.strides(a)
        alias = NO_ALIAS
        for i, other in enumerate(self.arrays):
            if other is a or (
                other is not None
                and self.key[i][1] == shape
                and self.key[i][2] == strides
                and reader.address(other) == reader.address(a)
            ):
                alias = i
                break
        self.key.append((dtype, shape, strides, alias))
        self.arrays.append(a)
        return True

    def bare(self, layout: int, kind: str, itemsize: int) -> bool:
        """Add something without elements; False: there is no room."""
        if len(self.arrays) == MAX_OPERANDS:
            self.left_out = True
            return False
        self.key.append((layout, kind, itemsize))
        self.arrays.append(None)
        return True

    def read(self, value: Any, scalars: bool) -> None:
        """Add what is an input; sequences count as their arrays, one level deep."""
        if len(self.arrays) >= MAX_INPUTS:
            self.left_out = True
            return
        reader, kind = self.reader, type(value)
        added = False
        if isinstance(value, reader.ndarray):
            added = self.array(value)
        elif kind in SCALARS:
            added = scalars and self.bare(PYTHON_SCALAR, *SCALARS[kind])
        elif value is None or isinstance(value, (str, type)):
            return
        elif isinstance(value, reader.generic):
            dtype = reader.scalar_dtype(value)
            added = scalars and self.bare(NUMPY_SCALAR, dtype.kind, dtype.itemsize)
        elif kind in {tuple, list} and any(
            isinstance(item, reader.ndarray) for item in value[: MAX_OPERANDS + 2]
        ):
            for item in value:
                if isinstance(item, reader.ndarray):
                    if len(self.arrays) >= MAX_INPUTS:
                        self.left_out = True
                        break
                    self.n_in += self.array(item)
        else:
            added = scalars and self.bare(OTHER, "O", 0)
        self.n_in += added

    def wrote(self, value: Any) -> None:
        """Add what is an output, once."""
        if value is None or len(self.arrays) == MAX_OPERANDS:
            return
        reader = self.reader
        if isinstance(value, reader.ndarray):
            if not any(value is known for known in self.arrays[self.n_in :]):
                self.n_out += self.array(value)
        elif isinstance(value, reader.generic):
            dtype = reader.scalar_dtype(value)
            self.n_out += self.bare(NUMPY_SCALAR, dtype.kind, dtype.itemsize)
        elif isinstance(value, tuple):
            for item in value[:MAX_RESULTS]:
                self.wrote(item)

    def attribute(self, name: str, value: object) -> None:
        """Add an argument that may decide the count."""
        text = describe_attribute(value)
        if text is None:
            return
        if name.isascii() and name:
            text = f"{name}={text}"
        text = f"{self.attributes};{text}" if self.attributes else text
        self.attributes = text[:MAX_ATTRIBUTE_BYTES]

    def packed(self, op: int) -> bytes:
        """Return the key that `records` describes."""
        text = self.attributes
        if self.left_out:
            text = ("+" + text)[:MAX_ATTRIBUTE_BYTES]
        attributes = text.encode("ascii")
        words = [op | self.n_in << 32 | self.n_out << 40 | len(attributes) << 48]
        for a, part in zip(self.arrays, self.key, strict=True):
            words += self.reader.words(a, part)
        packed = b"".join(struct.pack("<Q", w & 0xFFFFFFFFFFFFFFFF) for w in words)
        return packed + attributes + b"\0" * (-len(attributes) % 8)


def _is_number(kind: type, numpy: ModuleType) -> bool:
    return issubclass(kind, numpy.number) and not issubclass(kind, numpy.timedelta64)


class ArrayReader:
    """How to look at arrays without calling code of the user's: subclasses may override everything."""

    def __init__(self, numpy: ModuleType) -> None:
        """Take NumPy's own descriptors."""
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
        self.base: Callable[[Any], Any] = numpy.ndarray.__dict__["base"].__get__
        self.flags: Callable[[Any], Any] = numpy.ndarray.__dict__["flags"].__get__
        self.scalar_dtype: Callable[[Any], Any] = numpy.generic.__dict__["dtype"].__get__
        self._interface = numpy.ndarray.__dict__["__array_interface__"].__get__
        probe = numpy.ndarray((3,), "u1")
        # PyArrayObject begins with the pointer to its data, in every NumPy so far.
        self._fast = self._peek(probe) == self._interface(probe)["data"][0]

    @staticmethod
    def _peek(a: Any) -> int:
        return ctypes.c_size_t.from_address(id(a) + object.__basicsize__).value

    def address(self, a: Any) -> int:
        """Return where an array's data begin."""
        return self._peek(a) if self._fast else int(self._interface(a)["data"][0])

    def root(self, value: Any) -> Any:
        """Return the object that owns the memory of an array."""
        while isinstance(value, self.ndarray):
            base = self.base(value)
            if base is None:
                break
            value = base
        return value

    def words(self, a: Any, part: tuple[Any, ...]) -> list[int]:
        """Return an operand of a signature as words."""
        if a is None:
            layout, kind, itemsize = part
            return [layout << 8 | NO_ALIAS << 16 | ord(kind) << 24 | itemsize << 32]
        dtype, shape, strides, alias = part
        flags = self.flags(a)
        layout = Layout.STRIDED
        if flags.c_contiguous:
            layout = Layout.C
        elif flags.f_contiguous:
            layout = Layout.F
        swapped = LAYOUT_SWAPPED if dtype.byteorder == ">" else 0
        head = len(shape) | (layout | swapped) << 8 | alias << 16
        head |= ord(dtype.kind) << 24 | dtype.itemsize << 32
        return [head, *shape, *(strides if layout == Layout.STRIDED else ())]


class Signatures:
    """Signature ids of calls; what a call looks like is worked out once."""

    def __init__(self, reader: ArrayReader, intern: Callable[[bytes], int]) -> None:
        """Keep what to look with, and who gives ids."""
        self.reader = reader
        self._intern = intern
        self._known: dict[Any, int] = {}
        self._glanced: dict[Any, int] = {}
        self._references = self._references_alone()

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
        if glance is not None:
            found = self._glanced.get(glance)
            if found is not None:
                return found
        call = self.describe(hook, args, kwargs, results)
        key = (op, call.n_in, call.attributes, call.left_out, *call.key)
        found = self._known.get(key)
        if found is None:
            found = self._intern(call.packed(op))
            if len(self._known) < MAX_KNOWN_CALLS:
                self._known[key] = found
        if glance is not None and len(self._glanced) < MAX_KNOWN_CALLS:
            self._glanced[glance] = found
        return found

    def _glance(
        self,
        hook: Hook,
        op: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        results: tuple[Any, ...],
    ) -> tuple[Any, ...] | None:
        """Return what tells an ordinary call from others with little work; None: it is not ordinary."""
        ndarray, numbers, policy = self.reader.ndarray, self.reader.numbers, hook.policy
        key: list[Any] = [op, hook.n_in, policy, hook.bound]
        arrays: list[Any] = []
        first = 1 if hook.bound and not isinstance(args[0], ndarray) else 0
        for value in (
            (args[first:], kwargs.values(), results) if kwargs else (args[first:], results)
        ):
            for item in value:
                kind = type(item)
                if kind is ndarray:
                    for i, other in enumerate(arrays):
                        if other is item:
                            key.append(i)
                        elif other.shape == item.shape and not (
                            other.base is None and item.base is None
                        ):
                            return None  # perhaps the same memory
                    arrays.append(item)
                    key += (item.dtype, item.shape, item.strides)
                elif kind is int or kind is str or kind is tuple:
                    key += (kind, item if policy & VALUES_MATTER else None)
                    if kind is tuple and (value is results or not _plain(item)):
                        return None
                elif kind in PLAIN_KINDS or kind in numbers:
                    key += (kind, item if policy & EXPONENT else None)
                else:
                    return None
            key.append(len(value))
        key += kwargs
        return tuple(key)

    def describe(
        self, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], results: tuple[Any, ...]
    ) -> Call:
        """Return the operands and attributes of a call."""
        call = Call(self.reader)
        policy, scalars = hook.policy, hook.n_in >= 0
        own = None
        if hook.bound:
            own, args = args[0], args[1:]
            own = own if isinstance(own, self.reader.ndarray) else None
            if own is not None:
                call.read(own, False)
        inputs = args[: hook.n_in] if scalars else args
        for value in inputs:
            call.read(value, scalars)
            if policy & ATTRIBUTES:
                call.attribute("", value)
        if policy & EXPONENT and len(args) > 1:
            call.attributes += describe_exponent(args[1])
        for name, value in kwargs.items():
            if name == "out":
                continue
            if isinstance(value, self.reader.ndarray):
                call.read(value, False)
            elif policy & ATTRIBUTES:
                call.attribute(name, value)
        outputs = [*results, kwargs.get("out"), *args[len(inputs) :]]
        if policy & WRITES_SELF:
            outputs.append(own)
        if policy & WRITES_FIRST:  # behind the generator, for its methods
            arrays = (a for a in args[:2] if isinstance(a, self.reader.ndarray))
            outputs.append(next(arrays, None))
        for value in outputs:
            call.wrote(value)
        return call

    def shares_memory(
        self, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> bool:
        """Whether the result lies in memory that was there before, or is no array at all made of none.

        It may be an argument's, a foreign object's (a buffer), or that of an array which an object
        handed over (``__array__``) and something else still holds. Nothing was copied then.
        """
        reader = self.reader
        if not isinstance(result, reader.ndarray):
            return not (hook.bound and args and isinstance(args[0], reader.ndarray))
        home = reader.root(result)
        if not isinstance(home, reader.ndarray) or not reader.flags(home).owndata:
            return True
        given = (*args, *kwargs.values())
        if any(isinstance(a, reader.ndarray) and reader.root(a) is home for a in given):
            return True
        foreign = (a for a in given if not isinstance(a, (reader.ndarray, reader.generic)))
        if not any("__array__" in vars(cls) for a in foreign for cls in type(a).__mro__):
            return False
        alone = self._references[home is result]
        return sys.getrefcount(result) > alone[0] or sys.getrefcount(home) > alone[1]

    def _references_alone(self) -> dict[bool, tuple[int, int]]:
        """Return how many references a result and its memory have in `shares_memory` if no one else has any.

        By whether the two are one.
        """

        def references(result: Any) -> tuple[bool, tuple[int, int]]:
            home = self.reader.root(result)
            return home is result, (sys.getrefcount(result), sys.getrefcount(home))

        result = self.reader.ndarray((2,))
        view = self.reader.ndarray((2,))[:1]
        return dict([references(result), references(view)])
