"""How much work an operation of given sizes is: the formulas of docs/counting.md, nothing else.

Sizes are element counts (ints >= 0). A multiply-add is 2 FLOPs. ``nominal`` figures are those by
which a problem is conventionally rated, whatever algorithm the library runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Work:
    """Work of one operation.

    Attributes:
        flops: floating-point operations; integer and bool operations are counted alike.
        transcendentals: evaluations of exp, log, sqrt, pow…; not contained in ``flops``.
        comparisons: of sorting and searching; not contained in ``flops``.
        nominal: the figure rates the problem; what the library really executes may differ.
    """

    flops: int
    transcendentals: int = 0
    comparisons: int = 0
    nominal: bool = False

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops,
            self.transcendentals + other.transcendentals,
            self.comparisons + other.comparisons,
            self.nominal or other.nominal,
        )

    def times(self, factor: int) -> Work:
        """Return the work of doing this ``factor`` times (a batch)."""
        return replace(
            self,
            flops=self.flops * factor,
            transcendentals=self.transcendentals * factor,
            comparisons=self.comparisons * factor,
        )


def _nominal(numerator: int, denominator: int = 1) -> Work:
    """Round a fraction of FLOPs to the nearest integer, never below 0."""
    return Work(max(0, (2 * numerator + denominator) // (2 * denominator)), nominal=True)


# Products ---------------------------------------------------------------------------------------


def matmul_flops(m: int, n: int, k: int, batch: int = 1) -> int:
    """Return 2·B·M·N·K for (M×K)(K×N); the textbook's 2K−1 per element is rounded to 2K.

    Example:
        >>> matmul_flops(2, 3, 4)
        48
    """
    return 2 * batch * m * n * k


def einsum_flops(points: int, terms: int, outputs: int) -> int:
    """Return the FLOPs of one einsum evaluated in a single loop over all its labels.

    Args:
        points: product of the sizes of all labels.
        terms: number of operands.
        outputs: elements of the result.

    A single operand that is summed costs ``points - outputs`` additions. Several cost ``terms - 1``
    multiplications per point, and one addition more when a label is summed over: 2 per multiply-add
    (`numpy.einsum_path` counts the same).
    """
    if terms == 1:
        return max(0, points - outputs)
    return points * (terms - 1 + (points != outputs))


def correlate_flops(n: int, m: int, mode: str) -> int:
    """Return 2 per multiply-add of a 1-D correlation or convolution; padding is not computed.

    Args:
        n: length of one signal.
        m: length of the other.
        mode: ``full``, ``same`` or ``valid``, as in `numpy.correlate`.

    Example:
        >>> [correlate_flops(5, 3, mode) for mode in ("full", "same", "valid")]
        [30, 26, 18]
    """
    long, short = max(n, m), min(n, m)
    left, right = {
        "valid": (0, 0),
        "same": (short // 2, short - short // 2 - 1),
        "full": (short - 1, short - 1),
    }[mode]
    # The i-th position beyond an edge misses i products.
    missing = left * (left + 1) // 2 + right * (right + 1) // 2
    return 2 * ((long - short + 1 + left + right) * short - missing)


# Transforms, sorting ----------------------------------------------------------------------------


def fft(n: int, batch: int = 1, real: bool = False) -> Work:
    """Return 5·n·log2 n for a complex transform, half of it for a real one (as benchFFT)."""
    flops = (2.5 if real else 5.0) * n * math.log2(n) if n > 1 else 0.0
    return Work(round(flops), nominal=True).times(batch)


def sort_comparisons(n: int) -> int:
    """Return n·log2 n, rounded: the comparisons that sort n elements."""
    return round(n * math.log2(n)) if n > 1 else 0


def search_comparisons(n: int) -> int:
    """Return ⌈log2(n + 1)⌉: the comparisons that find a place among n sorted elements."""
    return n.bit_length()


# Dense linear algebra: LAPACK Working Note 41; svd, eig: Golub & Van Loan, Matrix Computations --


def lu_solve(n: int, right_hand_sides: int) -> Work:
    """Return 2n³/3 (factorise) + 2n²·r (substitute)."""
    return _nominal(2 * n**3 + 6 * n * n * right_hand_sides, 3)


def lu(n: int) -> Work:
    """Return 2n³/3: determinants."""
    return lu_solve(n, 0)


def inverse(n: int) -> Work:
    """Return 2n³."""
    return _nominal(2 * n**3)


def cholesky(n: int) -> Work:
    """Return n³/3."""
    return _nominal(n**3, 3)


def qr(m: int, n: int) -> Work:
    """Return 2mn² − 2n³/3 for m ≥ n; m and n change places for wide matrices."""
    m, n = max(m, n), min(m, n)
    return _nominal(6 * m * n * n - 2 * n**3, 3)


def qr_form_q(m: int, columns: int, k: int) -> Work:
    """Return 4mck − 2(m+c)k² + 4k³/3: Q (m × c) from k reflectors."""
    return _nominal(12 * m * columns * k - 6 * (m + columns) * k * k + 4 * k**3, 3)


def svd(m: int, n: int) -> Work:
    """Return 4mn² + 8n³ with m ≥ n: singular values and vectors, and least squares by them."""
    m, n = max(m, n), min(m, n)
    return _nominal(4 * m * n * n + 8 * n**3)


def svd_values(m: int, n: int) -> Work:
    """Return 4mn² − 4n³/3 with m ≥ n: singular values alone."""
    m, n = max(m, n), min(m, n)
    return _nominal(12 * m * n * n - 4 * n**3, 3)


def eig(n: int) -> Work:
    """Return 25n³: eigenvalues and vectors of a general matrix."""
    return _nominal(25 * n**3)


def eig_values(n: int) -> Work:
    """Return 10n³: eigenvalues of a general matrix."""
    return _nominal(10 * n**3)


def eigh(n: int) -> Work:
    """Return 9n³: eigenvalues and vectors of a symmetric matrix."""
    return _nominal(9 * n**3)


def eigh_values(n: int) -> Work:
    """Return 4n³/3: eigenvalues of a symmetric matrix."""
    return _nominal(4 * n**3, 3)


# Layers -----------------------------------------------------------------------------------------


def conv_flops(
    batch: int,
    out_spatial: Sequence[int],
    kernel: Sequence[int],
    c_in: int,
    c_out: int,
    *,
    groups: int = 1,
) -> int:
    """Return 2·batch·∏out·∏k·Cout·Cin/groups of a convolution of any rank, forward.

    Positions in the padding are counted, since they are computed; see `conv_unpadded_flops`.

    Example:
        >>> conv_flops(1, (8, 8), (3, 3), 3, 16)
        55296
    """
    return 2 * batch * math.prod(out_spatial) * math.prod(kernel) * c_out * c_in // groups


def conv_unpadded_flops(
    batch: int,
    in_spatial: Sequence[int],
    kernel: Sequence[int],
    c_in: int,
    c_out: int,
    *,
    groups: int = 1,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> int:
    """Return the part of `conv_flops` that touches real input, not padding.

    Example:
        >>> conv_unpadded_flops(1, (4,), (3,), 1, 1, stride=(1,), padding=(1,), dilation=(1,))
        20
    """
    pairs = 1  # (output position, kernel position) that meet an input element
    for size, k, s, p, d in zip(in_spatial, kernel, stride, padding, dilation, strict=True):
        out = (size + 2 * p - d * (k - 1) - 1) // s + 1
        pairs *= sum(
            max(0, min(out - 1, (size - 1 + p - j * d) // s) - max(0, -((j * d - p) // s)) + 1)
            for j in range(k)
        )
    return 2 * batch * pairs * c_out * c_in // groups


def conv_transposed_flops(
    batch: int,
    in_spatial: Sequence[int],
    kernel: Sequence[int],
    c_in: int,
    c_out: int,
    *,
    groups: int = 1,
) -> int:
    """Return 2·batch·∏in·∏k·Cin·Cout/groups: every *input* position meets the whole kernel."""
    return conv_flops(batch, in_spatial, kernel, c_in, c_out, groups=groups)


def conv_backward_flops(
    batch: int,
    out_spatial: Sequence[int],
    kernel: Sequence[int],
    c_in: int,
    c_out: int,
    *,
    groups: int = 1,
    bias: bool = False,
) -> int:
    """Return 2 × forward (gradients of input and weights), and the sums of the bias's gradient."""
    forward = conv_flops(batch, out_spatial, kernel, c_in, c_out, groups=groups)
    positions = batch * math.prod(out_spatial)
    return 2 * forward + (c_out * max(0, positions - 1) if bias else 0)


def softmax(n: int, rows: int) -> Work:
    """Return 4N − 2R FLOPs, N T: maximum (N−R), subtract (N), exp (N T), sum (N−R), divide (N)."""
    return Work(max(0, 4 * n - 2 * rows), transcendentals=n)


def attention_matmul_flops(batch: int, heads: int, sq: int, sk: int, *, d: int, dv: int) -> int:
    """Return 2·B·H·Sq·Sk·(d + dv): the two products of scaled dot-product attention."""
    return 2 * batch * heads * sq * sk * (d + dv)


def attention(batch: int, heads: int, sq: int, sk: int, *, d: int, dv: int) -> Work:
    """Return products and softmax of scaled dot-product attention, forward, masked or not."""
    rows = batch * heads * sq
    return Work(attention_matmul_flops(batch, heads, sq, sk, d=d, dv=dv)) + softmax(rows * sk, rows)


def attention_causal_useful(batch: int, heads: int, sq: int, sk: int, *, d: int, dv: int) -> Work:
    """Return half of `attention`, what a causal mask leaves; report it beside the full count."""
    full = attention(batch, heads, sq, sk, d=d, dv=dv)
    return Work(full.flops // 2, transcendentals=full.transcendentals // 2)


def attention_backward_flops(
    batch: int, heads: int, sq: int, sk: int, *, d: int, dv: int, recompute: bool
) -> int:
    """Return 2.5 × the forward products when the scores are computed anew, else 2 ×."""
    forward = attention_matmul_flops(batch, heads, sq, sk, d=d, dv=dv)
    return forward * 5 // 2 if recompute else 2 * forward


def batchnorm_flops(n: int, *, training: bool) -> int:
    """Return 5N in training, 2N in evaluation (scale and shift)."""
    return (5 if training else 2) * n


def layernorm_flops(n: int) -> int:
    """Return 5N, for group norm too (an implementation in two passes spends 7N)."""
    return 5 * n


def pooling_flops(n_out: int, window: int, *, average: bool) -> int:
    """Return (k − 1)·N_out, and N_out divisions more for an average."""
    return max(0, window - 1 + average) * n_out


def cross_entropy(batch: int, classes: int) -> Work:
    """Return 4BV FLOPs and BV T."""
    return Work(4 * batch * classes, transcendentals=batch * classes)


def embedding_flops() -> int:
    """Return 0: a lookup moves bytes, and nothing else."""
    return 0


OPTIMIZER_STEP = {"sgd": Work(2), "momentum": Work(4), "adam": Work(13, transcendentals=1)}


def optimizer_step(algorithm: str, parameters: int) -> Work:
    """Return the work of an optimizer step seen as one op.

    Args:
        algorithm: a key of `OPTIMIZER_STEP`, which holds the work per parameter.
        parameters: number of parameters updated.
    """
    return OPTIMIZER_STEP[algorithm].times(parameters)
