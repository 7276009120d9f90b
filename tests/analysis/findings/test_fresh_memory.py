"""New memory for every result: what the kernel's time says where it is recorded."""

from __future__ import annotations

import pytest

from tests.analysis.findings.traces import FILE, MS, found
from tests.builders import START_NS, TraceBuilder, signature_of
from tinytrace.analysis.findings.fresh_memory import NAME
from tinytrace.tracer.trace import Trace

LEAST_NS = (
    9_680 + 620_000 + 8_800_000
)  # L1 for nothing, 968 kB at 100 GB/s, 31 MB at 50, 88 MB at 10
ADD = signature_of("add", "10000000:f4,10000000:f4->10000000:f4")


def run(
    system_percent: float | None,
    *,
    cpu_percent: float = 50,
    threads: int = 1,
    allocations: float = 1,
) -> Trace:
    """Four additions of 90 ms, each with so many allocations, and counters read after each."""
    builder = TraceBuilder()
    builder.process(1, end_ns=START_NS + 500 * MS)
    for thread in range(threads):
        builder.thread(0, 1 + thread)
    frame = builder.frame("work", FILE, 3)
    named = {"cpu_percent": cpu_percent, "system_percent": system_percent}
    counts = {"page_faults": 1000.0, "allocations": allocations}
    names = [] if system_percent is None else [*named, *counts]
    series = {name: builder.series(name, "") for name in names}
    for number in range(5):
        for name in names:
            at_ns = START_NS + number * 100 * MS
            value = number * counts[name] if name in counts else named[name]
            if value is not None and (number or name in counts):
                builder.counter(series[name], at_ns, value)
        if number < 4:
            builder.span(
                0, START_NS + number * 100 * MS, 90 * MS, "add", signature=ADD, callsite=frame
            )
    return builder.build()


def test_without_the_kernels_time_it_is_concluded_from_the_size() -> None:
    [finding] = found(NAME, run(None))
    assert finding.confidence == "low"
    assert finding.ceiling_ns == 360 * MS - 4 * LEAST_NS


@pytest.mark.parametrize(
    ("system_percent", "share", "confidence"),
    [(40, 0.8, "medium"), (25, 0.5, "medium"), (5, 0.1, "low"), (0, 0.0, "low")],
)
def test_no_more_can_be_won_than_the_kernels_share(
    system_percent: float, share: float, confidence: str
) -> None:
    [finding] = found(NAME, run(system_percent))
    assert finding.ceiling_ns == pytest.approx(share * 360 * MS, rel=1e-6)
    assert finding.confidence == confidence
    said = f"the kernel took {100 * share:.0f} % of the CPU time meanwhile, with 3,000 page faults"
    assert said in finding.evidence


def test_a_share_is_no_more_than_the_whole() -> None:
    [finding] = found(NAME, run(60))
    assert finding.ceiling_ns == 360 * MS - 4 * LEAST_NS


def test_the_kernels_time_of_other_threads_is_not_told_apart() -> None:
    [finding] = found(NAME, run(5, threads=2))
    assert finding.ceiling_ns == 360 * MS - 4 * LEAST_NS
    assert not any("kernel" in fact for fact in finding.evidence)


def test_where_the_allocator_was_not_called_there_is_no_new_memory() -> None:
    assert found(NAME, run(40, allocations=0.25)) == []
