"""Launches and kernels, forward and backward, ops and Python: what belongs together in a trace of torch.profiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.device_events import Event, launched, op, trace_of_events, x
from tests.kineto_files import ALL, WITH_DEVICES, device_events, facts, launches, loaded
from tinytrace.analysis.device_work import Sort, device_work
from tinytrace.analysis.places import site
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace


def python(name: str, ts: float, dur: float, **more: Any) -> Event:
    return x(name, "python_function", ts, dur, **more)


def sites(trace: Trace) -> dict[str, str | None]:
    """Name of each op and kernel → its call site."""
    spans = trace.spans
    return {
        trace.strings[n]: site(trace, int(c))
        for n, c, k in zip(spans.name_id, spans.callsite_id, spans.kind, strict=True)
        if k == Kind.OP
    }


def arrows(trace: Trace, kind: str) -> list[tuple[str, str]]:
    names = [trace.strings[i] for i in trace.spans.name_id]
    flows = trace.flows
    return [
        (names[a], names[b])
        for a, b, k in zip(flows.from_span, flows.to_span, flows.kind_id, strict=True)
        if trace.strings[k] == kind
    ]


def test_an_op_and_its_kernels_are_called_from_the_innermost_function_outside_of_torch() -> None:
    trace = trace_of_events(
        python("train.py(12): main", 0, 100),
        python("model.py(40): forward", 5, 90),
        python("torch/nn/modules/linear.py(124): forward", 10, 50),
        python("<built-in function linear>", 11, 45),
        op("aten::linear", 12, 40),
        launched("gemm", 20, 60, 5),
    )
    assert sites(trace) == {
        "aten::linear": "model.py:40 forward", "gemm": "model.py:40 forward",
    }  # fmt: skip
    assert arrows(trace, "ac2g") == [("cudaLaunchKernel", "gemm")]


def test_a_kernel_that_python_launches_without_an_op_has_its_function() -> None:
    trace = trace_of_events(python("triton.py(3): run", 0, 50), launched("fused", 20, 60, 5))
    assert sites(trace) == {"fused": "triton.py:3 run"}


def test_where_there_is_nothing_but_torch_its_innermost_function_is_the_place() -> None:
    trace = trace_of_events(python("torch/optim/adam.py(200): step", 0, 50), op("aten::mul", 10, 5))
    assert sites(trace) == {"aten::mul": "adam.py:200 step"}


def test_modules_are_layers() -> None:
    trace = trace_of_events(python("nn.Module: Linear_3", 0, 50), op("aten::mm", 10, 5))
    assert trace.spans.kind.tolist() == [Kind.LAYER, Kind.OP]


FORWARD: dict[str, Any] = {"Sequence number": 7, "Fwd thread id": 0}
BACKWARD: dict[str, Any] = {"Sequence number": 7, "Fwd thread id": 1}


def test_a_backward_op_and_its_kernels_have_the_place_of_the_forward_op() -> None:
    trace = trace_of_events(
        python("model.py(40): forward", 0, 50),
        op("aten::view", 5, 2, **FORWARD),  # makes no node: the next op has the number, too
        op("aten::mm", 10, 20, **FORWARD),
        op("autograd::engine::evaluate_function: MmBackward0", 100, 50, **BACKWARD) | {"tid": 2},
        op("MmBackward0", 101, 48, **BACKWARD) | {"tid": 2},
        op("aten::t", 102, 5) | {"tid": 2},
    )
    assert set(sites(trace).values()) == {"model.py:40 forward"}
    assert arrows(trace, "fwdbwd") == [
        ("aten::mm", "autograd::engine::evaluate_function: MmBackward0")
    ]


def test_where_two_threads_have_a_number_nothing_is_tied_to_it() -> None:
    trace = trace_of_events(
        op("aten::mm", 10, 20, **FORWARD),
        op("aten::mm", 10, 20, **FORWARD) | {"tid": 5},
        op("MmBackward0", 100, 50, **BACKWARD) | {"tid": 2},
    )
    assert arrows(trace, "fwdbwd") == []


def test_work_belongs_to_the_step_of_its_launch_and_to_none_without_it() -> None:
    late = launched("late", 60, 150, 5)
    trace = trace_of_events(
        x("ProfilerStep#3", "user_annotation", 50, 50),
        x("ProfilerStep#4", "user_annotation", 100, 100),
        late,
        launched("lost", 60, 160, 5)[1:],
    )
    step = {
        trace.strings[n]: int(s) for n, s in zip(trace.spans.name_id, trace.spans.step, strict=True)
    }
    assert (step["late"], step["lost"]) == (3, -1)
    assert any(w.startswith("what started 1 kernels and copies is not") for w in trace.warnings)


def test_all_kernels_of_a_graph_are_started_by_its_one_launch() -> None:
    first = launched("a", 0, 10, 5)
    second = {**first[1], "name": "b", "ts": 20, "args": dict(first[1]["args"])}
    trace = trace_of_events(first, second)
    assert arrows(trace, "ac2g") == [("cudaLaunchKernel", "a"), ("cudaLaunchKernel", "b")]


@pytest.mark.parametrize("name", WITH_DEVICES)
def test_each_real_kernel_with_a_recorded_launch_is_tied_to_it(name: str) -> None:
    trace, work = loaded(name), device_work(loaded(name))
    assert work is not None
    started_by = launches(name)
    kernels = sum(
        e.category == "kernel" and e.args["correlation"] in started_by for e in device_events(name)
    )
    assert int(((work.launch >= 0) & (work.sort <= Sort.COMMUNICATION)).sum()) == kernels > 0
    late = trace.spans.start_ns[work.launch] > work.start_ns
    assert not late[work.launch >= 0].any()


@pytest.mark.parametrize("name", ["hta_nccl", "hta_ns_resolution_rank-0", "hta_sampled_rank-0"])
def test_real_backward_ops_are_tied_to_the_last_forward_op_with_their_number(name: str) -> None:
    forward, backward = facts(name).forward, facts(name).backward
    expected = sorted((forward[n][1], backward[n][1]) for n in backward if n in forward)
    found = arrows(loaded(name), "fwdbwd")
    if name == "hta_sampled_rank-0":  # without arrows in the file: these are ours
        assert sorted(found) == expected
    else:
        assert len(found) == len(expected) > 100


@pytest.mark.parametrize("name", ALL)
def test_what_a_real_file_says_of_its_job_is_kept(name: str) -> None:
    assert loaded(name).meta["foreign"]["header"] == facts(name).header


def test_memory_of_a_device_becomes_counters() -> None:
    trace = loaded("tracelens_h100_bert_small")
    told = [e for e in facts("tracelens_h100_bert_small").memory if e["Device Type"] == 1]
    name = [trace.strings[i] for i in trace.series.name_id].index("device_allocated_mb")
    mine = trace.counters.series_id == name
    assert int(mine.sum()) == len(told)
    assert float(trace.counters.value[mine].max()) == max(e["Total Allocated"] for e in told) / 1e6
    assert trace.strings[trace.series.unit_id[name]] == "MB"
    gpu = trace.processes.name_id[trace.series.process[name]]
    assert trace.strings[gpu] == "GPU 0"
    assert np.isin(["device_reserved_mb"], [trace.strings[i] for i in trace.series.name_id]).all()
