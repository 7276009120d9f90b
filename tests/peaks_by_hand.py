"""Roofs of a machine that never was: round numbers, so that expectations can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

from tinytrace.analysis.peaks import META_KEY, Level, LevelName, Peak, Peaks
from tinytrace.tracer.trace import Trace


def exact(value: float) -> Peak:
    """A figure without spread."""
    return Peak(value, value, value, 5)


def level(name: LevelName, size_bytes: int | None, gbps: float, resolvable: bool = True) -> Level:
    """A level of the memory hierarchy."""
    return Level(name, size_bytes, exact(gbps), resolvable)


PEAKS = Peaks(
    fingerprint="made by hand",
    machine={"cpu": "made by hand"},
    measured_at="2026-01-01T00:00:00Z",
    quick=False,
    threads=1,
    gemm_gflops={"float64": exact(50.0), "float32": exact(100.0), "int64": exact(1.0)},
    vector_gflops={"float64": exact(5.0), "float32": exact(10.0), "int64": exact(5.0)},
    transcendental_gops={"float64": exact(1.0)},
    function_gops={"exp float64": exact(1.0), "sqrt float64": exact(2.0)},
    levels=(
        level("L1", 32_000, 200.0, resolvable=False),
        level("L2", 1_000_000, 100.0),
        level("L3", 32_000_000, 50.0),
        level("DRAM", None, 10.0),
    ),
    floor_ns={
        "ufunc": exact(400),
        "matmul": exact(1000),
        "reduce": exact(1500),
        "copy": exact(300),
    },
)


def with_peaks(trace: Trace, peaks: Peaks = PEAKS) -> Trace:
    """The trace, as if recorded on that machine."""
    return replace(trace, meta={**trace.meta, META_KEY: peaks.to_json()})
