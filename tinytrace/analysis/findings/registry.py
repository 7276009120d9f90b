"""All rules, and the order in which their findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tinytrace.analysis.findings import (
    copies,
    float64_leak,
    optimizers,
    powers,
    python_loop,
    revisited_graph,
    sample_loader,
    scatter,
    temporaries,
    tiny_ops,
)
from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.tracer.trace import Trace

# What can win less than this, of the time of the run outside of imports, is not worth a line: it is below what
# two runs of one program differ by on most machines.
MIN_SHARE = 0.02

Rule = Callable[[Case], Iterator[Finding]]
RULES: dict[str, Rule] = {
    module.NAME: module.find
    for module in (
        copies,
        float64_leak,
        optimizers,
        powers,
        python_loop,
        revisited_graph,
        sample_loader,
        scatter,
        temporaries,
        tiny_ops,
    )
}


def findings(trace: Trace, *, min_share: float = MIN_SHARE) -> tuple[Finding, ...]:
    """Return what is slow, by all rules, what can win most first.

    Ceilings are bounds, and do not add up: two findings may be about the same time.

    Args:
        trace: any trace. Where it lacks what a rule needs (samples, roofs), the rule says nothing.
        min_share: findings that can win less than this share of the run are left out.

    Returns:
        () where nothing is wrong that a rule knows.

    Example:
        >>> findings(Trace())
        ()
    """
    if not len(trace.frames):
        return ()
    case = Case(trace)
    found = [
        finding
        for rule in RULES.values()
        for finding in rule(case)
        if finding.ceiling_ns is None or finding.ceiling_share >= min_share
    ]
    return tuple(sorted(found, key=lambda finding: -(finding.ceiling_ns or 0)))
