"""Roofs of machines that never were: round numbers, so that expectations can be computed by hand; and kept, so that
recorded programs find some.
"""

from __future__ import annotations

from dataclasses import replace

from tinytrace.analysis import peaks_cache
from tinytrace.analysis.peaks import META_KEY, Level, LevelName, Peak, Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.tracer.trace import Trace

MOST_THREADS = 8  # that a test gives BLAS, or a machine that runs tests has by itself


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


def roofs(fingerprint: str = "0123456789abcdef", threads: int = 1) -> Peaks:
    """Those of another machine: a spread, a note, and each dtype as some tables have it and others do not."""
    return Peaks(
        fingerprint=fingerprint,
        machine={"cpu": "invented", "numpy": "2.0.0", "cpus": 2},
        measured_at="2026-01-02T03:04:05+00:00",
        quick=False,
        threads=threads,
        gemm_gflops={"float32": Peak(100.0, 90.0, 100.0, 7), "float64": exact(50)},
        vector_gflops={"float32": exact(10)},
        transcendental_gops={"float32": exact(2)},
        function_gops={"exp float32": exact(2), "sqrt float32": exact(6)},
        levels=(
            level("L1", 32_768, 150, resolvable=False),
            level("L2", 1_048_576, 200),
            level("L3", 33_554_432, 100),
            level("DRAM", None, 20),
        ),
        floor_ns={"ufunc": Peak(300.0, 300.0, 400.0, 7)},
        notes=("L1 is not resolvable",),
    )


def keep_invented_roofs() -> None:
    """Keep them as those of this machine, whatever number of BLAS threads a program has."""
    import numpy  # noqa: F401 - brings its BLAS along

    for threads in {*range(1, MOST_THREADS + 1), Machine.here().threads}:
        peaks_cache.store(roofs(Machine.here(threads).fingerprint, threads))
