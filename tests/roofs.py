"""Roofs that nobody has measured, for tests; and kept, so that recorded programs find some."""

from __future__ import annotations

from tinytrace.analysis import peaks_cache
from tinytrace.analysis.peaks import Level, LevelName, Peak, Peaks
from tinytrace.analysis.peaks_machine import Machine

MOST_THREADS = 8  # that a test gives BLAS, or a machine that runs tests has by itself


def peak(value: float, n: int = 5) -> Peak:
    """A figure without spread."""
    return Peak(value, value, value, n)


def level(name: LevelName, size_bytes: int | None, gbps: float, resolvable: bool = True) -> Level:
    """A level with one bandwidth."""
    return Level(name, size_bytes, peak(gbps), resolvable)


def roofs(fingerprint: str = "0123456789abcdef", threads: int = 1) -> Peaks:
    """Those of an invented machine."""
    return Peaks(
        fingerprint=fingerprint,
        machine={"cpu": "invented", "numpy": "2.0.0", "cpus": 2},
        measured_at="2026-01-02T03:04:05+00:00",
        quick=False,
        threads=threads,
        gemm_gflops={"float32": Peak(100.0, 90.0, 100.0, 7), "float64": peak(50)},
        vector_gflops={"float32": peak(10)},
        transcendental_gops={"float32": peak(2)},
        function_gops={"exp float32": peak(2), "sqrt float32": peak(6)},
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
