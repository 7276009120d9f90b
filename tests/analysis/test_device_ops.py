"""Ops by the time of their kernels: on real traces against plain loops, verdicts by hand-computed nominal roofs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.device_events import H100, Event, launched, op, trace_of_events, x
from tests.kineto_files import ALL, WITH_DEVICES, device_events, facts, loaded
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.datasheets import nominal_roofs
from tinytrace.analysis.device_memory import device_memory
from tinytrace.analysis.device_ops import launched_parts
from tinytrace.analysis.device_report import DeviceReport, device_report
from tinytrace.analysis.device_tables import DeviceOpRow
from tinytrace.analysis.device_words import account_notes
from tinytrace.analysis.device_work import device_work
from tinytrace.analysis.op_groups import By, group_ops
from tinytrace.analysis.peaks import Level, Peak, Peaks
from tinytrace.analysis.roofline import Verdict
from tinytrace.analysis.step_finding import find_steps
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


def report(trace: Trace, by: By = "op", top: int = 1000) -> DeviceReport:
    found = device_report(count_trace(trace), find_steps(trace), by=by, top=top)
    assert found is not None
    return found


def ops(trace: Trace, by: By = "op") -> dict[str | None, DeviceOpRow]:
    [section] = report(trace, by).sections
    return {row.label: row for row in section.ops}


@pytest.mark.parametrize("name", WITH_DEVICES)
def test_kernels_of_real_traces_have_the_time_and_number_of_their_events(name: str) -> None:
    expected: dict[str, list[int]] = {}
    for event in device_events(name):
        expected.setdefault(event.name, []).append(event.dur_ns)
    [section] = report(loaded(name)).sections
    assert {row.name: row.calls for row in section.kernels} == {
        k: len(v) for k, v in expected.items()
    }
    if name not in {
        "hta_diff_test",
        "hta_ns_resolution_rank-0",
    }:  # of which the reader cuts some ends
        assert {row.name: row.device_ns for row in section.kernels} == {
            k: sum(v) for k, v in expected.items()
        }


@pytest.mark.parametrize("name", WITH_DEVICES)
def test_work_of_real_ops_and_work_without_an_op_make_up_all_work(name: str) -> None:
    trace, work = loaded(name), device_work(loaded(name))
    assert work is not None
    parts = launched_parts(count_trace(trace), work)
    without = work.op < 0
    assert int(parts.device_ns.sum() + work.dur_ns[without].sum()) == int(work.dur_ns.sum())
    assert int(parts.pieces.sum() + without.sum()) == len(work)
    assert int(parts.calls.sum()) == len(np.unique(work.op[~without]))


def test_a_primitive_has_the_kernels_of_what_is_inside_it_and_each_is_in_one_op() -> None:
    shapes = [[64], [32, 16], [16, 64]]
    trace = trace_of_events(
        op("aten::linear", 0, 60),
        op("aten::addmm", 5, 50, *shapes, others=("1", "1")),
        op("aten::copy_", 10, 10),
        launched("copy", 12, 70, 3),
        launched("gemm", 30, 80, 7),
    )
    [(name, row)] = ops(trace).items()
    assert (name, row.device_ns, row.pieces, row.calls, row.host_ns) == (
        "aten::addmm", 10_000, 2, 1, 50_000,
    )  # fmt: skip
    assert row.flops == 2 * 32 * 16 * 64 + 32 * 64


def product(us: float, *, model: str | None = H100, kernel: str = "sm90_xmma_gemm_bf16") -> Trace:
    """A product of 4096 x 4096 x 4096 in bfloat16: 137.4 GFLOP, 100.7 MB."""
    call = op("aten::mm", 0, 10, [4096, 4096], [4096, 4096], dtype="c10::BFloat16")
    return trace_of_events(call, launched(kernel, 1, 20, us), model=model)


def test_a_product_is_judged_by_the_matrix_units_of_its_dtype() -> None:
    row = ops(product(200))["aten::mm"]
    flops, moved = 2 * 4096**3, 3 * 4096**2 * 2
    assert row.tflops == pytest.approx(flops / 200e-6 / 1e12)
    assert row.judgement.compute_percent == pytest.approx(100 * flops / 200e-6 / 989.4e12)
    assert row.judgement.memory_percent == pytest.approx(100 * moved / 200e-6 / 3350e9)
    assert row.judgement.verdict is Verdict.COMPUTE


def test_what_is_faster_than_a_nominal_roof_is_no_result() -> None:
    row = ops(product(100))["aten::mm"]  # 1,374 TFLOP/s of 989
    assert row.judgement.verdict is Verdict.VIOLATION
    assert row.judgement.roof_percent is None


@pytest.mark.parametrize("model", [None, "NVIDIA X9000"])
def test_a_device_that_no_datasheet_is_known_of_gets_no_verdict(model: str | None) -> None:
    found = report(product(200, model=model))
    assert found.sections[0].roofs is None
    assert found.sections[0].ops[0].judgement.verdict is Verdict.NO_PEAKS
    assert found.sections[0].ops[0].judgement.roof_percent is None
    assert found.sections[0].ops[0].tflops is not None


def test_an_elementwise_op_is_memory_bound_and_a_tiny_one_overhead_bound() -> None:
    large = op("aten::add", 0, 10, [1 << 26], [1 << 26], others=("1",))
    small = op("aten::mul", 20, 10, [16], [16])
    trace = trace_of_events(
        large, launched("add", 1, 30, 300), small, launched("mul", 21, 400, 2), model=H100
    )
    found = ops(trace)
    # 3 x 4 x 2^26 bytes in 300 us are 2,684 GB/s: 80.1 %
    assert found["aten::add"].judgement.verdict is Verdict.SATURATED
    assert found["aten::add"].judgement.label == "saturated (DRAM)"
    assert found["aten::add"].gbps == pytest.approx(12 * 2**26 / 300_000)
    assert found["aten::mul"].judgement.verdict is Verdict.OVERHEAD


def test_copies_to_and_from_the_host_are_not_judged_by_the_memory_of_the_device() -> None:
    call = op("aten::copy_", 0, 10, [1 << 20], [1 << 20], others=("False",))
    copy = launched("Memcpy HtoD (Pinned -> Device)", 1, 20, 400, cat="gpu_memcpy")
    row = ops(trace_of_events(call, copy, model=H100))["aten::copy_"]
    assert row.judgement.verdict is Verdict.NO_PEAKS


def test_ops_in_groups_by_layer_step_and_place() -> None:
    events: list[Event] = []
    for i in range(2):
        t = 1000 * i
        events += [
            x(f"ProfilerStep#{i}", "user_annotation", t, 900),
            x("model.py(4): forward", "python_function", t + 5, 500),
            x("nn.Module: Linear_0", "python_function", t + 10, 400),
            x("torch/nn/modules/linear.py(124): forward", "python_function", t + 12, 380),
            op("aten::mm", t + 20, 20),
            *launched("gemm", t + 25, t + 60, 10 + i),
        ]
    trace = trace_of_events(events)
    assert {k: v.device_ns for k, v in ops(trace, "step").items()} == {"0": 10_000, "1": 11_000}
    assert list(ops(trace, "layer")) == ["nn.Module: Linear_0"]
    assert list(ops(trace, "callsite")) == ["model.py:4 forward"]


def test_in_the_tables_of_the_host_kernels_are_no_ops_and_their_launch_is_no_work() -> None:
    host = {row.op: row for row in group_ops(product(200))}
    assert list(host) == ["aten::mm"]
    assert host["aten::mm"].only_outer
    assert host["aten::mm"].gflops is None


@pytest.mark.parametrize("name", ALL)
def test_figures_of_real_traces_break_no_roof_silently(name: str) -> None:
    trace = loaded(name)
    found = device_report(count_trace(trace), find_steps(trace), top=1000)
    rows = [row for s in (found.sections if found else ()) for row in s.ops]
    assert bool(rows) == (name in WITH_DEVICES)
    assert all((row.judgement.roof_percent or 0) <= 105 for row in rows)


def test_what_is_known_of_the_flops_of_real_traces() -> None:
    """Shapes of Qwen 0.5B: 24 blocks, width 1024, 16 x 559 tokens, vocabulary of 151,936 for the last ones."""
    rows = ops(loaded("tracelens_h100_qwen"))
    tokens, width, hidden = 16 * 559, 1024, 2816
    per_block = 2 * tokens * width * (width + 3 * hidden)  # output, gate, up, down
    qkv = 2 * tokens * width * 3 * width + 3 * tokens * width  # with bias
    assert rows["aten::mm"].flops == 24 * per_block
    assert rows["aten::addmm"].flops == 24 * qkv


def test_steps_of_real_traces_have_the_work_that_they_launched() -> None:
    trace, work = loaded("hta_diff_control"), device_work(loaded("hta_diff_control"))
    assert work is not None
    spans = trace.spans
    steps = spans.step[np.flatnonzero(spans.kind == Kind.STEP)]
    found = {int(s): int(work.dur_ns[spans.step[work.row] == s].sum()) for s in steps}
    launch = facts("hta_diff_control").launches
    bounds = sorted(
        (int(spans.start_ns[r]), int(spans.start_ns[r] + spans.dur_ns[r]), int(spans.step[r]))
        for r in np.flatnonzero(spans.kind == Kind.STEP)
    )
    expected = dict.fromkeys(found, 0)
    for event in device_events("hta_diff_control"):
        at = launch[event.args["correlation"]].start_ns
        for start, end, step in bounds:
            if start <= at < end:
                expected[step] += event.dur_ns
    assert found == expected


def test_the_peak_of_device_memory_is_that_of_the_events() -> None:
    told = [e for e in facts("tracelens_h100_bert_small").memory if e["Device Type"] == 1]
    [memory] = device_memory(loaded("tracelens_h100_bert_small"))
    assert memory.peak_bytes == max(e["Total Allocated"] for e in told)
    assert memory.reserved_bytes == max(e["Total Reserved"] for e in told)
    assert (memory.label, memory.events) == ("GPU 0", len(told))


def test_the_job_of_a_rank_is_told() -> None:
    found = report(loaded("hta_sampled_rank-1"))
    assert (found.rank, found.world_size, found.backend) == (1, 128, "nccl")


@pytest.mark.parametrize(
    ("model", "gbps"),
    [
        ("Tesla V100-SXM2-16GB", 900), ("NVIDIA A100-PG509-200", 1555), ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100 80GB PCIe", 1935), ("NVIDIA H100 PCIe", 2039), ("NVIDIA H200", 4800),
        ("NVIDIA B200", 8000), ("AMD Instinct MI300X VF", 5300), ("Tesla T4", 320),
        ("NVIDIA GeForce RTX 4090", 1008), ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H200 NVL", None), ("", None),
    ],
)  # fmt: skip
def test_roofs_are_those_of_the_very_product(model: str, gbps: float | None) -> None:
    found = nominal_roofs(model)
    assert (None if found is None else found.gbps) == gbps


def test_roofs_that_were_measured_on_the_device_come_before_nominal_ones() -> None:
    roof = {
        name: Peak(value, value, value, 3)
        for name, value in (("bfloat16", 700e3), ("DRAM", 3000.0))
    }
    gpu = Peaks(
        "", {}, "2026-01-01T00:00:00Z", False, 1, gemm_gflops={"bfloat16": roof["bfloat16"]},
        levels=(Level("DRAM", None, roof["DRAM"], True),),
    )  # fmt: skip
    peaks = replace(Peaks("", {}, "2026-01-01T00:00:00Z", False, 1), torch={"cuda:0": gpu})
    trace = product(250)
    trace = replace(trace, meta={**trace.meta, "peaks": peaks.to_json()})
    [section] = report(trace).sections
    assert section.roofs is not None
    assert (section.roofs.measured, section.roofs.gbps) == (True, 3000)
    judged = section.ops[0].judgement
    assert judged.compute_percent == pytest.approx(100 * 2 * 4096**3 / 250e-6 / 700e12)
    assert not any("NOMINAL" in note for note in account_notes(section))
