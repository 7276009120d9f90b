"""Rules about devices: each fires where it should, and says nothing where it should not."""

from __future__ import annotations

import pytest

from tests.device_events import H100, Event, launched, op, trace_of_events, x
from tests.kineto_files import ALL, loaded
from tinytrace.analysis.findings import Finding, findings
from tinytrace.analysis.findings.registry import OF_DEVICES
from tinytrace.tracer.trace import Trace


def found(trace: Trace, rule: str) -> list[Finding]:
    return [finding for finding in findings(trace) if finding.rule == rule]


def many(n: int, every: float, dur: float, *, late: float = 5) -> list[Event]:
    """Kernels that are launched one after the other, each beginning some us after its launch."""
    return [event for i in range(n) for event in launched("k", i * every, i * every + late, dur)]


def test_many_small_kernels_that_the_host_launches_slowly_are_launch_bound() -> None:
    [finding] = found(trace_of_events(many(50, 20, 2)), "launch-bound device")
    assert finding.ceiling_ns == 49 * 18_000
    assert finding.confidence == "high"
    assert "49 times nothing was queued, half of them for more than 18 us" in finding.evidence[0]


def test_a_device_with_a_full_queue_is_not_launch_bound() -> None:
    queued = [event for i in range(50) for event in launched("k", i * 3, 10 + i * 20, 19)]
    assert found(trace_of_events(queued), "launch-bound device") == []


def test_one_long_pause_is_not_launch_bound() -> None:
    pause = [*many(40, 4, 3, late=3), *launched("k", 5000, 5005, 2)]
    assert found(trace_of_events(pause), "launch-bound device") == []


NCCL = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096>)"


def test_communication_that_nothing_computes_beside_is_exposed() -> None:
    trace = trace_of_events(launched("k", 0, 5, 100), launched(NCCL, 1, 105, 20, stream=20))
    [finding] = found(trace, "exposed communication")
    assert finding.ceiling_ns == 20_000
    assert "ncclDevKernel_AllReduce_Sum_f32_RING_LL" in finding.evidence[1]


def test_communication_beside_kernels_that_compute_is_not_exposed() -> None:
    trace = trace_of_events(launched("k", 0, 5, 100), launched(NCCL, 1, 50, 55, stream=20))
    assert found(trace, "exposed communication") == []


def steps_that_fetch(call: str) -> list[Event]:
    """Ten kernels of 50 us; between them, a call that returns 4 us after each, and a launch 16 us later."""
    events: list[Event] = []
    for i in range(10):
        t = 100.0 * i
        events += launched("k", t, t + 10, 50)
        events += [op("aten::item", t + 5, 60), x(call, "cuda_runtime", t + 6, 58, correlation=-1)]
    return events


def test_a_value_that_is_fetched_in_every_step_stalls_the_device() -> None:
    trace = trace_of_events(steps_that_fetch("cudaStreamSynchronize"))
    [finding] = found(trace, "synchronisation that stalls a device")
    assert finding.title.startswith("aten::item waits for GPU 0")
    assert finding.ceiling_ns == 9 * 50_000
    assert finding.evidence[0].startswith("9 times, 450 us in all")


def test_calls_that_do_not_wait_stall_nothing() -> None:
    trace = trace_of_events(steps_that_fetch("cudaEventQuery"))
    assert found(trace, "synchronisation that stalls a device") == []


@pytest.mark.parametrize(("memory", "n"), [("Pageable", 1), ("Pinned", 0)])
def test_copies_from_pageable_memory_are_found_where_nothing_computes(memory: str, n: int) -> None:
    copy = f"Memcpy HtoD ({memory} -> Device)"
    trace = trace_of_events(
        launched("k", 0, 5, 100), launched(copy, 1, 105, 30, cat="gpu_memcpy", bytes=300_000)
    )
    assert len(found(trace, "copies from pageable memory")) == n
    for finding in found(trace, "copies from pageable memory"):
        assert finding.ceiling_ns == 30_000
        assert finding.evidence[0] == "1 copies, 300 kB in 30 us: 10 GB/s"


def product(kernel: str, *, model: str | None = H100, dtype: str = "float", k: int = 1000) -> Trace:
    """A product of 1,000 x k x 1,000 in a kernel of 1 ms."""
    call = op("aten::mm", 0, 10, [1000, k], [k, 1000], dtype=dtype)
    return trace_of_events(call, launched(kernel, 1, 5, 1000), model=model)


def test_float32_products_without_matrix_units_are_found_by_the_kernel() -> None:
    [finding] = found(product("ampere_sgemm_128x64_nn"), "float32 products on ordinary units")
    # 2e9 FLOPs at 494.7 TFLOP/s
    assert (
        finding.ceiling_ns == 1_000_000 - round(2e9 / 494.7e3) - 1 or finding.ceiling_ns == 995_957
    )
    assert "TF32" in finding.remedy


@pytest.mark.parametrize(
    "trace",
    [
        product("cutlass_80_tensorop_s1688gemm_128x128_16x4_nn_align4"),
        product("ampere_sgemm_128x64_nn", model=None),
        product("ampere_sgemm_128x64_nn", model="NVIDIA X9000"),
    ],
)
def test_matrix_units_and_unknown_devices_are_no_finding(trace: Trace) -> None:
    assert found(trace, "float32 products on ordinary units") == []


def test_rows_that_are_no_multiple_of_16_bytes_are_found_by_the_kernel() -> None:
    trace = product(
        "cutlass_80_tensorop_bf16_s16816gemm_bf16_64x64_tn_align1", dtype="c10::BFloat16", k=999
    )
    [finding] = found(trace, "products of odd sizes")
    assert "sides of 999" in finding.evidence


def test_products_by_kernels_for_full_rows_are_not_of_odd_sizes() -> None:
    trace = product(
        "cutlass_80_tensorop_bf16_s16816gemm_bf16_64x64_tn_align8", dtype="c10::BFloat16", k=999
    )
    assert found(trace, "products of odd sizes") == []


@pytest.mark.parametrize("name", ALL)
def test_no_rule_about_numpy_speaks_of_a_real_trace_of_torch(name: str) -> None:
    assert {finding.rule for finding in findings(loaded(name), min_share=0)} <= set(OF_DEVICES)


def test_what_is_found_in_real_traces() -> None:
    rules = {
        name: [finding.rule for finding in findings(loaded(name))]
        for name in ("hta_diff_control", "hta_nccl", "tracelens_h100_bert_small", "hta_simple_add")
    }
    assert rules == {
        "hta_diff_control": ["exposed communication", "products of odd sizes"],
        "hta_nccl": [
            "launch-bound device", "exposed communication", "synchronisation that stalls a device",
            "float32 products on ordinary units",
        ],
        "tracelens_h100_bert_small": ["launch-bound device"],
        "hta_simple_add": [],
    }  # fmt: skip
