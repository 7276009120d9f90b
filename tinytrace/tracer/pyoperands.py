"""From a call to its signature, in Python: the arrays read and written, the arguments that count.

The rules are those of ``native/operands.c``, to the byte. NumPy is met, never imported.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinytrace.tracer.pyarrays import ArrayReader, bare_word
from tinytrace.tracer.records import (
    MAX_ATTRIBUTE_BYTES,
    MAX_OPERANDS,
    NO_ALIAS,
    Layout,
    Policy,
)

# Plain integers: the operators of enumerations are slow.
ATTRIBUTES, EXPONENT = int(Policy.ATTRIBUTES), int(Policy.EXPONENT)
FIRST_IS_OPERAND = int(Policy.FIRST_IS_OPERAND)
WRITES_SELF, WRITES_FIRST = int(Policy.WRITES_SELF), int(Policy.WRITES_FIRST_ARGUMENT)
NUMPY_SCALAR, PYTHON_SCALAR = int(Layout.NUMPY_SCALAR), int(Layout.PYTHON_SCALAR)
OTHER = int(Layout.OTHER)
MAX_INPUTS = MAX_OPERANDS - 2  # the result is always kept
MAX_TUPLE_ATTRIBUTE = 8  # longer tuples decide no count
MAX_INTEGERS_BYTES = MAX_ATTRIBUTE_BYTES + 64  # as in C: there the buffer's size
MAX_RESULTS = 4
SCALARS: dict[type, tuple[str, int]] = {
    float: ("f", 8), bool: ("b", 1), int: ("i", 8), complex: ("c", 16),
}  # fmt: skip
WIDTHS = (bool, int, float, complex)  # of several kinds NumPy takes the last


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """What is known of a hooked object.

    Attributes:
        op: the op's id.
        policy: bits of `records.Policy`.
        n_in: ufuncs: positional arguments beyond these are outputs; −1: all are inputs.
        bare: the signature without operands: what a span is while it is open.
        bound: the first positional argument is the object called, or the self of a method.
        method: of ufuncs: ``reduce``; the op is ``add.reduce``.
        call: of ufuncs of one or two arguments which arrays alone describe: the object's own call.
        known: signatures of calls by what tells them apart, see `pysignatures`.
    """

    op: int
    policy: int
    n_in: int
    bare: int
    bound: bool
    method: str = ""
    call: Callable[..., Any] | None = None
    known: dict[tuple[Any, ...], int] = field(default_factory=dict)


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


def numbers(value: Any, kind: type) -> tuple[Any, ...]:
    """Return kind and size of the numbers of a tuple or list, and how many; ("O", 0) for anything else."""
    kinds = set(map(type, value)) if kind is tuple or kind is list else {object}
    if not kinds <= SCALARS.keys():
        return "O", 0
    widest = max(kinds, key=WIDTHS.index, default=float)  # as NumPy takes an empty one
    return *SCALARS[widest], len(value)


def fits_int64(value: int) -> bool:
    """Whether an integer has at most 64 bits, as C wants it."""
    return -(1 << 63) <= value < 1 << 63


def describe_exponent(value: object) -> str:
    """Return a power's Python exponent as text; "" for anything else."""
    if isinstance(value, int):
        return f"exponent={int(value)}" if fits_int64(value) else ""
    return f"exponent={value:.17g}" if type(value) is float else ""


class Call:
    """A call being described: its operands so far, as words of the key that `records` describes."""

    __slots__ = ("arrays", "attributes", "left_out", "n_in", "n_out", "reader", "words")

    def __init__(self, reader: ArrayReader) -> None:
        """Begin without operands."""
        self.reader = reader
        self.arrays: list[Any] = []  # None for what has no elements
        self.words: list[int] = []
        self.attributes = ""
        self.n_in = self.n_out = 0
        self.left_out = False

    def array(self, a: Any) -> bool:
        """Add an array; False: there is no room."""
        if len(self.arrays) == MAX_OPERANDS:
            self.left_out = True
            return False
        alias = NO_ALIAS
        for i, other in enumerate(self.arrays):
            if other is a or (other is not None and self.reader.same_place(other, a)):
                alias = i
                break
        self.words += self.reader.words(a, alias)
        self.arrays.append(a)
        return True

    def bare(self, layout: int, kind: str, itemsize: int, *size: int) -> bool:
        """Add something that is no array; False: there is no room."""
        if len(self.arrays) == MAX_OPERANDS:
            self.left_out = True
            return False
        self.words += (bare_word(layout, kind, itemsize) | len(size), *size)
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
            added = scalars and self.bare(OTHER, *numbers(value, kind))
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
        head = op | self.n_in << 32 | self.n_out << 40 | len(attributes) << 48
        words = [word & 0xFFFFFFFFFFFFFFFF for word in self.words]  # strides may be negative
        return struct.pack(
            f"<{1 + len(words)}Q{len(attributes)}s{-len(attributes) % 8}x", head, *words, attributes
        )


def describe(
    reader: ArrayReader,
    hook: Hook,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    results: tuple[Any, ...],
) -> Call:
    """Return the operands and attributes of a call; ``results``: what it returned, () if it raised."""
    call = Call(reader)
    policy, scalars = hook.policy, hook.n_in >= 0
    own = None
    if hook.bound and args:
        own, args = args[0], args[1:]
        own = own if isinstance(own, reader.ndarray) else None
        if own is not None:
            call.read(own, False)
    inputs = args[: hook.n_in] if scalars else args
    if policy & FIRST_IS_OPERAND and inputs:
        call.read(inputs[0], True)
        inputs = inputs[1:]
    for value in inputs:
        call.read(value, scalars)
        if policy & ATTRIBUTES:
            call.attribute("", value)
    if policy & EXPONENT and len(args) > 1:
        call.attributes += describe_exponent(args[1])
    for name, value in kwargs.items():
        if name == "out":
            continue
        if isinstance(value, reader.ndarray):
            call.read(value, False)
        elif policy & ATTRIBUTES:
            call.attribute(name, value)
    outputs = [*results, kwargs.get("out"), *(args[hook.n_in :] if scalars else ())]
    if policy & WRITES_SELF:
        outputs.append(own)
    if policy & WRITES_FIRST:  # behind the generator, for its methods
        arrays = (a for a in args[:2] if isinstance(a, reader.ndarray))
        outputs.append(next(arrays, None))
    for value in outputs:
        call.wrote(value)
    return call
