"""What operations cost: FLOPs, transcendentals, comparisons and bytes, per signature and per trace.

The rules are in `tinytrace.analysis.op_table`, the published convention in docs/counting.md. An operation
without a formula is *uncounted* (None; −1 in arrays), never 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.formulas import Work
from tinytrace.analysis.op_table import ANY_DTYPE, Row, find
from tinytrace.analysis.operands import is_foreign, is_truncated
from tinytrace.analysis.traffic import NOT_KNOWN, Traffic
from tinytrace.analysis.work import moves
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Signature, Trace

UNCOUNTED = -1  # in arrays
LARGEST = 2**63 - 1  # a figure beyond it does not fit the arrays, and is uncounted there

# Goes into the metadata of every trace: what its figures mean.
CONVENTION: dict[str, str] = {
    "version": "1",
    "flop": "one addition, subtraction, multiplication, division or comparison of numbers; a "
    "multiply-add is 2; integer and bool operations count alike",
    "elementwise": "per element of the broadcast output",
    "transcendental": "one evaluation of exp, log, sqrt, pow, tanh…; not in the FLOPs",
    "comparison": "of sorting and searching; not in the FLOPs",
    "complex": "add 2, multiply 6, divide 11, multiply-add 8 FLOPs; a transcendental is one",
    "nominal": "linear algebra by LAPACK Working Note 41 and Golub & Van Loan, FFT 5 n log2 n (real: "
    "half): the problem is rated, whatever the library executes",
    "bytes": "compulsory traffic at the op's boundary: each distinct input read once, each output "
    "written once; write-allocate left out; views and scalars 0; broadcast dimensions once",
    "strided": "elements x min(64, |stride|): the cache lines touched",
    "gather": "2 x out + index",
    "scatter": "3 x updates + index",
    "leaves": "only ops without an op inside them are counted; an op with figures given by the user "
    "stands for all that ran inside it",
    "uncounted": "an op without a formula, or that did not end normally: listed, never 0",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """The cost of one call.

    Attributes:
        flops: floating-point (or integer, bool) operations; None: uncounted.
        transcendentals: evaluations of exp, log, sqrt, pow…; not contained in ``flops``.
        bytes_read: compulsory bytes read; None: not known.
        bytes_written: compulsory bytes written; None: not known.
        comparisons: of sorting and searching; not contained in ``flops``.
        nominal: ``flops`` or ``comparisons`` rate the problem; what ran may differ.
    """

    flops: int | None
    transcendentals: int
    bytes_read: int | None
    bytes_written: int | None
    comparisons: int = 0
    nominal: bool = False

    @property
    def bytes(self) -> int | None:
        """Bytes read and written together; None when either is not known."""
        if self.bytes_read is None or self.bytes_written is None:
            return None
        return self.bytes_read + self.bytes_written


def count(signature: Signature) -> Counts:
    """Return what one call with this signature costs; never raises.

    Args:
        signature: op, operands (inputs, then outputs) and the arguments that matter.

    Example:
        >>> from tinytrace.tracer.trace import Operand, Signature
        >>> a, b, out = Operand("float64", (2, 4)), Operand("float64", (4, 3)), Operand("float64", (2, 3))
        >>> cost = count(Signature("matmul", (a, b, out), 2))
        >>> cost.flops, cost.bytes_read, cost.bytes_written
        (48, 160, 48)
    """
    row = find(signature.op)
    if row is None or not _is_well_formed(signature):
        return Counts(None, 0, None, None)
    work, traffic = _work(row, signature), _traffic(row, signature)
    if work is None:
        return Counts(None, 0, traffic.read, traffic.written)
    return Counts(
        work.flops, work.transcendentals, traffic.read, traffic.written, work.comparisons, work.nominal
    )


def _is_well_formed(sig: Signature) -> bool:
    return 0 <= sig.n_inputs <= len(sig.operands) and all(
        size >= 0 for operand in sig.operands for size in (*operand.shape, operand.itemsize)
    )


def _work(row: Row, sig: Signature) -> Work | None:
    if row.work is None or (is_truncated(sig) and row.work is not moves):
        return None
    arrays = [o.dtype for o in sig.operands if not is_foreign(o)]
    if any(dtype.startswith(REFERENCES) for dtype in arrays):
        return None
    if row.work not in ANY_DTYPE and not all(dtype.startswith(NUMBERS) for dtype in arrays):
        return None
    try:
        return row.work(sig)
    except (ValueError, LookupError, ArithmeticError):  # the signature does not tell
        return None


NUMBERS = (
    "bool", "int", "uint", "float", "bfloat", "complex", "long", "ulong", "clong", "datetime64",
    "timedelta64",
)  # fmt: skip
REFERENCES = ("object", "StringDType")  # arrays of things elsewhere: what is done to them is not known


def _traffic(row: Row, sig: Signature) -> Traffic:
    try:
        return row.traffic(sig)
    except (ValueError, LookupError, ArithmeticError):
        return NOT_KNOWN


# A whole trace ---------------------------------------------------------------------------------------

Figure = Literal["flops", "bytes"]
Mask = NDArray[np.bool_]
Figures = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TraceCounts:
    """The counts of every signature of a trace, and which of its spans they belong to.

    Attributes:
        signatures: counts per row of ``Trace.signatures``, exact.
        flops, transcendentals, bytes_read, bytes_written, comparisons: the same as arrays; −1 where
            uncounted, and where the figure exceeds 2⁶³ − 1.
        nominal: bool per signature.
        leaf: bool per span: an op without an op inside it, and not inside an op with declared figures
            of both kinds (see `declared`).
        declared: figures that the user gave with ``tt.op(name, flops=, bytes=)``, by row of the spans.
    """

    signatures: tuple[Counts, ...]
    flops: Figures
    transcendentals: Figures
    bytes_read: Figures
    bytes_written: Figures
    comparisons: Figures
    nominal: Mask
