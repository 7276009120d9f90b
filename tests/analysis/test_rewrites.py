"""Rewrites: what they apply to, and that both forms compute the same, on operands that lie as in the trace."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.builders import signature_of
from tinytrace.analysis.replay import Call, NotRebuiltError, check, extent_bytes, rebuilt
from tinytrace.analysis.rewrites import REWRITES, Forms
from tinytrace.tracer.records import LAYOUT_SWAPPED, Layout
from tinytrace.tracer.trace import Operand, Signature

NUMBER = Operand("int", (), Layout.PYTHON_SCALAR)
ADD = signature_of("add", "4x3,4x3->4x3")
MATMUL = signature_of("matmul", "4x3,3x2->4x2")
ROWS = Operand("float64", (4, 3), Layout.STRIDED, (48, 8))
REVERSED = Operand("float64", (4, 3), Layout.STRIDED, (-24, 8))
COLUMNS = Operand("float64", (4, 3), Layout.F)


def power(exponent: str, dtype: str = "float64", scalar: str = "int") -> Signature:
    x = Operand(dtype, (5,))
    number = replace(NUMBER, dtype=scalar)
    return Signature("power", (x, number, x), 2, f"exponent={exponent}")


def with_first(sig: Signature, operand: Operand) -> Signature:
    return replace(sig, operands=(operand, *sig.operands[1:]))


def in_place(sig: Signature) -> Signature:
    return replace(sig, operands=(*sig.operands[:-1], replace(sig.operands[-1], alias=0)))


def fitting(sig: Signature) -> list[str]:
    return [name for name, rewrite in REWRITES.items() if rewrite.applies(sig)]


def forms(name: str, sig: Signature) -> Forms:
    return REWRITES[name].forms(sig, 0, False)


@pytest.mark.parametrize(
    ("sig", "names"),
    [
        (ADD, ["out", "float32"]),
        (in_place(ADD), ["float32"]),
        (signature_of("add", "8:f4,8:f4->8:f4"), ["out"]),
        (with_first(ADD, ROWS), ["out", "float32", "contiguous", "copy"]),
        (with_first(ADD, COLUMNS), ["out", "float32", "contiguous", "copy"]),
        (with_first(MATMUL, COLUMNS), ["out", "float32"]),  # BLAS takes either order
        (power("3"), ["out", "float32", "products", "products_signed"]),
        (power("3", "complex128"), ["out", "products"]),
        (power("2.0", scalar="float"), ["out", "float32", "square"]),
        (power("0.5", scalar="float"), ["out", "float32", "sqrt"]),
        (power("9"), ["out", "float32"]),
        (power("2.5", scalar="float"), ["out", "float32"]),
        (power("3", "int64"), ["out"]),
        (signature_of("matmul", "4x3:i8,3x2:i8->4x2:i8"), ["out", "blas_dtype"]),
        (signature_of("matmul", "4x3:f2,3x2:f2->4x2:f2"), ["out", "blas_dtype"]),
        (signature_of("add.reduce", "4x3:f4->4:f4", "axis=1"), []),
        (signature_of("add.reduce", "4x3->4", "axis=1"), ["float32"]),
        (signature_of("random.normal", "->4"), []),
    ],
    ids=lambda value: value.op if isinstance(value, Signature) else "",
)
def test_a_rewrite_is_offered_where_it_applies_and_nowhere_else(
    sig: Signature, names: list[str]
) -> None:
    assert fitting(sig) == names


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_powers_of_numbers_of_both_signs_are_products_too(dtype: str) -> None:
    x = Operand(dtype, (40, 3), Layout.STRIDED, (48, 8), itemsize=np.dtype(dtype).itemsize)
    before, after = forms("products_signed", with_first(power("3", dtype), x))
    result = after()
    assert (result < 0).any() and (result > 0).any() and result.dtype == dtype
    np.testing.assert_allclose(result, before(), rtol=1e-2 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("exponent", range(3, 9))
def test_products_are_the_power(exponent: int) -> None:
    before, after = forms("products", power(str(exponent)))
    np.testing.assert_allclose(after(), before(), rtol=1e-15)
    code = REWRITES["products"].code(power(str(exponent)))
    x = np.linspace(0.1, 0.9, 5)
    names = {"x": x}
    *lines, last = code[1].split("; ")
    exec("\n".join(lines), names)
    np.testing.assert_allclose(eval(last, names), eval(code[0], {"x": x}), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "sig"),
    [
        ("out", ADD), ("out", MATMUL), ("contiguous", with_first(ADD, ROWS)),
        ("contiguous", with_first(ADD, REVERSED)), ("copy", with_first(MATMUL, ROWS)),
        ("square", power("2")), ("blas_dtype", signature_of("dot", "4x3:i8,3x2:i8->4x2:i8")),
    ],
)  # fmt: skip
def test_both_forms_give_the_same(name: str, sig: Signature) -> None:
    before, after = forms(name, sig)
    np.testing.assert_array_equal(after(), before())
    assert after().dtype == before().dtype


def test_the_table_in_the_docs_has_all_rewrites() -> None:
    text = (Path(__file__).parents[2] / "docs" / "verify.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(REWRITES)


def test_out_writes_into_the_same_array_each_time() -> None:
    after = forms("out", ADD).after
    assert after() is after()


def test_float32_computes_on_the_same_values_in_half_the_bytes() -> None:
    before, after = forms("float32", with_first(ADD, ROWS))
    assert isinstance(before, Call)
    assert isinstance(after, Call)
    assert [x.dtype.name for x in after.args] == ["float32", "float32"]
    assert after.args[0].strides == (24, 4)
    np.testing.assert_array_equal(after.args[0], before.args[0].astype("f4"))
    assert after().dtype == "float32"


@pytest.mark.parametrize("operand", [ROWS, REVERSED, COLUMNS], ids=["rows", "reversed", "columns"])
def test_operands_lie_in_memory_as_in_the_trace(operand: Operand) -> None:
    x = rebuilt(with_first(ADD, operand), seed=0).args[0]
    expected = {Layout.F: (8, 32)}.get(operand.layout, operand.strides)
    assert x.strides == expected
    assert x.min() >= 0.1
    assert x.max() <= 0.9


def test_memory_counts_gaps_and_an_array_that_is_two_operands_once() -> None:
    # 3 steps of 48 bytes, 2 of 8, and the last element.
    assert extent_bytes(Signature("negative", (ROWS,), 1)) == 3 * 48 + 2 * 8 + 8
    twice = Signature("multiply", (COLUMNS, replace(COLUMNS, alias=0)), 2)
    assert extent_bytes(twice) == 4 * 3 * 8


def test_the_same_array_twice_is_the_same_array_again() -> None:
    x = signature_of("multiply", "4,4->4")
    square = replace(x, operands=(x.operands[0], replace(x.operands[1], alias=0), x.operands[2]))
    call = rebuilt(square, seed=0)
    assert call.args[0] is call.args[1]
    assert REWRITES["out"].code(square)[0] == "x * x"


def test_repeating_an_op_in_place_leads_nowhere_near_overflow() -> None:
    call = rebuilt(in_place(signature_of("multiply", "4,4->4")), seed=0, steady=True)
    for _ in range(1000):
        call()
    np.testing.assert_array_equal(call.args[0], np.ones(4))
    with pytest.raises(NotRebuiltError, match="not the same when repeated"):
        rebuilt(in_place(signature_of("exp", "4->4")), seed=0)


@pytest.mark.parametrize(
    ("sig", "reason"),
    [
        (signature_of("where", "4:?,4,4->4"), "no ufunc"),
        (signature_of("add", "4,4,4:?->4"), "values are not known"),
        (signature_of("add", "4,4->4", "casting=no"), "not understood: casting=no"),
        (signature_of("add", "4,4->4", "+"), "not all known"),
        (signature_of("add.reduceat", "4,2:i8->2"), "values are not known"),
        (signature_of("add", "4:O,4->4"), "type object are not made"),
        (with_first(ADD, replace(ROWS, layout=Layout.OTHER)), "are not made here"),
        (with_first(ADD, replace(COLUMNS, layout=Layout.F | LAYOUT_SWAPPED)), "are not made here"),  # type: ignore[arg-type]
        (Signature("add", (replace(COLUMNS, alias=1), COLUMNS, COLUMNS), 2), "comes later"),
        (signature_of("divmod", "4,4->4,4"), "not all known"),
        (Signature("__class__", (), 0), "not all known"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_again_says_why(sig: Signature, reason: str) -> None:
    with pytest.raises(NotRebuiltError, match=reason.replace("+", r"\+")):
        rebuilt(sig, seed=0)


def test_an_argument_that_no_signature_shows_is_noticed_by_its_result() -> None:
    told = signature_of("add", "4,4->4:f4")  # np.add(x, y, dtype="f4")
    with pytest.raises(NotRebuiltError, match="another result"):
        check(told, rebuilt(told, seed=0)())


@pytest.mark.parametrize("text", ["4x3->3", "4x3->."])
def test_the_default_axis_of_a_sum_is_told_by_its_result(text: str) -> None:
    sig = signature_of("add.reduce", text)
    if text.endswith("."):
        scalar = replace(sig.operands[1], layout=Layout.NUMPY_SCALAR)
        sig = replace(sig, operands=(sig.operands[0], scalar))
    check(sig, rebuilt(sig, seed=0)())
