"""Memory that grows from step to step."""

from __future__ import annotations

from collections.abc import Iterator

from tinytrace.analysis.findings.case import Case
from tinytrace.analysis.findings.finding import Finding
from tinytrace.analysis.findings.wording import size

NAME = "memory that grows"


def find(case: Case) -> Iterator[Finding]:
    """Live arrays grow over the steps, by the interval of their slope; what is won is memory, not time."""
    if not len(case.trace.counters):
        return
    for process in case.memory.processes:
        growth = process.array_growth
        if growth.verdict != "growing" or growth.slope is None:
            continue
        holder = next(iter(process.modelled_holders), None)
        low, high = max(0.0, growth.slope.low), growth.slope.high
        evidence = [
            f"live arrays grow by {size(growth.slope.estimate)} per step (95 %: {size(low)} to {size(high)}), "
            f"over {growth.steps:,} steps",
        ]
        if holder is not None:
            evidence.append(
                f"most of the results before the peak came from {holder.op} at {holder.place}: {size(holder.bytes)}"
            )
        yield case.finding(
            NAME,
            holder.frame_id if holder is not None else -1,
            "arrays are kept from step to step, and memory grows",
            evidence=evidence,
            ceiling_ns=None,
            won="memory",
            confidence="medium",
            why="the growth is measured; who keeps the arrays is concluded from the results of ops",
            remedy="Keep numbers, not arrays or whole graphs: a list of losses that are tensors keeps all that they "
            "were computed from.",
            code="losses.append(float(loss.data))",
        )
