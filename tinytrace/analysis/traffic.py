"""Bytes that an operation must move: compulsory traffic at its boundary, by docs/counting.md.

A rule takes a `Signature` and returns `Traffic`; None in it means: not known. Rules index operands
freely: `counting.count` takes a missing operand (LookupError) as *uncounted*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tinytrace.analysis.operands import is_truncated, items, layout_of
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

INDEX_DTYPES = ("int", "uint", "bool")
CACHE_LINE_BYTES = 64  # x86-64, and what a load fetches on Arm servers


class Traffic(NamedTuple):
    """Bytes read and written by one operation; None: not known."""

    read: int | None
    written: int | None


TrafficRule = Callable[[Signature], Traffic]
NOT_KNOWN = Traffic(None, None)
NOTHING = Traffic(0, 0)


def operand_bytes(operand: Operand) -> int | None:
    """Return the bytes that touching every element of an operand once moves; None if not known.

    Contiguous memory costs its size, scalars cost nothing. Strided memory costs the cache lines
    that it touches: dimensions are taken from the smallest stride outwards, and each repetition
    costs what lies below it, but at least its stride, up to a cache line. So a column of a wide
    matrix costs a line per element, ``x[::2]`` twice its size, a block ``x[:, :1000]`` of long rows
    its size. Broadcast dimensions (stride 0) count once; overlapping windows no more than the
    memory that they span.

    Example:
        >>> operand_bytes(Operand("float64", (100,), Layout.STRIDED, (4096,)))
        6400
    """
    layout = layout_of(operand)
    if layout in (Layout.NUMPY_SCALAR, Layout.PYTHON_SCALAR):
        return 0
    if layout == Layout.OTHER or operand.dtype.startswith(("object", "StringDType")):
        return None  # what it refers to is not known
    if layout != Layout.STRIDED or operand.elements == 0:
        return operand.elements * operand.itemsize
    steps = sorted(
        (abs(stride), size)
        for size, stride in zip(operand.shape, operand.strides, strict=True)
        if size > 1 and stride != 0
    )
    cost = span = operand.itemsize
    for stride, size in steps:
        cost = size * max(cost, min(CACHE_LINE_BYTES, stride))
        span += stride * (size - 1)
    # The span ends with the last element; the gap behind an element is charged to it as well.
    gap = min(CACHE_LINE_BYTES, steps[0][0]) - operand.itemsize if steps else 0
    return min(cost, span + max(0, gap))


def total(operands: list[Operand]) -> int | None:
    """Return the sum of `operand_bytes`; None if one of them is not known."""
    sizes = [operand_bytes(operand) for operand in operands]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def dense_bytes(operand: Operand) -> int | None:
    """Return elements × itemsize: the bytes of a packed copy of the operand; None if not known."""
    known = operand_bytes(operand)
    return operand.elements * operand.itemsize if known else known


def distinct_inputs(sig: Signature) -> list[Operand]:
    """Return the inputs without repetitions of the same memory (``x * x``)."""
    return [operand for operand in sig.inputs if operand.alias < 0]


def distinct_outputs(sig: Signature) -> list[Operand]:
    """Return the outputs without repetitions; one that is an input as well is still written."""
    return [operand for operand in sig.outputs if operand.alias < sig.n_inputs]


def footprint_bytes(sig: Signature) -> int | None:
    """Return the memory that one call works on: the sum of its distinct operands; None if not known.

    >>> x = Operand("float64", (1000,))
    >>> footprint_bytes(Signature("add", (x, Operand("float64", (1000,), alias=0), x), 2))
    16000
    """
    if is_truncated(sig):
        return None
    return total([operand for operand in sig.operands if operand.alias < 0])


def _written(sig: Signature) -> int | None:
    return total(distinct_outputs(sig)) if sig.outputs else None


def _is_view(sig: Signature) -> bool:
    return any(0 <= operand.alias < sig.n_inputs for operand in sig.outputs)


def touch(sig: Signature) -> Traffic:
    """Every distinct input is read once, every output written once; in place is read and write."""
    if is_truncated(sig):
        return NOT_KNOWN
    read = total(distinct_inputs(sig)) if sig.inputs else None  # made of Python objects
    return Traffic(read, _written(sig))


def to_scalar(sig: Signature) -> Traffic:
    """As `touch`; a result that is a Python number has no bytes."""
    return touch(sig) if sig.outputs else Traffic(touch(sig).read, 0)


def overwrite(sig: Signature) -> Traffic:
    """As `touch`, but what is written is not read before (``fill``, ``copyto``, draws)."""
    if is_truncated(sig):
        return NOT_KNOWN
    targets = {operand.alias for operand in sig.outputs}
    sources = [o for i, o in enumerate(sig.inputs) if o.alias < 0 and i not in targets]
    return Traffic(total(sources), _written(sig))


def copy(sig: Signature) -> Traffic:
    """In + out; nothing when the result is the argument itself."""
    return NOTHING if _is_view(sig) else touch(sig)


def einsum(sig: Signature) -> Traffic:
    """As `touch`; one operand of which nothing is summed (``ij->ji``, ``ii->i``) gives a view."""
    left, arrow, right = items(sig)[0].replace(" ", "").partition("->")
    kept = set(left) == set(right) if arrow else len(set(left)) == len(left)
    return NOTHING if kept and sig.n_inputs == 1 else touch(sig)


def factor_in_place(sig: Signature) -> Traffic:
    """As `touch`, and the matrix, which LAPACK overwrites with its factors, is written as well."""
    read, written = touch(sig)
    matrix = operand_bytes(sig.inputs[0])
    return Traffic(read, None if written is None or matrix is None else written + matrix)


def to_packed(sig: Signature) -> Traffic:
    """In, and a packed copy out, that is no array (``tobytes``)."""
    (source,) = sig.inputs[:1]
    return Traffic(operand_bytes(source), dense_bytes(source))


def read_only(sig: Signature) -> Traffic:
    """In; what is written are Python objects of unknown size (``tolist``)."""
    return Traffic(touch(sig).read, None)


def view(sig: Signature) -> Traffic:
    """No memory is touched."""
    return NOTHING


def cleared(sig: Signature) -> Traffic:
    """Not known: the kernel clears large memory, and not before it is first touched (``zeros``)."""
    return Traffic(0, None)


def join(sig: Signature) -> Traffic:
    """2 · out: all inputs are copied into the output, which tells alone (``concatenate``)."""
    (out,) = sig.outputs
    known = touch(sig)
    return Traffic(dense_bytes(out) if known.read is None else known.read, operand_bytes(out))


def gather(sig: Signature) -> Traffic:
    """2 · out + index; the array that is picked from comes first."""
    return _gather(sig, list(sig.inputs[1:]))


def choose(sig: Signature) -> Traffic:
    """2 · out + index; the index comes first."""
    return _gather(sig, list(sig.inputs[:1]))


def _gather(sig: Signature, indices: list[Operand]) -> Traffic:
    if is_truncated(sig):
        return NOT_KNOWN
    picked, index_bytes = dense_bytes(sig.outputs[0]), total(indices)
    read = None if picked is None or index_bytes is None else picked + index_bytes
    return Traffic(read, _written(sig))


def pick(sig: Signature) -> Traffic:
    """2 · out: elements picked at random places; how the places are drawn is not counted."""
    return _gather(sig, [])


def scattered(target: Operand, updates: int, read_along: list[Operand]) -> Traffic:
    """3 · updates + index: target read and written; ``read_along``: the values and indices."""
    along = total(read_along)
    if operand_bytes(target) is None:
        return NOT_KNOWN
    moved = updates * target.itemsize
    return Traffic(None if along is None else moved + along, moved)


def put(sig: Signature) -> Traffic:
    """3 · updates + index of ``put(a, indices, values)``."""
    target, index, *_ = sig.inputs
    if not index.dtype.startswith(INDEX_DTYPES):
        return NOT_KNOWN  # the index is a list, which is not recorded
    return scattered(target, index.elements, list(sig.inputs[1:]))


def setitem(sig: Signature) -> Traffic:
    """3 · updates + index when there are index arrays; else value read, slice written.

    Inputs are the value and the index arrays; the one output has the shape of what is written. Where it is the
    value itself (``a[i] += b`` ends so), NumPy copies nothing.
    """
    if is_truncated(sig):
        return NOT_KNOWN
    (out,) = sig.outputs
    if out.alias == 0:
        return NOTHING
    indices = sig.inputs[1:]
    if indices and all(o.dtype.startswith(INDEX_DTYPES) for o in indices):
        return scattered(out, out.elements, distinct_inputs(sig))
    return touch(sig)


def search(sig: Signature) -> Traffic:
    """Queries, out, and what searches can touch: a line per comparison, at most the whole array."""
    haystack, *queries = sig.inputs[:2]  # a scalar query is not recorded
    whole, asked = operand_bytes(haystack), total(queries)
    if whole is None or asked is None:
        return Traffic(None, _written(sig))
    lines = sig.outputs[0].elements * haystack.elements.bit_length() * CACHE_LINE_BYTES
    return Traffic(min(whole, lines) + asked, _written(sig))


def diagonal_sum(sig: Signature) -> Traffic:
    """The diagonals' elements, a cache line each unless rows are shorter (``trace``)."""
    array = sig.inputs[0]
    if operand_bytes(array) is None:
        return Traffic(None, _written(sig))
    rows, columns = array.shape[:2]
    picked = min(rows, columns) * math.prod(array.shape[2:])
    return Traffic(picked * min(CACHE_LINE_BYTES, (columns + 1) * array.itemsize), _written(sig))
