"""The table: which operation costs what. docs/counting.md prints the same rows (tested)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tinytrace.analysis import formulas, traffic
from tinytrace.analysis.formulas import Work
from tinytrace.analysis.operands import elements
from tinytrace.analysis.traffic import TrafficRule
from tinytrace.analysis.work import (
    ADD,
    COMPARE,
    EVALUATE,
    MULTIPLY,
    Each,
    Power,
    WorkRule,
    accumulate_by,
    accumulations,
    correlation,
    counted_nonzeros,
    diagonal_sum,
    einsum,
    form_q,
    interpolation,
    lexical_sorting,
    matrices,
    mean,
    moves,
    per_input,
    pocketfft,
    product,
    reduce_by,
    reductions,
    searching,
    solve,
    sorting,
    square_matrices,
    tensordot,
    transform,
    updates,
    vdot,
)  # fmt: skip
from tinytrace.tracer.trace import Signature

# Rules that say nothing about the values: strings, records and dates may be moved and sorted too.
ANY_DTYPE: frozenset[WorkRule] = frozenset({moves, sorting, lexical_sorting, searching})


class Row(NamedTuple):
    """Operations that are counted alike.

    Attributes:
        ops: their names, separated by spaces; ``*`` at the end of a name stands for any ending.
        work: FLOPs and so on; None: deliberately uncounted.
        traffic: bytes.
        formula: what ``work`` says, for people; for an uncounted row, why.
    """

    ops: str
    work: WorkRule | None
    traffic: TrafficRule
    formula: str


touch = traffic.touch
ROWS = (
    # Elementwise: N elements of the broadcast output
    Row("add subtract negative", ADD, touch, "N; complex 2N"),
    Row("multiply square", MULTIPLY, touch, "N; complex 6N"),
    Row("divide", Each(1, complex_flops=11), touch, "N; complex 11N"),
    Row("reciprocal", Each(1, complex_flops=6), touch, "N; complex 6N"),
    Row("floor_divide remainder fmod fabs floor ceil trunc copysign heaviside nextafter spacing "
        "frexp ldexp modf deg2rad rad2deg degrees radians", Each(1), touch, "N"),
    Row("divmod", Each(2), touch, "2N"),
    Row("rint round", Each(1, complex_flops=2), touch, "N; complex 2N"),
    Row("equal not_equal less less_equal greater greater_equal maximum minimum fmax fmin "
        "isfinite isinf isnan logical_and logical_or logical_xor logical_not",
        COMPARE, touch, "N; complex 2N"),
    Row("signbit isnat bitwise_and bitwise_or bitwise_xor invert left_shift right_shift "
        "bitwise_count", Each(1), touch, "N"),
    Row("clip", Each(2, complex_flops=4), touch, "2N; complex 4N"),
    Row("absolute", Each(1, complex_flops=0, complex_transcendentals=1), touch, "N; complex N T"),
    Row("sign", Each(1, complex_flops=2, complex_transcendentals=1), touch,
        "N; complex 2N + N T"),
    Row("conjugate conj", Each(0, complex_flops=1), touch, "0; complex N"),
    Row("positive real imag _ones_like", moves, touch, "0"),
    Row("exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos tan arcsin arccos arctan arctan2 "
        "sinh cosh tanh arcsinh arccosh arctanh hypot float_power _arg", EVALUATE, touch, "N T"),
    Row("power", Power(), touch, "N T; exponent 2: as multiply"),
    Row("logaddexp logaddexp2", Each(2, 2), touch, "2N + 2N T"),
    Row("erf erfc erfcx erfi erfinv erfcinv expit logit log_expit gamma gammaln loggamma rgamma "
        "digamma psi beta betaln binom xlogy xlog1py entr exp10 exprel cosm1 ndtr log_ndtr ndtri "
        "j0 j1 y0 y1 i0 i0e i1 i1e k0 k0e k1 k1e jv yv iv kv zetac", EVALUATE, touch, "N T"),
    # Reductions
    Row("sum", reduce_by(ADD), touch, "N_in − N_out; complex 2×"),
    Row("count_nonzero", counted_nonzeros, traffic.to_scalar, "N_in − N_out"),
    Row("prod", reduce_by(MULTIPLY), touch, "N_in − N_out; complex 6×"),
    Row("max min amax amin argmax argmin any all", reduce_by(COMPARE), touch,
        "N_in − N_out; complex 2×"),
    Row("mean", mean, touch, "N_in; complex 2×"),
    Row("cumsum", accumulate_by(ADD), touch, "N − lanes; complex 2×"),
    Row("cumprod", accumulate_by(MULTIPLY), touch, "N − lanes; complex 6×"),
    Row("trace", diagonal_sum, traffic.diagonal_sum, "min(m, n) − 1 per diagonal; complex 2×"),
    Row("bincount", per_input, touch, "N_in"),
    # Products
    Row("matmul dot inner vecdot matvec vecmat", product, touch, "2·K·N_out; complex 8·K·N_out"),
    Row("vdot", vdot, touch, "2·N_in; complex 8·N_in"),
    Row("outer", lambda sig: MULTIPLY.one(sig).times(elements(sig.outputs[0])),
        touch, "N_out; complex 6×"),
    Row("tensordot", tensordot, touch, "2·K·N_out; complex 8·K·N_out"),
    Row("c_einsum einsum", einsum, traffic.einsum,
        "P points of all labels, t operands: P·(t − 1) multiplications, + P additions if summed; "
        "t = 1: P − N_out"),
    Row("correlate correlate2 convolve", correlation, touch, "2 per multiply-add"),
    # Transforms, interpolation
    Row("fft ifft", transform(lambda out: out, False), touch, "5·n·log2 n (nominal)"),
    Row("rfft_n_even", transform(lambda out: 2 * (out - 1), True), touch, "2.5·n·log2 n (nominal)"),
    Row("rfft_n_odd", transform(lambda out: 2 * out - 1, True), touch, "2.5·n·log2 n (nominal)"),
    Row("irfft", transform(lambda out: out, True), touch, "2.5·n·log2 n (nominal)"),
    Row("execute", pocketfft, touch, "5·n·log2 n, real 2.5·n·log2 n (nominal)"),
    Row("interp", interpolation, touch,
        "3 per point + 3 per slope; ⌈log2(N + 1)⌉ comparisons per point (nominal)"),
    # Linear algebra
    Row("solve solve1 linalg.solve", solve, touch, "2n³/3 + 2n²r (nominal)"),
    Row("inv linalg.inv", square_matrices(formulas.inverse), touch, "2n³ (nominal)"),
    Row("cholesky_lo cholesky_up linalg.cholesky", square_matrices(formulas.cholesky), touch,
        "n³/3 (nominal)"),
    Row("det slogdet linalg.det linalg.slogdet", square_matrices(formulas.lu), touch,
        "2n³/3 (nominal)"),
    Row("qr_r_raw qr_r_raw_m qr_r_raw_n", matrices(formulas.qr), traffic.factor_in_place,
        "2mn² − 2n³/3 (nominal)"),
    Row("qr_reduced qr_complete", form_q, touch, "4mck − 2(m + c)k² + 4k³/3 (nominal)"),
    Row("svd_s svd_f svd_m_s svd_n_s svd_m_f svd_n_f lstsq lstsq_m lstsq_n",
        matrices(formulas.svd), touch, "4mn² + 8n³ (nominal)"),
    Row("svd svd_m svd_n", matrices(formulas.svd_values), touch, "4mn² − 4n³/3 (nominal)"),
    Row("eig", square_matrices(formulas.eig), touch, "25n³ (nominal)"),
    Row("eigvals", square_matrices(formulas.eig_values), touch, "10n³ (nominal)"),
    Row("eigh_lo eigh_up", square_matrices(formulas.eigh), touch, "9n³ (nominal)"),
    Row("eigvalsh_lo eigvalsh_up", square_matrices(formulas.eigh_values), touch,
        "4n³/3 (nominal)"),
    # Sorting and searching
    Row("sort argsort", sorting, touch, "0; N·log2 N comparisons (nominal)"),
    Row("lexsort", lexical_sorting, touch, "0; N·log2 N comparisons per key (nominal)"),
    Row("searchsorted", searching, traffic.search,
        "0; ⌈log2(N + 1)⌉ comparisons per query (nominal)"),
    # Moving
    Row("copy astype ascontiguousarray asfortranarray array asarray asanyarray reshape ravel "
        "flatten deepcopy", moves, traffic.copy, "0"),
    Row("concatenate stack vstack hstack dstack column_stack block", moves, traffic.join, "0"),
    Row("where nonzero repeat tile roll packbits unpackbits byteswap", moves, touch, "0"),
    Row("take compress getitem", moves, traffic.gather, "0"),
    Row("choose", moves, traffic.choose, "0"),
    Row("put", moves, traffic.put, "0"),
    Row("setitem", moves, traffic.setitem, "0"),
    Row("fill copyto full ones full_like ones_like putmask place", moves, traffic.overwrite, "0"),
    Row("arange", Each(2), traffic.overwrite, "2N"),
    Row("tolist", moves, traffic.read_only, "0"),
    Row("tobytes", moves, traffic.to_packed, "0"),
    Row("zeros zeros_like", moves, traffic.cleared, "0"),
    Row("empty empty_like transpose swapaxes squeeze expand_dims broadcast_to view diagonal", moves,
        traffic.view, "0"),
    # Deliberately uncounted
    Row("gcd lcm", None, touch, "uncounted: the steps of Euclid's algorithm depend on the values"),
    Row("partition argpartition", None, touch, "uncounted: selection depends on the values"),
    Row("unique", None, touch, "uncounted: sorts or hashes, by dtype and NumPy version"),
    Row("random.choice", None, traffic.pick, "uncounted: as random.*"),
    Row("random.shuffle random.permutation random.permuted", None, touch, "uncounted: as random.*"),
    Row("random.*", None, traffic.overwrite,
        "uncounted: what a number costs depends on generator, distribution and luck"),
    Row("_center _expandtabs _expandtabs_length _ljust _lstrip_chars _lstrip_whitespace _partition "
        "_partition_index _replace _rjust _rpartition _rpartition_index _rstrip_chars "
        "_rstrip_whitespace _slice _strip_chars _strip_whitespace _zfill count endswith find index "
        "isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle isupper rfind rindex "
        "startswith str_len", None, touch, "uncounted: characters are not numbers"),
)  # fmt: skip

TABLE: dict[str, Row] = {name: row for row in ROWS for name in row.ops.split()}


class Method(NamedTuple):
    """A ufunc's method: how often it applies the ufunc's operation to an element, and its bytes."""

    applications: Callable[[Signature], int]
    traffic: TrafficRule
    formula: str
    nominal: bool = False


def at_traffic(sig: Signature) -> traffic.Traffic:
    """3 · updates + index."""
    return traffic.scattered(sig.inputs[0], updates(sig), list(sig.inputs[1:]))


METHODS = {
    "reduce": Method(reductions, touch, "N_in − N_out"),
    "accumulate": Method(accumulations, touch, "N − lanes"),
    "reduceat": Method(reductions, touch, "N_in − N_out (nominal: slices may overlap)", True),
    "outer": Method(lambda sig: elements(sig.outputs[0]), touch, "N_out"),
    "at": Method(updates, at_traffic, "updates"),
}


def find(op: str) -> Row | None:
    """Return the row of an operation, made up for a ufunc's method; None: not in the table."""
    row = TABLE.get(op)
    if row is not None:
        return row
    base, _, name = op.rpartition(".")
    method, ufunc = METHODS.get(name), TABLE.get(base)
    if method is not None and ufunc is not None:
        return Row(op, _applied(ufunc.work, method), method.traffic, method.formula)
    return TABLE["random.*"] if op.startswith("random.") else None


def _applied(one: WorkRule | None, method: Method) -> WorkRule | None:
    if not isinstance(one, Each):
        return None
    extra = Work(0, nominal=method.nominal)
    return lambda sig: one.one(sig).times(method.applications(sig)) + extra
