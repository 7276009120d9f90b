"""Results so large that the kernel gives and clears new memory for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinytrace.analysis.findings.case import Case, Floats, Site
from tinytrace.analysis.findings.elementwise import not_allocated
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import array, size, time
from tinytrace.analysis.roofline import VERDICTS, Verdict
from tinytrace.analysis.slow_reasons import FRESH_BYTES

NAME = "new memory for every result"


def find(case: Case) -> Iterator[Finding]:
    """Ops with results of 32 MB and more that are far from their roofs; ceiling: all but the roof.

    Where the kernel's time is recorded, no more than that: it gives and clears the memory.
    """
    if case.peaks is None:
        return
    parts = case.parts
    far = case.judged.code == VERDICTS.index(Verdict.LATENCY)
    mine = case.leaf & far & (case.new_bytes >= FRESH_BYTES) & (parts.calls > 1)
    for site in case.sites(mine):
        if not_allocated(case, site, site.calls):
            continue  # an out= that is no input of the same call
        signature = case.signature(int(site.parts[0]))
        least_ns = float(case.part_least_ns[site.parts].sum())
        each = int(case.new_bytes[site.parts].max())
        won_ns = site.self_ns - least_ns
        kernel = _kernel(case, site)
        measured = kernel is not None and 2 * kernel.spent_ns >= won_ns
        told = () if kernel is None else (str(kernel),)
        yield case.finding(
            NAME,
            site.frame,
            f"{signature.op} in {case.function(site.frame)} gets {size(each)} of new memory per call",
            evidence=(
                f"{site.calls:,} calls take {time(site.self_ns)}, {time(least_ns)} at the roof",
                f"each returns a new {array(signature.outputs[0])}",
                *told,
            ),
            ceiling_ns=won_ns if kernel is None else min(won_ns, kernel.spent_ns),
            confidence="medium" if measured else "low",
            why="that they take the time is concluded from the size: the kernel's time is not in the trace"
            if kernel is None
            else "the kernel's share is measured, by readings every 50 ms; what else it did meanwhile is in it",
            remedy="Give it memory that is kept. New pages are cleared by the kernel when they are first written.",
            code="np.add(x, y, out=buffer)  # buffer = np.empty_like(x), made once",
            parts=site.parts,
        )


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel did while some ops ran.

    Attributes:
        spent_ns: its share of these ops' time.
        share: the same, of their time; 0 to 1.
        faults: page faults meanwhile.
    """

    spent_ns: float
    share: float
    faults: int

    def __str__(self) -> str:
        return f"the kernel took {100 * self.share:.0f} % of the CPU time meanwhile, with {self.faults:,} page faults"


def _kernel(case: Case, site: Site) -> Kernel | None:
    """By the counters while these ops ran; None: not recorded, or threads beside, whose time is in the counters too.

    A share of CPU time, since on a busy machine a call takes longer by the same factor in the kernel and outside.
    """
    trace, parts = case.trace, case.parts
    found = [_series(case, name) for name in ("system_percent", "cpu_percent", "page_faults")]
    rows = parts.rows[np.isin(parts.part_of, site.parts)]
    if None in found or len(trace.threads) != 1 or not len(rows):
        return None
    system, cpu, faults = (pair for pair in found if pair is not None)
    t_ns = system[0]
    at = np.searchsorted(t_ns, trace.spans.start_ns[rows])
    inside = at < len(t_ns)
    op_ns = np.bincount(at[inside], trace.spans.dur_ns[rows][inside], len(t_ns))
    used = np.maximum(np.interp(t_ns, *cpu), 1e-9)
    spent_ns = float((op_ns * np.clip(system[1] / used, 0, 1)).sum())
    new = np.diff(np.interp(t_ns, *faults), prepend=faults[1][0])
    return Kernel(spent_ns, spent_ns / max(1.0, op_ns.sum()), int(new[op_ns > 0].sum()))


def _series(case: Case, name: str) -> tuple[Floats, Floats] | None:
    """Times and values of the one series of this name; None: there is not just one."""
    trace = case.trace
    named = [i for i, number in enumerate(trace.series.name_id) if trace.strings[number] == name]
    mine = trace.counters.series_id == named[0] if len(named) == 1 else None
    if mine is None or not mine.any():
        return None
    return trace.counters.t_ns[mine].astype("f8"), trace.counters.value[mine].astype("f8")
