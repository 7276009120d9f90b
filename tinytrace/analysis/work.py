"""Work rules: how the formulas apply to a recorded signature.

A rule takes a `Signature` and returns `Work`; it raises ValueError, LookupError or ArithmeticError
where the signature does not tell (an operand is missing, an axis is not known), which
`counting.count` takes as *uncounted*.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from tinytrace.analysis import formulas
from tinytrace.analysis.formulas import Work
from tinytrace.analysis.operands import (
    axis_of,
    broadcast_elements,
    elements,
    holds_complex,
    is_complex,
    is_foreign,
    is_truncated,
    items,
    lanes,
)
from tinytrace.tracer.trace import Signature

WorkRule = Callable[[Signature], Work]


@dataclass(frozen=True, slots=True)
class Each:
    """So much per element of the broadcast output; complex numbers cost more."""

    flops: int = 0
    transcendentals: int = 0
    complex_flops: int | None = None
    complex_transcendentals: int | None = None

    def one(self, sig: Signature) -> Work:
        """Return the work of one element."""
        flops, evaluations = self.flops, self.transcendentals
        if is_complex(sig):
            flops = flops if self.complex_flops is None else self.complex_flops
            if self.complex_transcendentals is not None:
                evaluations = self.complex_transcendentals
        return Work(flops, evaluations)

    def __call__(self, sig: Signature) -> Work:
        """Return the work of the whole call."""
        return self.one(sig).times(broadcast_elements(sig))


class Power(Each):
    """pow, except for the exponent 2, for which NumPy multiplies."""

    __slots__ = ()

    def one(self, sig: Signature) -> Work:
        """Return the work of one element."""
        squares = any(re.fullmatch(r"(exponent=)?2(\.0*)?", item) for item in items(sig))
        return MULTIPLY.one(sig) if squares else EVALUATE.one(sig)


ADD = Each(1, complex_flops=2)
MULTIPLY = Each(1, complex_flops=6)
COMPARE = Each(1, complex_flops=2)
EVALUATE = Each(transcendentals=1)


def moves(sig: Signature) -> Work:
    """Bytes only."""
    return Work(0)


def reductions(sig: Signature) -> int:
    """N_in − N_out: how often a reduction applies its operation."""
    return max(0, elements(sig.inputs[0]) - elements(sig.outputs[0]))


def accumulations(sig: Signature) -> int:
    """N − lanes: the first element of each lane is copied."""
    out = sig.outputs[0]
    axis = axis_of(sig, 0 if "." in sig.op or len(out.shape) < 2 else None)
    if len(out.shape) > 1 and axis is None:
        raise ValueError("the axis is not known")
    return elements(out) - lanes(out, axis if len(out.shape) > 1 else None)[0] * bool(out.elements)


def updates(sig: Signature) -> int:
    """Elements that ``ufunc.at(a, indices, values)`` updates: as many as the index arrays pick.

    Values are recorded if they are an array; when they may as well be one more index, none is told.
    """
    array, *indices = sig.inputs
    if not indices[-1].dtype.startswith(("int", "uint")) or len(indices) > len(array.shape):
        indices.pop()  # the values
    elif len(indices) > 1:
        raise ValueError("the last array may be an index or the values")
    if not indices or not all(o.dtype.startswith(("int", "uint")) for o in indices):
        raise ValueError("how many elements are updated depends on the values")
    picked = Signature(sig.op, tuple(indices), len(indices))
    return broadcast_elements(picked) * math.prod(array.shape[len(indices) :])


def reduce_by(one: Each) -> WorkRule:
    """Return the rule of a reduction by this operation."""
    return lambda sig: one.one(sig).times(reductions(sig))


def accumulate_by(one: Each) -> WorkRule:
    """Return the rule of a running reduction by this operation."""
    return lambda sig: one.one(sig).times(accumulations(sig))


def mean(sig: Signature) -> Work:
    """N_in − N_out additions and N_out divisions."""
    return ADD.one(sig).times(reductions(sig) + elements(sig.outputs[0]))


def counted_nonzeros(sig: Signature) -> Work:
    """N_in − N_out; a Python number counts as one element."""
    return Work(reductions(sig) if sig.outputs else max(0, elements(sig.inputs[0]) - 1))


def per_input(sig: Signature) -> Work:
    """One operation per element of the first input."""
    return Work(elements(sig.inputs[0]))


def diagonal_sum(sig: Signature) -> Work:
    """min(rows, columns) − 1 additions per diagonal: the main one of the first two axes."""
    if not {"", "offset=0", "axis1=0", "axis2=1", "dtype=None"}.issuperset(items(sig)):
        raise ValueError("offset or axes are not the usual ones")
    rows, columns = sig.inputs[0].shape[:2]
    return ADD.one(sig).times(max(0, min(rows, columns) - 1) * elements(sig.outputs[0]))


def multiply_adds(sig: Signature, count: int) -> Work:
    """2 FLOPs each; 8 for complex numbers."""
    return Work(count * (8 if is_complex(sig) else 2))


def product(sig: Signature) -> Work:
    """2·K per element of the output, K: the last axis of the first operand; a scalar scales."""
    first, second = sig.inputs[:2]
    if any("axes=" in item or "axis=" in item for item in items(sig)):
        raise ValueError("the summed axis is not the usual one")
    count = elements(sig.outputs[0])
    if not first.shape or not second.shape:
        if is_foreign(first) or is_foreign(second):
            raise ValueError("the size of a foreign object is not known")
        return MULTIPLY.one(sig).times(count)
    return multiply_adds(sig, formulas.matmul_flops(1, count, first.shape[-1]) // 2)


def vdot(sig: Signature) -> Work:
    """2·N_in: both operands are flattened."""
    return multiply_adds(sig, elements(sig.inputs[0]))


def tensordot(sig: Signature) -> Work:
    """2·K·N_out, with K from the sizes: N_a · N_b = N_out · K²."""
    n_a, n_b, n_out = (elements(o) for o in (*sig.inputs[:2], sig.outputs[0]))
    if n_out == 0:
        return Work(0)
    k = math.isqrt(n_a * n_b // n_out)
    if k * k * n_out != n_a * n_b:
        raise ValueError("sizes that no tensordot has")
    return multiply_adds(sig, k * n_out)


def einsum(sig: Signature) -> Work:
    """One loop over all labels: 2 per multiply-add of two operands."""
    text, *_ = items(sig)
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if is_truncated(sig) or len(terms) != sig.n_inputs:
        raise ValueError("the operands do not belong to the subscripts")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, sig.inputs, strict=True):
        elements(operand)
        for label, size in zip(_labels(term, len(operand.shape)), operand.shape, strict=True):
            known = sizes.get(label, 1)
            sizes[label] = max(size, known) if size and known else 0
    hidden = {label for label in sizes if not label.isalpha()}  # of an ellipsis
    if arrow:
        kept = {label for label in sizes if label in right} | (hidden if "..." in right else set())
    else:
        kept = {label for label in sizes if left.count(label) == 1} | hidden
    outputs = math.prod(sizes[label] for label in kept)
    points = math.prod(sizes.values())
    flops = formulas.einsum_flops(points, len(terms), outputs)
    if not is_complex(sig):
        return Work(flops)
    return Work(6 * points * (len(terms) - 1) + 2 * (flops - points * (len(terms) - 1)))


def _labels(term: str, ndim: int) -> list[str]:
    """Return a label per axis; the axes of an ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    hidden = ndim - len(before) - len(after) if dots else 0
    return [*before, *(str(hidden - i) for i in range(hidden)), *after]


def correlation(sig: Signature) -> Work:
    """2 per multiply-add; the length of the output tells the mode."""
    n, m, out = (elements(o) for o in (*sig.inputs[:2], sig.outputs[0]))
    lengths = {"full": n + m - 1, "same": max(n, m), "valid": max(n, m) - min(n, m) + 1}
    mode = next((name for name in ("valid", "same", "full") if lengths[name] == out), "")
    if not mode:
        raise ValueError("the mode is not known")
    return multiply_adds(sig, formulas.correlate_flops(n, m, mode) // 2)


def interpolation(sig: Signature) -> Work:
    """3 FLOPs per slope, 3 per point, log2 comparisons per point."""
    points, known = elements(sig.outputs[0]), elements(sig.inputs[-1])
    slopes = known - 1 if known <= points else points
    comparisons = points * formulas.search_comparisons(known)
    return Work(3 * points + 3 * max(0, slopes), comparisons=comparisons, nominal=True)


def sorting(sig: Signature) -> Work:
    """N·log2 N comparisons per lane."""
    count, length = lanes(sig.inputs[0], axis_of(sig, -1))
    return Work(0, comparisons=count * formulas.sort_comparisons(length), nominal=True)


def lexical_sorting(sig: Signature) -> Work:
    """N·log2 N comparisons per lane and key."""
    count, length = lanes(sig.outputs[0], axis_of(sig, -1))
    total = elements(sig.inputs[0]) * sig.n_inputs
    keys = total // elements(sig.outputs[0]) if sig.outputs[0].elements else 0
    return Work(0, comparisons=keys * count * formulas.sort_comparisons(length), nominal=True)


def searching(sig: Signature) -> Work:
    """⌈log2(N + 1)⌉ comparisons per query."""
    each = formulas.search_comparisons(elements(sig.inputs[0]))
    return Work(0, comparisons=elements(sig.outputs[0]) * each, nominal=True)


def transform(length_of: Callable[[int], int], real: bool) -> WorkRule:
    """Return the rule of an FFT ufunc; ``length_of``: length of the output's axis → of the FFT."""

    def rule(sig: Signature) -> Work:
        out = sig.outputs[0]
        if elements(out) == 0:
            return Work(0, nominal=True)
        size = out.shape[_transformed_axis(sig)]
        return formulas.fft(length_of(size), out.elements // size, real)

    return rule


def _transformed_axis(sig: Signature) -> int:
    before, after = sig.inputs[0].shape, sig.outputs[0].shape
    if match := re.search(r"\bax[ei]s=[\[(]*(-?\d{1,4})", sig.attributes):
        return int(match[1])
    changed = [i for i, (b, a) in enumerate(zip(before, after, strict=True)) if a != b]
    if len(changed) == 1:
        return changed[0]
    if len(set(after)) != 1:
        raise ValueError("the axis is not known")
    return -1


def pocketfft(sig: Signature) -> Work:
    """NumPy 1.26's ``execute``: along the last axis; real if a side is shorter or has reals."""
    before, after = sig.inputs[0].shape, sig.outputs[0].shape
    n = max(before[-1], after[-1])
    real = before[-1] != after[-1] or not sig.outputs[0].dtype.startswith("complex")
    return formulas.fft(n, math.prod(before[:-1]), real)


def matrices(formula: Callable[[int, int], Work]) -> WorkRule:
    """Return the rule of a routine on a stack of (rows × columns) matrices; of complex ones: 4 times.

    Complex eigenvalues of a real matrix are found in real arithmetic.
    """

    def rule(sig: Signature) -> Work:
        matrix = sig.inputs[0]
        batch = math.prod(matrix.shape[:-2]) * (4 if holds_complex(matrix) else 1)
        rows, columns = matrix.shape[-2:]
        return formula(rows, columns).times(batch)

    return rule


def square_matrices(formula: Callable[[int], Work]) -> WorkRule:
    """Return the rule of a routine on a stack of (n × n) matrices."""
    return matrices(lambda rows, columns: formula(columns))


def solve(sig: Signature) -> Work:
    """2n³/3 + 2n²·r for r right-hand sides."""
    matrix, right = sig.inputs[:2]
    n, out = matrix.shape[-1], sig.outputs[0]
    is_vector = sig.op == "solve1" or len(right.shape) == 1
    sides = 1 if is_vector else right.shape[-1]
    batch = elements(out) // (n * sides) if n * sides else 0
    return formulas.lu_solve(n, sides).times(batch * (4 if is_complex(sig) else 1))


def form_q(sig: Signature) -> Work:
    """Q (m × c) from k reflectors."""
    matrix, reflectors, out = *sig.inputs[:2], sig.outputs[0]
    batch = math.prod(matrix.shape[:-2]) * (4 if is_complex(sig) else 1)
    return formulas.qr_form_q(matrix.shape[-2], out.shape[-1], reflectors.shape[-1]).times(batch)
