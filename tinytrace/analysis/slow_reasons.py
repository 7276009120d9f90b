"""Why an op is far from both of its roofs: what its signature shows, in words."""

from __future__ import annotations

from tinytrace.analysis.operands import layout_of
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.signature_roofs import arithmetic_dtype, uses_matrices
from tinytrace.analysis.traffic import operand_bytes
from tinytrace.tracer.records import LAYOUT_SWAPPED, Layout
from tinytrace.tracer.trace import Operand, Signature

SKINNY = 32  # a product with a side below this cannot keep BLAS's kernels busy
MUCH_SLOWER = 4.0  # × between the matrix products of two dtypes: one has BLAS, the other has not
SMALL_PERCENT = 20.0  # of the time is the fixed cost of a call
# From here on the C library takes memory from the kernel for each array and gives it back after: each page
# is then cleared when it is first written. (glibc's M_MMAP_THRESHOLD, which grows from 128 KB to this.)
FRESH_BYTES = 32 << 20
SLOWER_THAN_ADDING = frozenset(
    ["divide", "floor_divide", "remainder", "fmod", "divmod", "reciprocal"]
)
PICKS = frozenset(["getitem", "setitem", "take", "put", "choose", "compress"])


def slow_reasons(
    sig: Signature, peaks: Peaks | None = None, overhead_percent: float | None = None
) -> tuple[str, ...]:
    """Return what may make calls with this signature slow; () when it shows nothing.

    Args:
        sig: of the calls.
        peaks: of the machine; None: not known.
        overhead_percent: share of the time that is the fixed cost of a call; None: not known.

    Example:
        >>> column = Operand("float64", (1000,), Layout.STRIDED, (8000,))
        >>> slow_reasons(Signature("exp", (column, Operand("float64", (1000,))), 1))
        ('not contiguous: float64 1000, a step of 8,000 bytes',)
    """
    found = [
        *_scattered(sig),
        *_dtypes(sig, peaks),
        *_sizes(sig),
    ]
    if overhead_percent is not None and overhead_percent >= SMALL_PERCENT:
        found.append(f"small: {overhead_percent:.0f} % of the time is the fixed cost of a call")
    if sig.op in SLOWER_THAN_ADDING:
        found.append("divisions take longer than the additions by which the roof was measured")
    return tuple(found)


def _scattered(sig: Signature) -> list[str]:
    arrays = [operand for operand in sig.operands if operand.is_array or operand.strides]
    found = [
        f"not contiguous: {_shape(operand)}, a step of {_step(operand):,} bytes"
        for operand in arrays
        if layout_of(operand) == Layout.STRIDED and _step(operand) > operand.itemsize
    ][:1]
    orders = {layout_of(o) for o in arrays if len(o.shape) > 1 and layout_of(o) != Layout.STRIDED}
    if len(orders) > 1 and not uses_matrices(sig.op):
        found.append("rows of one operand meet columns of another (C and Fortran order)")
    if any(operand.layout & LAYOUT_SWAPPED for operand in sig.operands):
        found.append("bytes in the order of another machine")
    if sig.op in PICKS and any(o.dtype.startswith(("int", "uint")) for o in sig.inputs[1:]):
        found.append("elements are picked at the places of an index")
    return found


def _dtypes(sig: Signature, peaks: Peaks | None) -> list[str]:
    dtype = arithmetic_dtype(sig)
    if uses_matrices(sig.op):
        roofs = peaks.gemm_gflops if peaks else {}
        own, best = roofs.get(dtype), max(roofs, key=lambda d: roofs[d].value, default="")
        if own is not None and own.value * MUCH_SLOWER < roofs[best].value:
            return [
                f"{dtype} products do without BLAS: at most {own.value:.3g} GFLOP/s here, "
                f"{best} {roofs[best].value:.3g}"
            ]
    if dtype == "float16":
        return ["float16 is computed in software"]
    names = dict.fromkeys(o.dtype for o in sig.inputs if o.is_array and o.dtype != "bool")
    if len(names) > 1 and sig.op not in PICKS:
        return [f"{' and '.join(names)} together: converted piece by piece"]
    return []


def _sizes(sig: Signature) -> list[str]:
    found = []
    sides = [size for o in sig.inputs if o.is_array for size in o.shape[-2:]]
    if uses_matrices(sig.op) and sides and min(sides) < SKINNY:
        found.append(f"a side of the matrices is {min(sides)}: too thin to keep the processor busy")
    fresh = [operand_bytes(operand) or 0 for operand in sig.outputs if operand.alias < 0]
    if sum(fresh) >= FRESH_BYTES:
        found.append(
            f"{sum(fresh) / 1e6:,.0f} MB of new memory per call, which the kernel clears page by page (out= avoids it)"
        )
    return found


def _step(operand: Operand) -> int:
    """The smallest distance between neighbours in memory, bytes."""
    steps = (
        abs(stride)
        for size, stride in zip(operand.shape, operand.strides, strict=False)
        if size > 1 and stride
    )
    return min(steps, default=operand.itemsize)


def _shape(operand: Operand) -> str:
    return f"{operand.dtype} {'x'.join(map(str, operand.shape))}"
