from __future__ import annotations

import numpy as np
import pytest

from tests.analysis.findings.traces import found, ops, signature_of
from tinytrace.analysis.findings.powers import EXPONENTS, NAME

CUBE = signature_of("power", "1000x1000:f4,.:i8->1000x1000:f4", "exponent=3")


def test_a_power_of_three_is_named_at_its_line() -> None:
    [finding] = found(NAME, ops("power:9000@model.py:7:gelu", power=CUBE))
    assert (finding.file, finding.line, finding.function) == ("model.py", 7, "gelu")
    assert "x * x * x" in finding.code


def test_the_ceiling_is_all_but_two_products_at_their_roof() -> None:
    # x * x reads 4 MB and writes 4 MB: of the 8 MB, 1 MB at 100 GB/s and 7 MB at 50 GB/s, 150 µs; L1 costs nothing.
    # Additions and products run at 10 GFLOP/s: 10⁶ of them take 100 µs, which is less.
    [finding] = found(NAME, ops("power:9000@model.py:7:gelu", power=CUBE))
    assert finding.ceiling_ns == pytest.approx(9_000_000 - 2 * 150_000, rel=0.01)


@pytest.mark.parametrize("exponent", ["2", "0.5", "9", "-3", "2.5", "y"])
def test_powers_that_products_do_not_replace_are_let_be(exponent: str) -> None:
    other = signature_of("power", "1000x1000:f4,.:i8->1000x1000:f4", f"exponent={exponent}")
    assert found(NAME, ops("power:9000@model.py:7:gelu", power=other)) == []


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_code_that_is_advised_computes_the_power(exponent: int) -> None:
    sig = signature_of("power", "1000:f8,.:i8->1000:f8", f"exponent={exponent}")
    [finding] = found(NAME, ops("power:9000@model.py:7:gelu", power=sig))
    names: dict[str, np.ndarray] = {"x": np.array([1.5, -2.0])}
    code = finding.code if "=" in finding.code else f"y = {finding.code}"
    exec(code, names)
    np.testing.assert_allclose(names["y"], names["x"] ** exponent)
