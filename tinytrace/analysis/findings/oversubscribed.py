"""More threads of BLAS than cores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import time
from tinytrace.analysis.roofline import INEFFICIENT
from tinytrace.analysis.signature_roofs import BLAS

NAME = "more BLAS threads than cores"


def find(case: Case) -> Iterator[Finding]:
    """Products far from their roof, with more threads than cores; ceiling: all but the roof.

    Threads are counted for all processes that lived at the same time and did products.
    """
    threads = case.told("numerics", "threads")
    cores = case.told("machine", "usable_cpus")
    if threads is None or cores is None or case.peaks is None:
        return
    mine = case.where(lambda signature: signature.op in BLAS)
    sites = case.sites(mine)
    processes = _at_once(case, mine)
    if not sites or threads * processes <= cores:
        return
    judged = case.verdicts(sites)
    far = [
        (sites[i].self_ns, judged[i].roof_ns or 0.0)
        for i in range(len(sites))
        if (judged[i].roof_percent or 0) < INEFFICIENT
    ]
    spent_ns, least_ns = (sum(column) for column in zip(*far, strict=True)) if far else (0, 0.0)
    if not far:
        return
    running = f"{processes} processes at once, each with " if processes > 1 else ""
    yield case.finding(
        NAME,
        sites[0].frame,
        f"BLAS runs {threads * processes} threads on {cores} cores",
        evidence=(
            f"{running}{threads} threads of BLAS; {cores} cores may be used",
            f"products below {INEFFICIENT:.0f} % of their roof take {time(spent_ns)}, {time(least_ns)} at the roof",
            *_cpu(case),
        ),
        ceiling_ns=spent_ns - least_ns,
        confidence="high" if threads > cores else "medium",
        why="threads that outnumber the cores wait for each other in every product"
        if threads > cores
        else "the processes lived at the same time; whether their products did is not looked at",
        remedy="Give each process its share of the cores, before NumPy is imported.",
        code=f'os.environ["OPENBLAS_NUM_THREADS"] = "{max(1, cores // processes)}"  # before "import numpy"',
    )


def _at_once(case: Case, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    """The most processes with such ops that were alive at one time."""
    trace = case.trace
    of = np.unique(trace.threads.process[case.parts.thread[mask]])
    if not len(of):
        return 0
    starts, ends = np.sort(trace.processes.start_ns[of]), np.sort(trace.processes.end_ns[of])
    alive = np.arange(1, len(of) + 1) - np.searchsorted(ends, starts, "right")
    return int(max(1, alive.max()))


def _cpu(case: Case) -> list[str]:
    """The median of the processor use that was read, where it was."""
    trace = case.trace
    names = [trace.strings[i] for i in trace.series.name_id]
    mine = np.isin(
        trace.counters.series_id, [i for i, name in enumerate(names) if name == "cpu_percent"]
    )
    if not mine.any():
        return []
    return [f"a process used {np.median(trace.counters.value[mine]) / 100:.2g} cores (median)"]
