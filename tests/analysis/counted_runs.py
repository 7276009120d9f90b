"""Runs with hardware counters, made by hand: round numbers."""

from __future__ import annotations

from tests.builders import START_NS, TraceBuilder, signature_of
from tests.peaks_by_hand import with_peaks
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

MS = 1_000_000
TICK_NS = 50 * MS
PER_TICK = {
    "cycles": 100e6,
    "instructions": 150e6,
    "l1d_misses": 3e6,
    "llc_references": 3e6,
    "llc_misses": 750e3,
}


def counted_run(
    ticks: int = 20,
    per_tick: dict[str, float] | None = None,
    *,
    faults_per_tick: float = 10,
    **meta: object,
) -> Trace:
    """Steps of 100 ms with two copies of 64 MB each; counters that rise evenly, read every 50 ms.

    The L3 (32 MB) has room for half of what a copy touches.
    """
    counts = PER_TICK if per_tick is None else per_tick
    builder = TraceBuilder()
    builder.process(7, "train.py", START_NS, START_NS + ticks * TICK_NS)
    thread, site = builder.thread(0, 7), builder.frame("copy_all", "/home/me/train.py", 5)
    copied = [signature_of("copy", f"{n}->{n}") for n in (4_000_000, 4_000_001)]
    for number in range(ticks // 2):
        now_ns = START_NS + number * 2 * TICK_NS
        step = builder.span(thread, now_ns, 2 * TICK_NS - MS, "step", kind=Kind.STEP, step=number)
        for n, signature in enumerate(copied):
            builder.span(thread, now_ns + n * 20 * MS, 15 * MS, "copy", signature=signature, callsite=site,
                         parent=step, step=number)  # fmt: skip
    rising = {**counts, "page_faults": faults_per_tick, "major_faults": 0}
    for name, each in rising.items():
        series = builder.series(name, "count")
        for tick in range(ticks + 1):
            builder.counter(series, START_NS + tick * TICK_NS, 1000 + tick * each)
    told: dict[str, object] = {
        "when": "auto",
        "refused": None,
        "counted": list(counts),
        "missing": {},
        "earlier_threads": 0,
    }
    builder.meta["hardware_counters"] = {**told, **meta}
    return with_peaks(builder.build())
