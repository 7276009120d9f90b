"""The least time that one call with a signature can take, by the roofs of the machine: docs/report.md.

The rules for groups of calls are in `tinytrace.analysis.roofline`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinytrace.analysis.aten_names import PREFIX, base_name, footprint_of
from tinytrace.analysis.counting import Counts
from tinytrace.analysis.operands import layout_of
from tinytrace.analysis.peaks import LEVEL_NAMES, Peak, Peaks
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
UNKNOWN = math.nan
NO_LEVEL = -1
# What `Peaks.vector_gflops` was measured on moves three elements per FLOP: two are read, one is written.
ELEMENTS_PER_FLOP = 3

# Ops that are matrix products, or are made of such.
BLAS = frozenset(
    ["matmul", "dot", "inner", "vecdot", "matvec", "vecmat", "vdot", "tensordot", "c_einsum", "einsum",
     "correlate", "correlate2", "convolve", "solve", "solve1", "inv", "cholesky_lo", "cholesky_up", "det",
     "slogdet", "qr_r_raw", "qr_r_raw_m", "qr_r_raw_n", "qr_reduced", "qr_complete", "svd_s", "svd_f",
     "svd_m_s", "svd_n_s", "svd_m_f", "svd_n_f", "svd", "svd_m", "svd_n", "lstsq", "lstsq_m", "lstsq_n",
     "eig", "eigvals", "eigh_lo", "eigh_up", "eigvalsh_lo", "eigvalsh_up"]
)  # fmt: skip
ATEN_PRODUCTS = frozenset(
    ["mm", "bmm", "mv", "dot", "vdot", "matmul", "linear", "addmm", "addmv", "baddbmm", "addbmm", "_int_mm",
     "_addmm_activation", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
     "conv_transpose3d", "convolution", "_convolution", "convolution_overrideable", "convolution_backward",
     "mkldnn_convolution", "cudnn_convolution", "cudnn_convolution_transpose", "miopen_convolution",
     "miopen_depthwise_convolution", "thnn_conv2d", "_slow_conv2d_forward", "slow_conv3d_forward",
     "slow_conv_dilated2d", "slow_conv_dilated3d", "slow_conv_transpose2d", "slow_conv_transpose3d",
     "_conv_depthwise2d", "conv_depthwise3d", "mkldnn_rnn_layer", "mkldnn_rnn_layer_backward"]
)  # fmt: skip
MOVES = frozenset(
    ["copy", "astype", "ascontiguousarray", "asfortranarray", "array", "asarray", "copyto", "reshape",
     "ravel", "flatten"]
)  # fmt: skip
REDUCTIONS = (".reduce", ".accumulate", ".reduceat")


def uses_matrices(op: str) -> bool:
    """Whether an op is a matrix product or made of such: its roofs are those of matrix products."""
    if op.startswith(PREFIX):
        name, _ = base_name(op)
        return name in ATEN_PRODUCTS or "attention" in name
    return op in BLAS or op.startswith("linalg.")


@dataclass(frozen=True, eq=False)
class SignatureRoofs:
    """Least times of one call, in ns, per row of ``Trace.signatures``; one more row stands for "no signature".

    Attributes:
        compute_ns: FLOPs ÷ roof of the dtype; NaN: not counted, or no roof.
        evaluate_ns: evaluations of exp, log… ÷ roof of the function; NaN likewise.
        memory_ns: bytes ÷ bandwidth that the footprint allows; NaN: not known, or no roof.
        memory_most_ns: the same, or where the level is not resolvable what its lower bound leaves: what memory
            takes at most; infinite: not known.
        floor_ns: the time of the same call on tiny operands; 0: not known.
        level: index into `LEVEL_NAMES` of the level that the footprint fits; −1: not known.
        counted: whether FLOPs and so on are counted.
    """

    compute_ns: Floats
    evaluate_ns: Floats
    memory_ns: Floats
    memory_most_ns: Floats
    floor_ns: Floats
    level: Ints
    counted: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CallRoofs:
    """The same of one signature; see `SignatureRoofs`."""

    compute_ns: float = UNKNOWN
    evaluate_ns: float = UNKNOWN
    memory_ns: float = UNKNOWN
    memory_most_ns: float = math.inf
    floor_ns: float = 0.0
    level: int = NO_LEVEL
    counted: bool = False


def signature_roofs(
    signatures: tuple[Signature, ...], counts: tuple[Counts, ...], peaks: Peaks | None
) -> SignatureRoofs:
    """Return the least times of all signatures.

    Args:
        signatures: n of a trace.
        counts: n, of the same.
        peaks: of the machine that the trace was recorded on; None: not known.

    Returns:
        Columns of n + 1 rows.
    """
    rows = [call_roofs(*pair, peaks) for pair in zip(signatures, counts, strict=True)]
    rows.append(CallRoofs(floor_ns=_least_floor(peaks)))

    def column(name: str, dtype: str) -> NDArray[np.float64]:
        return np.array([getattr(row, name) for row in rows], dtype)

    times = ("compute_ns", "evaluate_ns", "memory_ns", "memory_most_ns", "floor_ns")
    return SignatureRoofs(
        **{name: column(name, "f8") for name in times},
        level=column("level", "i8").astype("i8"),
        counted=column("counted", "?").astype("?"),
    )


def call_roofs(sig: Signature, cost: Counts, peaks: Peaks | None) -> CallRoofs:
    """Return the least times of one call.

    Example:
        >>> from tinytrace.analysis.counting import count
        >>> peaks = Peaks("", {}, "", True, 1, gemm_gflops={"float64": Peak(40.0, 39.0, 40.0, 5)})
        >>> sig = Signature("matmul", tuple(Operand("float64", (100, 100)) for _ in range(3)), 2)
        >>> call_roofs(sig, count(sig), peaks).compute_ns
        50000.0
    """
    counted = cost.flops is not None
    peaks = None if peaks is None else peaks.of_op(sig.op)
    if peaks is None:
        return CallRoofs(counted=counted)
    compute_ns = evaluate_ns = UNKNOWN
    dtype = arithmetic_dtype(sig)
    if cost.flops is not None:
        compute_ns = _at(float(cost.flops), _compute_roof(sig, cost, dtype, peaks))
        evaluate_ns = _at(
            float(cost.transcendentals), peaks.function_roof(_function(sig.op), dtype)
        )
    memory_ns, most_ns, level = _memory(sig, cost.bytes, peaks)
    floor = peaks.floor_ns.get(_sort_of_call(sig.op))
    floor_ns = _least_floor(peaks) if floor is None else floor.value
    return CallRoofs(compute_ns, evaluate_ns, memory_ns, most_ns, floor_ns, level, counted)


def arithmetic_dtype(sig: Signature) -> str:
    """Return the dtype that an op computes in: the widest that takes part, complex and floating ones first.

    Python's own scalars adapt to the arrays and do not count; NumPy's scalars do.

    Example:
        >>> x, mask = Operand("float32", (8,), itemsize=4), Operand("bool", (8,), itemsize=1)
        >>> arithmetic_dtype(Signature("greater", (x, x, mask), 2))
        'float32'
    """
    taking_part = [o for o in sig.operands if layout_of(o) < Layout.PYTHON_SCALAR]
    return max(taking_part, key=_width, default=Operand("", ())).dtype


def _width(operand: Operand) -> tuple[int, int]:
    sort = next(
        (
            n
            for n, start in enumerate(("complex", "float", "int", "uint"))
            if operand.dtype.startswith(start)
        ),
        4,
    )
    return -min(sort, 2), operand.itemsize


def _function(op: str) -> str:
    return base_name(op)[0] if op.startswith(PREFIX) else op.split(".", maxsplit=1)[0]


def _at(work: float, roof: Peak | None) -> float:
    """The time that work takes at a roof in 10⁹ per second: that is per ns."""
    if not work:
        return 0.0
    return UNKNOWN if roof is None else work / roof.value


def _compute_roof(sig: Signature, cost: Counts, dtype: str, peaks: Peaks) -> Peak | None:
    """The roof of matrix products, or of elementwise ops.

    The latter was measured on ``a + b``, which moves three elements per FLOP. What moves fewer (``x * 2``, a
    sum, ``clip``) may be as much faster.
    """
    if uses_matrices(sig.op):
        return peaks.gemm_gflops.get(dtype)
    roof = peaks.vector_gflops.get(dtype)
    widest = max((o.itemsize for o in sig.operands if o.dtype == dtype), default=0)
    if roof is None or not cost.bytes or not cost.flops or not widest:
        return roof
    more = max(1.0, cost.flops * ELEMENTS_PER_FLOP * widest / cost.bytes)
    return Peak(roof.value * more, roof.low * more, roof.high * more, roof.n)


def _memory(sig: Signature, moved_bytes: int | None, peaks: Peaks) -> tuple[float, float, int]:
    """Time at the roof, time at most, level."""
    footprint = footprint_of(sig)
    if moved_bytes == 0:
        return 0.0, 0.0, NO_LEVEL
    level = None
    if footprint is not None:
        level = peaks.level_of(footprint, blas=uses_matrices(sig.op))
    if moved_bytes is None or level is None:
        return UNKNOWN, math.inf, NO_LEVEL
    place = LEVEL_NAMES.index(level.name)
    if level.gbps is None:
        return UNKNOWN, math.inf, place
    spent_ns = moved_bytes / level.gbps.value
    return (spent_ns if level.resolvable else UNKNOWN), spent_ns, place


def _sort_of_call(op: str) -> str:
    if uses_matrices(op):
        return "matmul"
    if op.startswith(PREFIX):
        from tinytrace.analysis.aten_counting import is_moving

        return "copy" if is_moving(op) else "ufunc"
    if op.endswith(REDUCTIONS):
        return "reduce"
    return "copy" if op in MOVES else "ufunc"


def _least_floor(peaks: Peaks | None) -> float:
    """What any call takes at least."""
    floors = peaks.floor_ns.values() if peaks else ()
    return min((floor.value for floor in floors), default=0.0)
