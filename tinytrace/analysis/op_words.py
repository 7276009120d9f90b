"""What people call operations: ``matmul``, ``dot`` and ``@`` are all "Matrix multiplication"."""

from __future__ import annotations

from tinytrace.analysis.op_table import find

WORDS: dict[str, tuple[str, ...]] = {
    "Matrix multiplication": (
        "matmul", "dot", "vdot", "inner", "outer", "einsum", "c_einsum", "tensordot", "vecdot", "matvec",
        "vecmat",
    ),
    "Convolution": ("convolve", "correlate"),
    "Exponentials and logarithms": (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "logaddexp2", "tanh",
        "sinh", "cosh", "erf", "erfc", "expit", "logit",
    ),
    "Trigonometry": ("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
    "Powers and roots": ("power", "float_power", "sqrt", "cbrt", "square", "reciprocal"),
    "Elementwise arithmetic": (
        "add", "subtract", "multiply", "divide", "floor_divide", "negative", "positive",
        "absolute", "fabs", "remainder", "fmod", "divmod", "sign",
    ),
    "Comparison and logic": (
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and",
        "logical_or", "logical_not", "logical_xor", "maximum", "minimum", "fmax", "fmin", "isnan",
        "isfinite", "isinf", "any", "all", "where", "clip",
    ),
    "Reduction": (
        "sum", "mean", "prod", "max", "min", "amax", "amin", "argmax", "argmin",
        "add.reduce", "multiply.reduce", "maximum.reduce", "minimum.reduce",
        "count_nonzero",
    ),
    "Scan": ("cumsum", "cumprod", "add.accumulate", "multiply.accumulate"),
    "Scatter": ("add.at", "subtract.at", "multiply.at", "maximum.at", "bincount", "put"),
    "Indexing": ("getitem", "take", "compress", "choose"),
    "Assignment": ("setitem", "copyto", "fill", "putmask", "place"),
    "Copying": (
        "copy", "astype", "ascontiguousarray", "asfortranarray", "array", "asarray", "reshape",
        "ravel", "flatten", "concatenate", "stack", "vstack", "hstack", "tile", "repeat", "roll",
        "block",
    ),
    "New arrays": (
        "full", "ones", "zeros", "empty", "full_like", "ones_like", "zeros_like", "empty_like", "arange",
        "_ones_like",
    ),
    "Rounding": ("floor", "ceil", "trunc", "rint", "round"),
    "Linear algebra": (
        "solve", "solve1", "inv", "cholesky_lo", "cholesky_up", "det", "slogdet", "qr_r_raw", "qr_r_raw_m",
        "qr_r_raw_n", "qr_reduced", "qr_complete", "svd", "svd_m", "svd_n", "svd_s", "svd_f", "svd_m_s",
        "svd_n_s", "svd_m_f", "svd_n_f", "lstsq", "lstsq_m", "lstsq_n", "eig", "eigvals", "eigh_lo",
        "eigh_up", "eigvalsh_lo", "eigvalsh_up", "trace",
    ),
    "Fourier transform": ("fft", "ifft", "rfft_n_even", "rfft_n_odd", "irfft", "execute"),
    "Sorting": ("sort", "argsort", "partition", "argpartition", "lexsort", "unique"),
    "Searching": ("searchsorted", "nonzero", "digitize"),
}  # fmt: skip
_WORD_OF = {op: word for word, ops in WORDS.items() for op in ops}
_FAMILIES = {
    "random.": "Random numbers",
    "fft.": "Fourier transform",
    "linalg.": "Linear algebra",
    "special.": "Special functions",
}


def words_for(op: str) -> str:
    """Return what people call an op; its own name where it has none, or is not known to the table of ops.

    Args:
        op: its name in a trace.

    Example:
        >>> words_for("matmul"), words_for("random.standard_normal"), words_for("my_kernel")
        ('Matrix multiplication', 'Random numbers', 'my_kernel')
    """
    if op in _WORD_OF:
        return _WORD_OF[op]
    if find(op) is not None:
        for prefix, word in _FAMILIES.items():
            if op.startswith(prefix):
                return word
    return op
