"""``x ** 3``: pow, where products do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, time
from tinytrace.analysis.operands import items
from tinytrace.tracer.trace import Signature

NAME = "pow instead of products"
# x ** 2 is one product in NumPy already. Above 8, which takes 3 products, what is won shrinks and rounding errors grow.
EXPONENTS = range(3, 9)


def exponent_of(signature: Signature) -> int | None:
    """Return the whole exponent of a power, if products can replace it.

    Example:
        >>> exponent_of(Signature("power", (), 0, "exponent=3"))
        3
    """
    if signature.op not in ("power", "float_power"):
        return None
    for item in items(signature):
        name, _, value = item.partition("=")
        try:
            exponent = float(value)
        except ValueError:
            continue
        if name == "exponent" and exponent in EXPONENTS:
            return int(exponent)
    return None


def products(exponent: int) -> int:
    """How many products a power takes by repeated squaring: 2 for 3 and 4, 3 for 5, 6 and 8, 4 for 7.

    Source: D. E. Knuth, The Art of Computer Programming, vol. 2, section 4.6.3 (binary method).

    Example:
        >>> [products(n) for n in EXPONENTS]
        [2, 2, 3, 3, 4, 3]
    """
    return exponent.bit_length() - 1 + exponent.bit_count() - 1


def find(case: Case) -> Iterator[Finding]:
    """Powers with a small whole exponent, of floating numbers; ceiling: all but the products at their roof."""
    for site in case.sites(case.where(_is_slow)):
        signature = case.signature(int(site.parts[0]))
        exponent = exponent_of(signature) or 0
        least_ns = sum(
            products(exponent_of(case.signature(i)) or 0)
            * case.least_ns(_product(case.signature(i)))
            * int(case.parts.calls[i])
            for i in site.parts.tolist()
        )
        shape = array(signature.inputs[0])
        yield case.finding(
            NAME,
            site.frame,
            f"x ** {exponent} is computed by pow, one element at a time",
            evidence=(
                f"{site.calls:,} calls on {shape} take {time(site.self_ns)}",
                f"{products(exponent)} products of this size take {time(least_ns)} at the roof, all calls together"
                if least_ns
                else "what the products take is not known: the trace has no roofs for them",
            ),
            ceiling_ns=site.self_ns - least_ns,
            confidence="high",
            why="the exponent and the sizes are recorded",
            remedy=f"Write x ** {exponent} as products: pow takes tens of times longer. The last digit may differ.",
            code="x * x * x" if exponent == 3 else _code(exponent),
            parts=site.parts,
        )


def _is_slow(signature: Signature) -> bool:
    first = signature.inputs[0] if signature.inputs else None
    return exponent_of(signature) is not None and first is not None and first.is_array


def _product(signature: Signature) -> Signature:
    """One product, of the operand with itself."""
    x, *_ = signature.inputs
    return Signature("multiply", (x, replace(x, alias=0), *signature.outputs), 2)


def _code(exponent: int) -> str:
    lines = ["x2 = x * x"]
    if exponent >= 8:
        return "x2 = x * x\nx4 = x2 * x2\ny = x4 * x4"
    names = {4: "x2 * x2", 5: "x2 * x2 * x", 6: "x2 * x2 * x2", 7: "x2 * x2 * x2 * x"}
    return "\n".join([*lines, f"y = {names[exponent]}"])
