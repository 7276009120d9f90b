"""Measuring for real, quickly: what it gives, not how much. How much is `benchmarks/roofs.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tinytrace.analysis import peaks_measure
from tinytrace.analysis.counting import count
from tinytrace.analysis.peaks import Peaks
from tinytrace.analysis.peaks_machine import Machine
from tinytrace.analysis.peaks_measure import DTYPES, FUNCTIONS, measure
from tinytrace.analysis.probes import Probe
from tinytrace.errors import UsageError
from tinytrace.tracer.trace import Operand, Signature


@pytest.fixture(scope="module")
def shares() -> list[float]:
    """What progress was told."""
    return []


@pytest.fixture(scope="module")
def peaks(shares: list[float]) -> Peaks:
    """This machine's, for one BLAS thread."""
    return measure(threads=1, quick=True, progress=shares.append)


def test_every_roof_is_measured(peaks: Peaks) -> None:
    assert set(peaks.gemm_gflops) == set(peaks.vector_gflops) == set(DTYPES)
    floats = {"float16", "float32", "float64", "complex64", "complex128"}
    assert set(peaks.transcendental_gops) == floats
    assert {f"{name} float64" for name in FUNCTIONS} <= set(peaks.function_gops)
    assert set(peaks.floor_ns) == {"ufunc", "matmul", "reduce", "copy"}
    assert peaks.levels[-1].name == "DRAM"
    assert [level.name for level in peaks.levels[:-1]] == [
        name for name, _ in Machine.here().caches
    ]


def test_it_says_what_it_holds_for(peaks: Peaks) -> None:
    assert peaks.quick
    assert peaks.threads == 1
    assert peaks.fingerprint == Machine.here(threads=1).fingerprint
    assert peaks.machine["numpy"] == np.__version__


def test_it_can_travel(peaks: Peaks) -> None:
    assert Peaks.from_json(json.loads(json.dumps(peaks.to_json()))) == peaks


def test_progress_ends_at_one(peaks: Peaks, shares: list[float]) -> None:
    assert peaks
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_matrix_products_need_blas(peaks: Peaks) -> None:
    assert peaks.gemm_gflops["float32"].value > peaks.gemm_gflops["float16"].value


def test_a_process_that_is_being_recorded_is_not_measured(tmp_path: Path) -> None:
    with (
        tt.trace(tmp_path / "trace.json", sampler="none"),
        pytest.raises(UsageError, match=r"being recorded"),
    ):
        measure(quick=True)


def flops_of(probe: Probe, dtype: str) -> int | None:
    """What an op that was recorded from this call would be counted as."""
    function = getattr(probe.call, "func", None)
    arguments = [a for a in probe.call.args if not isinstance(a, str)]  # type: ignore[attr-defined]
    name = getattr(function, "__name__", "")
    if name == "reduce":
        name = f"{function.__self__.__name__}.reduce"  # type: ignore[union-attr]
        operands = [Operand(dtype, arguments[0].shape), Operand(dtype, ())]
        return count(Signature(name, tuple(operands), 1)).flops
    operands = [Operand(a.dtype.name, a.shape) for a in arguments]
    return count(Signature(name, tuple(operands), len(operands) - 1)).flops


def probes() -> Iterator[Probe]:
    yield from peaks_measure._vector()
    yield from (p for p in peaks_measure._loop_products((32,)) if p.call.func is not np.einsum)  # type: ignore[attr-defined]
    yield from (peaks_measure._product(dtype, 32) for dtype in peaks_measure.BLAS_DTYPES)


def test_work_is_counted_as_that_of_ops_is() -> None:
    wrong = [
        (probe.name, probe.call, probe.work, flops_of(probe, probe.name))
        for probe in probes()
        if probe.work != flops_of(probe, probe.name)
    ]
    assert wrong == []
