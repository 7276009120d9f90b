"""One call of an ATen operation of PyTorch: its arguments by name, whoever recorded it.

A signature of ``aten::sum`` has one operand per argument of the operation's schema, in its order: tensors as they
were; a list of tensors as one operand whose shape is (elements of all,); whatever else is no tensor holds a place
(`PLACEHOLDER`). Values that decide what a call costs are attributes, by name (``dim=[1];keepdim=True``). Outputs follow
where they were recorded (torch.profiler records none).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tinytrace.analysis.aten_names import base_name
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

PLACEHOLDER = Operand("", (), Layout.OTHER, itemsize=0)  # an argument that is no tensor
LIST_DTYPE = "tensors"  # of a list of tensors, where torch.profiler does not say of which type
DEFAULTS = ("alpha=1", "beta=1")  # are left out, so that one signature stands for the usual call


class Schema(tuple[str, ...]):
    """The arguments of one overload: names in order; ``=`` after a name: its value matters."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Schema:
        """Return the schema of ``self dim= keepdim=``."""
        return cls(text.split())

    def names(self) -> list[str]:
        """Return the names alone."""
        return [name.rstrip("=") for name in self]


@dataclass(frozen=True)
class AtenCall:
    """The arguments of one call.

    Attributes:
        op: name without ``aten::`` and without the ``_`` of the form in place.
        in_place: whether the first argument is what is written.
        arguments: operands by name.
        attributes: values by name, as text.
        outputs: what was written, recorded or worked out.
    """

    op: str
    in_place: bool
    arguments: dict[str, Operand]
    attributes: dict[str, str]
    outputs: tuple[Operand, ...] = ()
    out_dtypes: tuple[Operand, ...] = field(default=())  # given as ``out=``: their types hold

    def tensor(self, name: str) -> Operand:
        """Return a tensor (or the list of them); LookupError: it was not given."""
        operand = self.optional(name)
        if operand is None:
            raise LookupError(f"{name} was not given")
        return operand

    def optional(self, name: str) -> Operand | None:
        """Return a tensor, or None where there is none."""
        operand = self.arguments.get(name)
        return None if operand is None or not is_tensor(operand) else operand

    def tensors(self) -> list[Operand]:
        """Return all tensors that were given, in order."""
        return [operand for operand in self.arguments.values() if is_tensor(operand)]

    def ints(self, name: str) -> tuple[int, ...]:
        """Return a list of integers; ValueError: its value was not recorded."""
        text = self.value(name)
        if not re.fullmatch(r"\[[-\d, ]*\]|-?\d+", text):
            raise ValueError(f"{name} is no list of integers: {text}")
        return tuple(int(number) for number in re.findall(r"-?\d+", text))

    def integer(self, name: str) -> int:
        """Return an integer; ValueError: its value was not recorded."""
        return int(self.value(name))

    def flag(self, name: str) -> bool:
        """Return a truth value; ValueError: it was not recorded."""
        text = self.value(name)
        if text not in ("True", "False"):
            raise ValueError(f"{name} is neither True nor False: {text}")
        return text == "True"

    def value(self, name: str) -> str:
        """Return a value as text; ValueError: it was not recorded. ``None``: nothing was given."""
        if name not in self.attributes:
            raise ValueError(f"the value of {name} was not recorded")
        return self.attributes[name]


def is_tensor(operand: Operand) -> bool:
    """Whether an operand is a tensor or a list of them, and no placeholder."""
    return operand.dtype != PLACEHOLDER.dtype


def kept_attributes(schemas: Sequence[Schema], values: Sequence[str | None]) -> str:
    """Return the attributes that a call has: ``name=value``, separated by ``;``.

    Args:
        schemas: the overloads of the operation.
        values: per argument its value as text; None or "": not recorded or none.
    """
    schema = _overload(schemas, len(values))
    if schema is None:
        return ""
    kept = (
        f"{name}{value.replace(';', ',')}"
        for name, value in zip(schema, values, strict=False)
        if name.endswith("=") and value is not None and value != ""
    )
    return ";".join(item for item in kept if item not in DEFAULTS)


def _overload(schemas: Sequence[Schema], n_arguments: int) -> Schema | None:
    """Return the overload with so many arguments; or one that has fewer: the rest is ``out=``."""
    for schema in schemas:
        if len(schema) == n_arguments:
            return schema
    shorter = [schema for schema in schemas if len(schema) < n_arguments]
    return max(shorter, key=len) if shorter else None


def call_of(sig: Signature, schemas: Sequence[Schema]) -> AtenCall:
    """Return the call that a signature stands for.

    Raises:
        LookupError: no overload has so many arguments.
    """
    op, in_place = base_name(sig.op)
    schema = _overload(schemas, sig.n_inputs)
    if schema is None:
        raise LookupError(f"{sig.op} with {sig.n_inputs} arguments is not known")
    names = schema.names()
    given = sig.inputs[len(names) :]
    return AtenCall(
        op,
        in_place,
        dict(zip(names, sig.inputs, strict=False)),
        attributes_of(sig),
        sig.outputs,
        tuple(operand for operand in given if is_tensor(operand)),
    )


def attributes_of(sig: Signature) -> dict[str, str]:
    """Return the attributes of a signature by name."""
    items = sig.attributes.lstrip("+").split(";")
    return {name: value for name, _, value in (item.partition("=") for item in items) if value}


# Shapes -----------------------------------------------------------------------------------------

Shape = tuple[int, ...]
OutputRule = Callable[[AtenCall], tuple[Operand, ...]]


def packed(dtype: str, itemsize: int, shape: Sequence[int], alias: int = -1) -> Operand:
    """Return an operand of new memory without gaps."""
    return Operand(dtype, tuple(shape), Layout.C, (), alias, itemsize)


def like(operand: Operand, shape: Sequence[int]) -> Operand:
    """Return an operand of the same type in new memory."""
    if operand.dtype == LIST_DTYPE or operand.layout == Layout.OTHER:
        return unknown_dtype(shape)
    return packed(operand.dtype, operand.itemsize, shape)


def unknown_dtype(shape: Sequence[int]) -> Operand:
    """Return an operand whose shape is known, and its type not: its bytes are not known either."""
    return Operand(LIST_DTYPE, tuple(shape), Layout.OTHER, itemsize=0)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape that these broadcast to; ValueError: they do not."""
    ndim = max((len(shape) for shape in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for axis, size in enumerate(shape, start=ndim - len(shape)):
            if size != 1 and result[axis] not in (1, size):
                raise ValueError("the shapes do not broadcast")
            result[axis] = size if result[axis] == 1 else result[axis]
    return tuple(result)


def elements(shape: Sequence[int]) -> int:
    """Return the product of a shape."""
    return math.prod(shape)
