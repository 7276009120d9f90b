from __future__ import annotations

from tests.analysis.findings.traces import found, ops, signature_of
from tinytrace.analysis.findings.float64_leak import NAME

LEAK = signature_of("multiply", ".:f8,64x64:f4->64x64:f8")
AFTER = signature_of("tanh", "64x64:f8->64x64:f8")
PLAIN = signature_of("multiply", "64x64:f4,64x64:f4->64x64:f4")


def test_the_first_op_that_widened_is_named() -> None:
    text = "add:3@m.py:5:f multiply:10@m.py:6:gelu tanh:20@m.py:7:gelu multiply:10@m.py:9:later"
    [finding] = found(NAME, ops(text, add=PLAIN, multiply=LEAK, tanh=AFTER))
    assert (finding.line, finding.function, finding.confidence) == (6, "gelu", "high")


def test_the_ceiling_is_half_of_the_float64_work_that_follows() -> None:
    text = "tanh:100@m.py:5:before multiply:10@m.py:6:gelu exp:20@m.py:7:gelu"
    [finding] = found(NAME, ops(text, multiply=LEAK, exp=AFTER, tanh=AFTER))
    assert finding.ceiling_ns == 15_000


def test_a_wider_array_is_less_certain_than_a_scalar() -> None:
    mixed = signature_of("multiply", "64x64:f8,64x64:f4->64x64:f8")
    [finding] = found(NAME, ops("multiply:10@m.py:6:gelu", multiply=mixed))
    assert finding.confidence == "medium"


def test_float32_that_stays_so_is_let_be() -> None:
    assert found(NAME, ops("multiply:10@m.py:6:gelu", multiply=PLAIN)) == []


def test_float64_from_the_beginning_is_let_be() -> None:
    assert found(NAME, ops("tanh:10@m.py:6:gelu", tanh=AFTER)) == []


def test_a_conversion_that_was_written_down_is_let_be() -> None:
    cast = signature_of("astype", "64x64:f4->64x64:f8")
    total = signature_of("add.reduce", "64x2000:f4->2000:f8", "axis=0; dtype=float64")
    assert found(NAME, ops("astype:10@m.py:6:f sum:5@m.py:7:f", astype=cast, sum=total)) == []
