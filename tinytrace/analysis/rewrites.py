"""Rewrites of one operation that need no thought: which there are, to what they apply, and both forms of each.

What a rewrite gains is measured by `tinytrace.analysis.verify`. Findings refer to them by their names in `REWRITES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinytrace.analysis.operands import layout_of
from tinytrace.analysis.replay import Call, can_be_rebuilt, exponent_of, rebuilt
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

SYMBOLS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@", "power": "**",
    "floor_divide": "//", "remainder": "%", "greater": ">", "less": "<", "greater_equal": ">=",
    "less_equal": "<=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
NAMES = ("x", "y", "z")
BY_OTHER_OPS = (
    2,
    0.5,
)  # for `x ** 2` NumPy calls square, for `x ** 0.5` sqrt: a power it is by np.power alone
MOST_FACTORS = 8  # of a product instead of a power: above, exp(n log x) may be as fast
PRODUCTS = ("matmul", "dot")


class Forms(NamedTuple):
    """The same computation in two forms, ready to be called."""

    before: Callable[[], Any]
    after: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A rewrite.

    Attributes:
        name: its key in `REWRITES`.
        what: what is done, in words.
        applies: whether a signature can be rewritten so.
        forms: makes both forms of the call that a signature stands for; with a seed of the random values, and
            whether they must stand being called again and again. Raises NotRebuiltError.
        code: both forms as they are written in a program.
        condition: under which it may be done, which a trace does not tell.
    """

    name: str
    what: str
    applies: Callable[[Signature], bool]
    forms: Callable[[Signature, int, bool], Forms]
    code: Callable[[Signature], tuple[str, str]]
    condition: str


def can_be_rewritten(rewrite: Rewrite, sig: Signature) -> bool:
    """Whether a rewrite applies to a signature; not to what has no elements, or cannot be called again."""
    sizes = [operand.elements for operand in sig.operands]
    return all(sizes) and can_be_rebuilt(sig) and rewrite.applies(sig)


def _arrays(sig: Signature) -> list[Operand]:
    return [operand for operand in sig.inputs if operand.is_array]


def _in_place(sig: Signature) -> bool:
    return any(operand.alias >= 0 for operand in sig.outputs)


def _is_elementwise(sig: Signature) -> bool:
    ufunc = getattr(np, sig.op, None)
    return isinstance(ufunc, np.ufunc) and ufunc.signature is None


def _expression(sig: Signature, names: tuple[str, ...] = NAMES) -> str:
    """The call as it is usually written."""
    name, _, method = sig.op.partition(".")
    arguments = _arguments(sig, names)
    by_operator = exponent_of(sig) not in BY_OTHER_OPS
    if name in SYMBOLS and len(arguments) == 2 and not method and by_operator:
        sign = f"{SYMBOLS[name]}=" if _in_place(sig) else SYMBOLS[name]
        return f"{arguments[0]} {sign} {arguments[1]}"
    return f"np.{sig.op}({', '.join(arguments)})"


def _explicit(sig: Signature) -> str:
    return f"np.{sig.op}({', '.join([*_arguments(sig, NAMES), 'out=kept'])})"


def _arguments(sig: Signature, names: tuple[str, ...]) -> list[str]:
    """A name per operand, the same for the same array."""
    arguments: list[str] = []
    for operand, name in zip(sig.inputs, names, strict=False):
        arguments.append(arguments[operand.alias] if 0 <= operand.alias < len(arguments) else name)
    exponent = exponent_of(sig)
    if exponent is not None:
        arguments[1] = f"{exponent:g}"
    return arguments


# out: into memory that is there already


def _makes_an_array(sig: Signature) -> bool:
    outputs = sig.outputs
    return (
        (_is_elementwise(sig) or sig.op in PRODUCTS)
        and len(outputs) == 1
        and outputs[0].is_array
        and outputs[0].shape != ()
        and not _in_place(sig)
    )


def _out_forms(sig: Signature, seed: int, steady: bool) -> Forms:
    before = rebuilt(sig, seed, steady=steady)
    kept = np.empty_like(before())
    return Forms(before, Call(before.function, before.args, {**before.options, "out": kept}))


# float32: half the bytes, and twice as many numbers per instruction


def _is_double(sig: Signature) -> bool:
    taking_part = [o for o in sig.operands if layout_of(o) < Layout.PYTHON_SCALAR]
    return (
        any(operand.dtype == "float64" for operand in _arrays(sig) + list(sig.outputs))
        and bool(_arrays(sig))
        and all(operand.dtype in ("float64", "float32", "bool") for operand in taking_part)
    )


def _single(operand: Operand) -> Operand:
    if operand.dtype != "float64":
        return operand
    strides = tuple(stride // 2 for stride in operand.strides)
    return replace(operand, dtype="float32", itemsize=4, strides=strides)


def _float32_forms(sig: Signature, seed: int, steady: bool) -> Forms:
    narrow = replace(sig, operands=tuple(map(_single, sig.operands)))
    return Forms(rebuilt(sig, seed, steady=steady), rebuilt(narrow, seed, steady=steady))


def _float32_code(sig: Signature) -> tuple[str, str]:
    expression = _expression(sig)
    return f"{expression}, in float64", f"{expression}, all in float32"


# contiguous, copy: elements that lie side by side


def _is_scattered(sig: Signature) -> bool:
    """Whether an operand has gaps, or operands of an elementwise op run in different directions."""
    layouts = [layout_of(o) for o in _arrays(sig) if o.elements > 1]
    gaps = any(
        layout_of(operand) == Layout.STRIDED
        and not any(s == 0 and n > 1 for n, s in zip(operand.shape, operand.strides, strict=True))
        for operand in _arrays(sig)
    )
    crossed = _is_elementwise(sig) and Layout.C in layouts and Layout.F in layouts
    return (gaps or crossed) and not _in_place(sig)


def _dense(operand: Operand) -> Operand:
    broadcast = any(s == 0 and n > 1 for n, s in zip(operand.shape, operand.strides, strict=False))
    if not operand.is_array or broadcast:
        return operand
    return replace(operand, layout=Layout.C, strides=())


def _contiguous_forms(sig: Signature, seed: int, steady: bool) -> Forms:
    inputs = [
        _dense(o) if layout_of(o) == Layout.STRIDED or _is_elementwise(sig) else o
        for o in sig.inputs
    ]
    dense = replace(sig, operands=(*inputs, *sig.outputs))
    return Forms(rebuilt(sig, seed, steady=steady), rebuilt(dense, seed, steady=steady))


def _copy_forms(sig: Signature, seed: int, steady: bool) -> Forms:
    before = rebuilt(sig, seed, steady=steady)

    def after() -> Any:
        args = [np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a for a in before.args]
        return before.function(*args, **before.options)

    return Forms(before, after)


# products, square, sqrt: instead of a power


def _has_exponent(sig: Signature, least: float, most: float) -> bool:
    exponent = exponent_of(sig)
    return (
        exponent is not None
        and least <= exponent <= most
        and all(operand.dtype.startswith(("float", "complex")) for operand in _arrays(sig))
        and bool(_arrays(sig))
        and not _in_place(sig)
    )


def _is_whole_power(sig: Signature) -> bool:
    return _has_exponent(sig, 3, MOST_FACTORS) and float(exponent_of(sig) or 0.5).is_integer()


def power_by_products(x: Any, exponent: int) -> Any:
    """Return a whole power, at least 1, by squaring and multiplying.

    Example:
        >>> power_by_products(3, 5)
        243
    """
    if exponent == 1:
        return x
    half = power_by_products(x, exponent // 2)
    return half * half * x if exponent % 2 else half * half


def _products_forms(sig: Signature, seed: int, steady: bool) -> Forms:
    before = rebuilt(sig, seed, steady=steady)
    exponent = int(exponent_of(sig) or 1)
    return Forms(before, partial(power_by_products, before.args[0], exponent))


def _is_whole_power_of_real_numbers(sig: Signature) -> bool:
    return _is_whole_power(sig) and all(o.dtype.startswith("float") for o in _arrays(sig))


def _signed_products_forms(sig: Signature, seed: int, steady: bool) -> Forms:
    forms = _products_forms(sig, seed, steady)
    x = forms.before.args[0]  # type: ignore[attr-defined]
    x *= np.random.default_rng(seed).choice(np.array([-1, 1], x.dtype), x.shape)
    return forms


def _products_code(sig: Signature) -> tuple[str, str]:
    exponent = int(exponent_of(sig) or 1)
    half = exponent // 2
    if half < 2:
        return _expression(sig), "x * x * x"
    start = {2: "s = x * x", 3: "s = x * x * x"}.get(half, "s = x * x; s = s * s")
    return _expression(sig), f"{start}; s * s{' * x' if exponent % 2 else ''}"


def _unary_forms(name: str, sig: Signature, seed: int, steady: bool) -> Forms:
    before = rebuilt(sig, seed, steady=steady)
    return Forms(before, partial(getattr(np, name), before.args[0]))


# blas_dtype: a type that BLAS has products of


def _misses_blas(sig: Signature) -> bool:
    dtypes = {operand.dtype for operand in sig.inputs}
    return (
        sig.op in PRODUCTS
        and len(dtypes) == 1
        and dtypes <= {"float16", "int32", "int64", "uint32", "uint64"}
        and all(len(operand.shape) >= 2 for operand in sig.inputs)
        and not _in_place(sig)
    )


def _blas_type(sig: Signature) -> str:
    return "float32" if sig.inputs[0].dtype == "float16" else "float64"


def _blas_forms(sig: Signature, seed: int, steady: bool) -> Forms:
    before = rebuilt(sig, seed, steady=steady)
    own, other = sig.inputs[0].dtype, _blas_type(sig)

    def after() -> Any:
        return before.function(*(a.astype(other) for a in before.args)).astype(own)

    return Forms(before, after)


def _blas_code(sig: Signature) -> tuple[str, str]:
    own, other = sig.inputs[0].dtype, _blas_type(sig)
    product = _expression(sig, ("a", "b"))
    return f"{product}, in {own}", f'({product}).astype("{own}"), with a, b as {other}'


REWRITES: dict[str, Rewrite] = {
    rewrite.name: rewrite
    for rewrite in (
        Rewrite(
            "out", "write into an array that is there, instead of a new one each time",
            _makes_an_array, _out_forms, lambda sig: (_expression(sig), _explicit(sig)),
            "the last result is not needed any more when the next one is made; whether the program gives out= "
            "already, a trace does not tell",
        ),
        Rewrite(
            "float32", "float32 instead of float64", _is_double, _float32_forms, _float32_code,
            "seven digits are enough",
        ),
        Rewrite(
            "contiguous", "operands whose elements lie side by side from the start", _is_scattered,
            _contiguous_forms,
            lambda sig: (f"{_expression(sig)}, as they lie", f"{_expression(sig)}, each in C order"),
            "the operand can be made in this order, or one copy of it serves many calls",
        ),
        Rewrite(
            "copy", "copy the operand so that its elements lie side by side, each time", _is_scattered,
            _copy_forms,
            lambda sig: (_expression(sig), f"{_expression(sig)} of np.ascontiguousarray(...)"),
            "there is room for the copies",
        ),
        Rewrite(
            "products", "multiply instead of raising to a power", _is_whole_power, _products_forms,
            _products_code, "the last digit may differ",
        ),
        Rewrite(
            "products_signed", "multiply instead of raising numbers of both signs to a power",
            _is_whole_power_of_real_numbers, _signed_products_forms, _products_code,
            "there are negative numbers; the last digit may differ",
        ),
        Rewrite(
            "square", "np.square instead of raising to a power",
            lambda sig: _has_exponent(sig, 2, 2), partial(_unary_forms, "square"),
            lambda sig: (_expression(sig), "np.square(x)"), "none",
        ),
        Rewrite(
            "sqrt", "np.sqrt instead of raising to a power",
            lambda sig: _has_exponent(sig, 0.5, 0.5), partial(_unary_forms, "sqrt"),
            lambda sig: (_expression(sig), "np.sqrt(x)"), "the last digit may differ",
        ),
        Rewrite(
            "blas_dtype", "products in a type that BLAS has, conversions included", _misses_blas,
            _blas_forms, _blas_code,
            "integers stay below 2^53, and there is room for the converted operands",
        ),
    )
}  # fmt: skip
