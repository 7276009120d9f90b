"""Findings as they are printed: data of the trace is text, and a bound is called one."""

from __future__ import annotations

import io
from dataclasses import replace

from tinytrace.analysis.findings import Finding
from tinytrace.cli.findings_text import say_findings
from tinytrace.cli.sheet import Sheet

POWER = Finding(
    id="F1",
    rule="pow instead of products",
    title="x ** 3 is computed as a power",
    file="/home/me/\x1b[31mtrain.py",
    line=42,
    function="gelu",
    evidence=("120 calls", "2.00 s in them"),
    ceiling_ns=1_500_000_000,
    ceiling_share=0.254,
    confidence="high",
    why_confidence="the exponent is recorded",
    remedy="write products",
    code="y = x * x * x\nz = y",
)


def printed(*found: Finding, path: str = "trace.json") -> str:
    out = io.StringIO()
    sheet = Sheet(out)
    say_findings(found, sheet, path)
    sheet.print()
    return out.getvalue()


def test_a_finding_says_where_what_how_much_and_what_to_write() -> None:
    text = printed(POWER)
    assert "train.py:42 gelu: x ** 3 is computed as a power [pow instead of products]" in text
    assert text.splitlines()[1].startswith("F1. ")
    assert "to win: at most 1.50 s, 25 % of the run without imports" in text
    assert "confidence high: the exponent is recorded" in text
    assert "seen: 120 calls; 2.00 s in them" in text
    assert "try: write products" in text
    assert "       y = x * x * x\n       z = y\n" in text
    assert "\x1b" not in text


def test_only_the_first_five_are_printed_and_the_number_of_all() -> None:
    text = printed(*[replace(POWER, id=f"F{n}") for n in range(1, 8)])
    assert "Findings (5 of 7, by the most that could be won)" in text
    assert "F5. " in text and "F6. " not in text


def test_what_can_be_verified_has_its_command_beside_it() -> None:
    able = replace(POWER, id="F2", rewrites=("products",))
    text = printed(POWER, able, path="my runs/a.json")
    [line] = [line for line in text.splitlines() if "measure it" in line]
    assert line == "   measure it: python -m tinytrace verify 'my runs/a.json' F2 (products)"


def test_nothing_wrong_is_said() -> None:
    assert printed() == "Findings: nothing is wrong that a rule knows.\n"
