"""``np.array(x)`` of what is an array of that type already."""

from __future__ import annotations

from collections.abc import Iterator

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, size, time
from tinytrace.tracer.trace import Signature

NAME = "copy of an array"
MIN_CALLS = 10  # of a few copies, one that was held up by other programs would look slow
COPYING = {"array": "np.array", "astype": "astype"}  # both copy unless told not to


def find(case: Case) -> Iterator[Finding]:
    """Copies that change no type; ceiling: all of their time."""
    for site in case.sites(case.where(_copies)):
        if site.calls < MIN_CALLS:
            continue
        signature = case.signature(int(site.parts[0]))
        copied = int((case.new_bytes[site.parts] * case.parts.calls[site.parts]).sum())
        yield case.finding(
            NAME,
            site.frame,
            f"{COPYING[signature.op]} in {case.function(site.frame)} copies arrays that have the wanted type already",
            evidence=(
                f"{site.calls:,} copies of {size(copied)} in all take {time(site.self_ns)}",
                f"for example of {array(signature.inputs[0])}",
            ),
            ceiling_ns=site.self_ns,
            confidence="medium",
            why="type and shape are recorded; whether the copy is written to later, so that it is needed, is not",
            remedy="Take the array as it is. A copy is needed only if one of the two is changed later.",
            code="np.asarray(x, dtype=np.float32)  # copies only where the type differs"
            if signature.op == "array"
            else "x.astype(np.float32, copy=False)",
        )


def _copies(signature: Signature) -> bool:
    if signature.op not in COPYING or len(signature.inputs) != 1 or len(signature.outputs) != 1:
        return False
    (source,), (result,) = signature.inputs, signature.outputs
    return (
        source.is_array and source.dtype == result.dtype and result.alias < 0 and bool(source.shape)
    )
