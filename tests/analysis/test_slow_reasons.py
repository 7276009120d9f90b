"""What a signature shows of why an op is slow."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders import signature_of
from tests.peaks_by_hand import PEAKS
from tinytrace.analysis.slow_reasons import slow_reasons, uneven
from tinytrace.tracer.records import LAYOUT_SWAPPED, Layout
from tinytrace.tracer.trace import Operand, Signature

OUT = Operand("float64", (64, 64))
COLUMNS = Operand("float64", (64, 64), Layout.STRIDED, (8192, 16))
SWAPPED = Operand("float64", (64, 64), Layout(0) | LAYOUT_SWAPPED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (Signature("exp", (COLUMNS, OUT), 1), "not contiguous: float64 64x64, a step of 16 bytes"),
        (Signature("add", (OUT, Operand("float64", (64, 64), Layout.F), OUT), 2), "C and Fortran order"),
        (Signature("exp", (SWAPPED, OUT), 1), "order of another machine"),
        (signature_of("matmul", "64x64:i8,64x64:i8->64x64:i8"),
         "int64 products do without BLAS: at most 1 GFLOP/s here, float32 100"),
        (signature_of("matmul", "64x64,64x4->64x4"), "a side of the matrices is 4"),
        (signature_of("add", "64:f4,64:f8->64:f8"), "float32 and float64 together"),
        (signature_of("add", "64:f2,64:f2->64:f2"), "float16 is computed in software"),
        (signature_of("exp", "9000000->9000000"), "72 MB of new memory per call"),
        (signature_of("divide", "64,64->64"), "divisions take longer"),
        (signature_of("getitem", "64,8:i8->8"), "picked at the places of an index"),
    ],
)  # fmt: skip
def test_what_the_signature_shows_is_said(signature: Signature, said: str) -> None:
    (reason,) = slow_reasons(signature, PEAKS)
    assert said in reason


@pytest.mark.parametrize(
    "signature",
    [
        signature_of("matmul", "64x64,64x64->64x64"),
        signature_of("add", "64,64->64"),
        signature_of("greater", "64,64->64:?"),
        Signature("matmul", (OUT, Operand("float64", (64, 64), Layout.F), OUT), 2),
    ],
)
def test_where_nothing_is_wrong_nothing_is_said(signature: Signature) -> None:
    assert slow_reasons(signature, PEAKS, 5.0) == ()


def test_the_fixed_cost_of_a_call_is_a_reason() -> None:
    (reason,) = slow_reasons(signature_of("add", "64,64->64"), PEAKS, 30.0)
    assert reason == "small: 30 % of the time is the fixed cost of a call"


def test_calls_that_take_very_different_times_are_uneven() -> None:
    assert uneven(np.array([10] * 300 + [2000] * 2))[0].startswith(
        "uneven: 3 of 302 calls took 57 %"
    )
    assert uneven(np.array([10] * 300)) == ()
    assert uneven(np.array([10])) == ()
