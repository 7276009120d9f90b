"""Results so large that the kernel gives and clears new memory for each of them."""

from __future__ import annotations

from collections.abc import Iterator

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, size, time
from tinytrace.analysis.roofline import VERDICTS, Verdict
from tinytrace.analysis.slow_reasons import FRESH_BYTES

NAME = "new memory for every result"


def find(case: Case) -> Iterator[Finding]:
    """Ops with results of 32 MB and more that are far from their roofs; ceiling: all but the roof."""
    if case.peaks is None:
        return
    parts = case.parts
    far = case.judged.code == VERDICTS.index(Verdict.LATENCY)
    mine = case.leaf & far & (case.new_bytes >= FRESH_BYTES) & (parts.calls > 1)
    for site in case.sites(mine):
        signature = case.signature(int(site.parts[0]))
        least_ns = float(case.part_least_ns[site.parts].sum())
        each = int(case.new_bytes[site.parts].max())
        yield case.finding(
            NAME,
            site.frame,
            f"{signature.op} in {case.function(site.frame)} gets {size(each)} of new memory per call",
            evidence=(
                f"{site.calls:,} calls take {time(site.self_ns)}, {time(least_ns)} at the roof",
                f"each returns a new {array(signature.outputs[0])}",
            ),
            ceiling_ns=site.self_ns - least_ns,
            confidence="low",
            why="page faults are not recorded: that they take the time is concluded from the size",
            remedy="Give it memory that is kept. New pages are cleared by the kernel when they are first written.",
            code="np.add(x, y, out=buffer)  # buffer = np.empty_like(x), made once",
            parts=site.parts,
        )
