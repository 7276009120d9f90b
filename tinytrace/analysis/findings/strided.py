"""Operands that do not lie side by side in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.elementwise import is_elementwise
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, time
from tinytrace.analysis.operands import layout_of
from tinytrace.tracer.records import Layout
from tinytrace.tracer.trace import Operand, Signature

NAME = "operand that is not contiguous"
MIN_ELEMENTS = (
    4_096  # smaller arrays lie in the cache of the first level, where a step costs little
)
LINE_BYTES = 64  # a cache line: it is fetched whole, whatever is used of it


def find(case: Case) -> Iterator[Finding]:
    """Elementwise ops and sums of such operands; ceiling: all but what dense operands take at their roof.

    Without roofs: the share of the bytes fetched that is not used.
    """
    for site in case.sites(case.where(_is_strided)):
        parts = case.parts
        signature = case.signature(int(site.parts[0]))
        operand = next(filter(_steps_over, signature.operands))
        least_ns = 0.0
        for i in site.parts.tolist():
            dense_ns = case.least_ns(_dense(case.signature(i))) * int(parts.calls[i])
            stepping = [o for o in case.signature(i).operands if _steps_over(o)]
            worst = max(map(_used, stepping), default=1.0)
            least_ns += max(dense_ns, int(parts.self_ns[i]) * worst)
        yield case.finding(
            NAME,
            site.frame,
            f"{signature.op} in {case.function(site.frame)} steps over memory that it does not use",
            evidence=(
                f"{site.calls:,} calls take {time(site.self_ns)}",
                f"{array(operand)} with steps of {_step(operand):,} bytes from one element to the next",
                f"{100 * _used(operand):.0f} % of each cache line is used",
            ),
            ceiling_ns=site.self_ns - least_ns,
            confidence="medium",
            why="strides are recorded; a copy pays only if the array is used more than once",
            remedy="Lay the array out as it is walked: make it contiguous once, or swap the axes where it is made.",
            code="x = np.ascontiguousarray(x)  # once, before the loop that uses it",
            parts=site.parts,
        )


def _is_strided(signature: Signature) -> bool:
    computes = is_elementwise(signature.op) or signature.op.endswith(".reduce")
    return computes and any(_steps_over(o) for o in signature.operands)


def _steps_over(operand: Operand) -> bool:
    scattered = operand.is_array and layout_of(operand) == Layout.STRIDED
    return scattered and operand.elements >= MIN_ELEMENTS and _step(operand) > operand.itemsize


def _step(operand: Operand) -> int:
    """The smallest distance between neighbours, bytes; 0 for what is repeated along all axes."""
    pairs = zip(operand.shape, operand.strides, strict=False)
    return min((abs(stride) for size, stride in pairs if size > 1 and stride), default=0)


def _used(operand: Operand) -> float:
    return operand.itemsize / min(LINE_BYTES, max(_step(operand), operand.itemsize))


def _dense(signature: Signature) -> Signature:
    dense = tuple(
        replace(o, layout=Layout.C, strides=()) if _steps_over(o) else o for o in signature.operands
    )
    return replace(signature, operands=dense)
