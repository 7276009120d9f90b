"""All rules, and the order in which their findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tinytrace.analysis.device_work import device_work
from tinytrace.analysis.findings import (
    constants,
    copies,
    data_wait,
    device_stalls,
    exposed_communication,
    float64_leak,
    fresh_memory,
    launch_bound,
    memory_growth,
    optimizers,
    oversubscribed,
    powers,
    products,
    python_loop,
    revisited_graph,
    sample_loader,
    saving,
    scatter,
    slow_products,
    strided,
    taking_turns,
    temporaries,
    tiny_ops,
    waiting,
)
from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.mechanical import with_rewrites
from tinytrace.analysis.memory_report import MemoryReport
from tinytrace.analysis.op_parts import OpParts
from tinytrace.analysis.signature_roofs import SignatureRoofs
from tinytrace.tracer.trace import Trace

# What can win less than this, of the time of the run outside of imports, is not worth a line: it is below what
# two runs of one program differ by on most machines.
MIN_SHARE = 0.02

Rule = Callable[[Case], Iterator[Finding]]
RULES: dict[str, Rule] = {
    constants.NAME: constants.find,
    copies.NAME: copies.find,
    data_wait.NAME: data_wait.find,
    device_stalls.PAGEABLE: device_stalls.find_pageable,
    device_stalls.SYNCHRONISING: device_stalls.find_synchronising,
    exposed_communication.NAME: exposed_communication.find,
    float64_leak.NAME: float64_leak.find,
    fresh_memory.NAME: fresh_memory.find,
    launch_bound.NAME: launch_bound.find,
    memory_growth.NAME: memory_growth.find,
    optimizers.NAME: optimizers.find,
    oversubscribed.NAME: oversubscribed.find,
    powers.NAME: powers.find,
    products.WITHOUT_BLAS: products.find_without_blas,
    products.SKINNY_PRODUCT: products.find_skinny,
    python_loop.NAME: python_loop.find,
    revisited_graph.NAME: revisited_graph.find,
    sample_loader.NAME: sample_loader.find,
    saving.NAME: saving.find,
    scatter.NAME: scatter.find,
    slow_products.ODD_SIZES: slow_products.find_odd,
    slow_products.ORDINARY_UNITS: slow_products.find_ordinary,
    strided.NAME: strided.find,
    taking_turns.NAME: taking_turns.find,
    temporaries.NAME: temporaries.find,
    tiny_ops.NAME: tiny_ops.find,
    waiting.NAME: waiting.find,
}
# Those that are about devices, and need no place in the program.
OF_DEVICES = (
    device_stalls.PAGEABLE, device_stalls.SYNCHRONISING, exposed_communication.NAME, launch_bound.NAME,
    slow_products.ODD_SIZES, slow_products.ORDINARY_UNITS,
)  # fmt: skip


def findings(
    trace: Trace,
    *,
    parts: OpParts | None = None,
    roofs: SignatureRoofs | None = None,
    memory: MemoryReport | None = None,
    min_share: float = MIN_SHARE,
) -> tuple[Finding, ...]:
    """Return what is slow, by all rules, what can win most first.

    Ceilings are bounds, and do not add up: two findings may be about the same time.

    Args:
        trace: any trace. Where it lacks what a rule needs (samples, roofs), the rule says nothing.
        parts: its ops added up, where a report has them already.
        roofs: of its signatures, likewise.
        memory: what is known of its memory, likewise.
        min_share: findings that can win less than this share of the run are left out.

    Returns:
        () where nothing is wrong that a rule knows.

    Example:
        >>> findings(Trace())
        ()
    """
    rules = RULES
    if not len(trace.frames):
        if device_work(trace) is None:
            return ()
        rules = {name: RULES[name] for name in OF_DEVICES}
    case = Case(trace, parts, roofs, memory)
    found = [
        finding
        for rule in rules.values()
        for finding in rule(case)
        if finding.ceiling_ns is None or finding.ceiling_share >= min_share
    ]
    found.sort(key=lambda finding: -(finding.ceiling_ns or 0))
    return tuple(
        with_rewrites(replace(finding, id=f"F{number}"), trace.signatures)
        for number, finding in enumerate(found, 1)
    )
