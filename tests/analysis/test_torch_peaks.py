"""Roofs of PyTorch: measured on the real CPU; on a GPU by a stand-in; kept, attached, used for verdicts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import trace_of
from tests.peaks_by_hand import PEAKS, exact
from tests.torch_profiles import profiled, seeded
from tinytrace.analysis import peaks_cache
from tinytrace.analysis.counting import count, count_trace
from tinytrace.analysis.op_parts import op_parts
from tinytrace.analysis.peaks import META_KEY, Peaks
from tinytrace.analysis.peaks_attach import with_peaks
from tinytrace.analysis.roofline import VERDICTS, PartRoofs, Verdict
from tinytrace.analysis.signature_roofs import call_roofs
from tinytrace.analysis.torch_devices import (
    CpuDevice,
    CudaDevice,
    devices,
    event_clock,
    torch_threads,
)
from tinytrace.analysis.torch_machine import TorchMachine, machines
from tinytrace.analysis.torch_measure import machines_here, measure
from tinytrace.tracer.machine import machine, numerics, torch_facts
from tinytrace.tracer.trace import Flows, Operand, Signature, Trace

ONE_THREAD = machines(machine(), {"torch": torch.__version__, "threads": 1, "devices": []})[0]
TORCH_PEAKS = replace(
    PEAKS,
    gemm_gflops={"float32": exact(80.0)},
    floor_ns={"ufunc": exact(900), "matmul": exact(900)},
)


class FakeEvent:
    """Time goes on by so much with every event."""

    now_ms = 0.0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        FakeEvent.now_ms += 0.25
        self.at_ms = FakeEvent.now_ms

    def elapsed_time(self, other: FakeEvent) -> float:
        return other.at_ms - self.at_ms


def recorded() -> FakeEvent:
    event = FakeEvent(enable_timing=True)
    event.record()
    return event


class FakeCuda:
    """What of ``torch.cuda`` is used, without a GPU."""

    Event = FakeEvent

    def __init__(self) -> None:
        self.waited = 0

    @contextlib.contextmanager
    def device(self, number: int) -> Iterator[None]:
        yield

    def synchronize(self, number: int) -> None:
        self.waited += 1

    def get_device_properties(self, number: int) -> Any:
        return type("Properties", (), {"L2_cache_size": 50 << 20})

    def mem_get_info(self, number: int) -> tuple[int, int]:
        return 40 << 20, 80 << 20


@pytest.fixture(scope="module")
def peaks() -> Peaks:
    """Of one thread, on small matrices: what is measured matters, not how much."""
    device = CpuDevice()
    device.sides = (64, 128)
    return measure(
        device, replace(ONE_THREAD, caches=(("L1", 1 << 15), ("L2", 1 << 18))), quick=True
    )


def test_every_roof_of_the_cpu_is_measured(peaks: Peaks) -> None:
    assert set(peaks.gemm_gflops) == {"float32", "float64", "bfloat16"}
    assert set(peaks.vector_gflops) == {"float32", "float64", "bfloat16"}
    assert {"exp float32", "tanh float64", "erf bfloat16"} <= set(peaks.function_gops)
    assert set(peaks.floor_ns) == {"ufunc", "matmul", "reduce", "copy"}
    assert [level.name for level in peaks.levels] == ["L1", "L2", "DRAM"]
    assert all(level.gbps is not None for level in peaks.levels)
    assert peaks.machine["torch"] == torch.__version__
    assert Peaks.from_json(json.loads(json.dumps(peaks.to_json()))) == peaks


def test_threads_are_what_they_were_afterwards() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_clock_of_a_gpu_waits_and_tells_its_own_time() -> None:
    cuda = FakeCuda()
    clock = CudaDevice(0, cuda).clock
    begin = clock()
    assert clock() - begin == 250_000
    assert cuda.waited == 2
    assert event_clock(recorded, lambda: None)() == 0


def test_a_gpu_is_measured_by_its_own_clock_in_its_own_types() -> None:
    """Everything but the kernels: those run on the CPU here."""
    gpu = CudaDevice(0, FakeCuda())
    assert gpu.where == "cuda:0"
    assert gpu.caches(1, ()) == (("L2", 50 << 20),)
    gpu.where, gpu.sides, gpu.dtypes = "cpu", (16,), ("float32", "float16", "tf32")
    place = replace(ONE_THREAD, device="cuda:0", name="a GPU")
    before = torch.backends.cuda.matmul.allow_tf32
    found = measure(gpu, place, quick=True)
    assert torch.backends.cuda.matmul.allow_tf32 == before
    assert set(found.gemm_gflops) == {"float32", "float16", "tf32"}
    # By that clock every block takes a quarter of a millisecond, and its length is told from one call.
    assert found.floor_ns["ufunc"].value > 0
    assert [level.name for level in found.levels] == ["L2", "DRAM"]
    assert found.levels[-1].gbps is None  # four times the cache is more than may be taken
    assert any("memory bandwidth was not measured" in note for note in found.notes)


def test_all_devices_are_the_cpu_and_every_gpu() -> None:
    assert [device.where for device in devices(0)] == ["cpu"]
    assert next(place.device for place in machines_here()) == "cpu"


def torch_trace(threads: int = 1, gpus: tuple[str, ...] = ()) -> Trace:
    """A program with one product of PyTorch, recorded here."""
    facts = {"torch": torch.__version__, "threads": threads, "devices": list(gpus)}
    trace = trace_of("mm:5")
    strings = tuple("aten::mm" if text == "mm" else text for text in trace.strings)
    meta = {"machine": machine(), "torch": facts, "numerics": numerics()}
    return replace(trace, meta=meta, strings=strings)


def test_a_device_has_a_fingerprint_of_its_own() -> None:
    cpu, gpu = TorchMachine.of(torch_trace(gpus=("NVIDIA H100",)))
    assert (cpu.device, gpu.device, gpu.name) == ("cpu", "cuda:0", "NVIDIA H100")
    assert cpu == ONE_THREAD
    others = TorchMachine.of(torch_trace(threads=2))
    assert len({one.fingerprint for one in (cpu, gpu, *others)}) == 3
    assert TorchMachine.of(replace(torch_trace(), meta={})) == ()


def attached(trace: Trace) -> dict[str, Peaks]:
    found = Peaks.of(trace)
    assert found is not None
    return found.torch


def test_kept_roofs_of_torch_come_into_the_trace_beside_those_of_numpy() -> None:
    unknown = with_peaks(torch_trace(threads=7))
    assert any("calibrate --torch" in warning for warning in unknown.warnings)
    (place,) = TorchMachine.of(torch_trace(threads=7))
    kept = peaks_cache.store(replace(TORCH_PEAKS, fingerprint=place.fingerprint))
    try:
        known = with_peaks(torch_trace(threads=7))
    finally:
        kept.unlink()
    assert attached(known)["cpu"].gemm_gflops == TORCH_PEAKS.gemm_gflops
    measured = with_peaks(torch_trace(threads=7), None, lambda places: {"cpu": TORCH_PEAKS})
    assert attached(measured) == {"cpu": TORCH_PEAKS}


def test_where_torch_cannot_be_measured_the_roofs_of_numpy_are_there_all_the_same() -> None:
    def fails(places: Sequence[TorchMachine]) -> dict[str, Peaks]:
        raise RuntimeError("no time left")

    found = with_peaks(torch_trace(threads=7), None, fails)
    assert attached(found) == {}
    assert found.warnings[-1].endswith("PyTorch on this machine are not known: no time left")


def product() -> Signature:
    """Of torch.profiler: no outputs."""
    operand = Operand("float32", (200, 200), itemsize=4)
    return Signature("aten::mm", (operand, operand), 2, "+")


def test_an_op_of_torch_is_set_against_the_roofs_of_torch() -> None:
    sig = product()
    cost = count(sig)
    assert cost.flops == 2 * 200**3
    with_torch = replace(PEAKS, torch={"cpu": TORCH_PEAKS})
    assert call_roofs(sig, cost, with_torch).compute_ns == 2 * 200**3 / 80
    assert call_roofs(sig, cost, with_torch).floor_ns == 900
    # The footprint is two matrices that are read, and one that is written and not recorded; what L1 holds is free.
    assert call_roofs(sig, cost, with_torch).memory_ns == (3 * 200 * 200 * 4 - 32_000) / 100
    without = call_roofs(sig, cost, PEAKS)
    assert np.isnan(without.compute_ns)
    assert without.counted


def test_verdicts_of_real_ops_of_torch_are_by_its_roofs() -> None:
    a = seeded(256, 256)
    trace = profiled(lambda: [a @ a for _ in range(5)])
    beyond_any = replace(
        TORCH_PEAKS, gemm_gflops={"float32": exact(1e6)}
    )  # no processor comes above it
    meta = {META_KEY: replace(PEAKS, torch={"cpu": beyond_any}).to_json()}
    parts = op_parts(count_trace(replace(trace, meta=meta)))
    judged = PartRoofs(parts, Peaks.of(replace(trace, meta=meta))).judged(
        np.arange(len(parts)), len(parts)
    )
    names = [trace.strings[i] for i in parts.name_id.tolist()]
    # The profiler numbers its events, in their arguments: that makes no two calls different.
    assert parts.calls[names.index("aten::mm")] == 5
    verdict = VERDICTS[judged.code[names.index("aten::mm")]]
    assert verdict not in (Verdict.UNCOUNTED, Verdict.NO_PEAKS)
    assert judged.compute[names.index("aten::mm")] > 0


def test_where_a_gpu_computed_a_call_on_the_cpu_gets_no_verdict_of_the_cpu() -> None:
    trace = trace_of("mm:5 gemm:5")
    strings = (*trace.strings, "ac2g")
    flows = Flows(*(np.array([value]) for value in (0, 1, len(strings) - 1)))
    both = {"cpu": TORCH_PEAKS, "cuda:0": TORCH_PEAKS}
    meta = {META_KEY: replace(PEAKS, torch=both).to_json()}
    assert set(attached(replace(trace, meta=meta))) == {"cpu", "cuda:0"}
    assert set(attached(replace(trace, meta=meta, strings=strings, flows=flows))) == {"cuda:0"}


def test_facts_of_torch_are_told_without_touching_a_gpu() -> None:
    facts = torch_facts()
    assert facts is not None
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert facts["devices"] == []
