"""A chain of elementwise ops, each of which returns a new array."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.elementwise import elementwise, fresh, fused_ns
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.optimizers import in_optimizer
from tinytrace.analysis.findings.wording import listed, size, time

NAME = "chain of temporaries"
# From 128 kB on the C library may take memory from the kernel for each array and give it back after (glibc's
# M_MMAP_THRESHOLD), and a few arrays no longer fit a cache of the first level.
MIN_BYTES = 128 << 10
MIN_OPS = 3  # two ops make one temporary: there is little to fuse


def find(case: Case) -> Iterator[Finding]:
    """Functions with several such ops; ceiling: all but what one op, or the arithmetic at its roof, would take.

    Powers have a rule of their own.
    """
    for site in case.sites(elementwise(case) & (case.op != "power"), by="function"):
        if in_optimizer(case, site.frame):
            continue
        chain = fresh(case, site, MIN_BYTES)
        if chain is None or len(chain.parts) < MIN_OPS:
            continue
        parts = case.parts
        made = int((case.new_bytes[chain.parts] * parts.calls[chain.parts]).sum())
        once = int(case.new_bytes[chain.parts].sum())
        least_ns = fused_ns(case, chain)
        order = chain.parts[np.argsort(-parts.self_ns[chain.parts], kind="stable")]
        yield case.finding(
            NAME,
            chain.frame,
            f"{len(chain.parts)} operations in {case.function(chain.frame)} each write a new array and read it again",
            evidence=(
                f"{chain.calls:,} calls ({listed(case.op[i] for i in order)}) take {time(chain.self_ns)}",
                f"{size(made)} of new arrays, {size(once)} when each op runs once",
            ),
            ceiling_ns=chain.self_ns - least_ns,
            confidence="medium",
            why="sizes are recorded; an out= that is no input of the same call cannot be told from a new array",
            remedy="Work in place where the old value is not needed, give the others memory that is kept (out=), or "
            "go through the arrays in pieces that stay in cache. numexpr or numba make one loop of all.",
            code="np.multiply(x, x, out=buffer)  # buffer = np.empty_like(x), made once\nbuffer *= 0.5\nbuffer += x",
            parts=chain.parts,
        )
