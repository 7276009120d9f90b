"""The same constant made again and again."""

from __future__ import annotations

from collections.abc import Iterator

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, time
from tinytrace.tracer.trace import Signature

NAME = "same constant made again"
# Ops whose result depends on arguments alone and is rarely written to. zeros, ones, full and empty make memory to
# write into.
CONSTANTS = frozenset(
    ["arange", "linspace", "logspace", "geomspace", "eye", "identity", "tri", "indices", "tril_indices",
     "triu_indices", "hanning", "hamming", "blackman", "bartlett", "kaiser", "fft.fftfreq", "meshgrid"]
)  # fmt: skip
MIN_CALLS = 10  # of a few, some that were held up by other programs would look slow


def find(case: Case) -> Iterator[Finding]:
    """Constants of one size made by one line ten times and more; ceiling: all of these calls but one per size."""
    passed = case.where(_is_constant) & (case.parts.calls >= MIN_CALLS)
    for site in case.sites(passed):
        parts = case.parts
        signature = case.signature(int(site.parts[0]))
        calls = parts.calls[site.parts]
        yield case.finding(
            NAME,
            site.frame,
            f"{signature.op} in {case.function(site.frame)} makes {array(signature.outputs[0])} again and again",
            evidence=(
                f"{site.calls:,} calls, {len(site.parts)} different signatures, take {time(site.self_ns)}",
            ),
            ceiling_ns=float((parts.self_ns[site.parts] * (1 - 1 / calls)).sum()),
            confidence="medium",
            why="sizes and options are recorded, values are not: the calls may differ in start or step",
            remedy="Make it once, outside of the loop, and keep it.",
            code="POSITIONS = np.arange(length)  # at the top of the module, or in __init__",
        )


def _is_constant(signature: Signature) -> bool:
    arrays = any(o.is_array for o in signature.inputs)
    return signature.op in CONSTANTS and bool(signature.outputs) and not arrays
