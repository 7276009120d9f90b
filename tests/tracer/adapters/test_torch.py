"""PyTorch recorded: what of a training is in the trace, and that the program is as without us."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.profiler import record_function

import tinytrace as tt
from tests.recorded import Recorded, read
from tests.tracer.adapters.torch_programs import Attention, Model, train
from tinytrace.tracer import torch_profiler
from tinytrace.tracer.records import Flag, Kind


def recorded(program: Callable[[], Any], **options: Any) -> Recorded:
    with tt.trace(**{"sampler": "none", **options}) as recording:
        program()
    assert recording.result is not None
    return read(recording.result)


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """What torch itself leaves in the environment when it is first used is there before the first test."""
    train(steps=1)
    recorded(lambda: None)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return recorded(lambda: train(steps=3))


def test_operations_have_shapes_and_types(training: Recorded) -> None:
    trace = training.trace
    addmm = [s for s in trace.signatures if s.op == "aten::addmm"]
    shapes = {tuple(o.shape for o in s.operands[:3]) for s in addmm}
    assert ((24,), (12, 8), (8, 24)) in shapes
    assert {o.dtype for s in addmm for o in s.operands if o.is_array} == {"float32"}


def test_layers_have_the_path_of_their_module(training: Recorded) -> None:
    layers = Counter(row.name for row in training.rows if row.kind is Kind.LAYER)
    assert layers["Model"] == layers["blocks.0"] == layers["blocks.1.attn.qkv"] == 3
    inside = {(row.parent, row.name) for row in training.rows if row.kind is Kind.LAYER}
    assert ("blocks.1.attn", "blocks.1.attn.qkv") in inside
    [(module,)] = {tuple(r.args.values()) for r in training.named("blocks.1.attn.qkv")}
    assert module == "torch.nn.modules.linear.Linear"


def test_operations_lie_in_the_layer_that_ran_them(training: Recorded) -> None:
    linears = {row.parent for row in training.named("aten::linear")}
    assert linears == {"embed", "head"} | {
        f"blocks.{i}.{name}" for i in (0, 1) for name in ("attn.qkv", "attn.out", "mlp.0", "mlp.2")
    }
    assert {row.flags for row in training.rows} == {Flag(0)}


def test_operations_of_a_module_of_torch_have_the_line_that_called_it(training: Recorded) -> None:
    functions = {row.parent: row.function for row in training.named("aten::linear")}
    assert functions["blocks.0.attn.qkv"] == "Attention.forward"
    assert functions["embed"] == "Model.forward"
    softmax = training.named("aten::softmax")
    assert {row.parent for row in softmax} == {"blocks.0.attn", "blocks.1.attn"}
    site = training.trace.spans.callsite_id[[r.name == "aten::softmax" for r in training.rows]]
    assert set(site.tolist()) == {-1}  # of a line in a module of the program nothing is known


def test_optimizer_and_data_loader_are_there_once(training: Recorded) -> None:
    kinds = Counter(row.kind for row in training.rows)
    assert kinds[Kind.OPTIMIZER] == 3
    assert kinds[Kind.DATA] == 3
    assert {r.name for r in training.rows if r.kind is Kind.OPTIMIZER} == {
        "Optimizer.step#SGD.step"
    }
    assert {r.function for r in training.rows if r.kind is Kind.DATA} == {"train"}


def test_arrows_go_from_forward_to_backward(training: Recorded) -> None:
    flows, rows = training.trace.flows, training.rows
    pairs = Counter(
        (rows[a].name, rows[b].name)
        for a, b in zip(flows.from_span.tolist(), flows.to_span.tolist(), strict=True)
    )
    assert pairs["aten::addmm", "AddmmBackward0"] == 3 * 10
    assert all(
        rows[a].end_ns <= rows[b].start_ns
        for a, b in zip(flows.from_span, flows.to_span, strict=True)
    )


def test_operations_of_the_backward_pass_are_those_of_their_layer(training: Recorded) -> None:
    nodes = [r for r in training.named("blocks.0.mlp.2 backward") if r.kind is Kind.BACKWARD]
    assert {r.args["node"] for r in nodes} >= {"AddmmBackward0", "TBackward0", "ViewBackward0"}
    assert {r.function for r in nodes} == {"Block.forward"}
    rows = [r for r in training.named("aten::mm") if r.parent == "AddmmBackward0"]
    assert len(rows) == 3 * (2 * 10 - 1)  # two products a layer, but none for the pictures
    assert {r.function for r in rows} == {"Attention.forward", "Block.forward", "Model.forward"}


def test_numpy_inside_a_data_set_keeps_its_place(training: Recorded) -> None:
    loads = training.named("aten::stack")
    assert {row.parent for row in loads} >= {
        "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
    }
    assert {row.parent for row in training.named("multiply")} == {
        "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"
    }


def test_it_is_said_what_was_seen_and_how_exact_its_clock_is(training: Recorded) -> None:
    about = training.trace.meta["torch_profiler"]
    assert about["version"] == torch.__version__
    assert about["events"] > 3 * 500
    windows = about["windows_ns"]
    for row in training.named("aten::addmm"):
        assert any(begin_ns < row.start_ns < end_ns for _, begin_ns, end_ns in windows)
    assert about["clock_error_ns"] < 100_000
    assert about["busy_ns"] > 0


def test_operations_lie_in_the_span_around_them() -> None:
    x = torch.ones(8)

    def program() -> None:
        for _ in range(300):
            with tt.span("around"):
                torch.neg(x)

    found = recorded(program)
    assert Counter(row.parent for row in found.named("aten::neg")) == {"around": 300}
    starts = [
        neg.start_ns - around.start_ns
        for neg, around in zip(found.named("aten::neg"), found.named("around"), strict=True)
    ]
    assert 0 <= np.median(starts) < 50_000  # in ns; what Python takes in between


def test_exceptions_travel_and_mark_their_layers() -> None:
    def program() -> None:
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            Model()(torch.ones(2, 6, 3))

    found = recorded(program)
    assert found.one("Model").flags == Flag.RAISED
    assert found.one("embed").flags == Flag.RAISED


def test_a_model_that_is_wrapped_has_the_paths_of_what_is_in_it() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: torch.Tensor) -> Any:
            return self.module(x)

    found = recorded(lambda: Wrapper(Wrapper(Attention(8, 2)))(torch.ones(1, 3, 8)))
    layers = [row.name for row in found.rows if row.kind is Kind.LAYER]
    assert layers == ["Wrapper", "module", "module", "qkv", "out"]


def test_modules_that_come_later_get_their_path() -> None:
    model = nn.Sequential(nn.Linear(2, 2))

    def program() -> None:
        model(torch.ones(1, 2))
        model.append(nn.Tanh())
        model(torch.ones(1, 2))

    layers = [row.name for row in recorded(program).rows if row.kind is Kind.LAYER]
    assert layers == ["Sequential", "0", "Sequential", "0", "1"]


def test_a_mark_of_the_program_is_a_span() -> None:
    def program() -> None:
        with record_function("mine"):
            torch.ones(3) + 1

    found = recorded(program)
    assert found.one("mine").kind is Kind.SPAN
    assert found.one("aten::add").parent == "mine"


# ---- chunks ----


@pytest.fixture
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_profiler, "FIRST_CHUNK_NS", 0)
    monkeypatch.setattr(torch_profiler, "LONGEST_CHUNK_NS", 0)


@pytest.mark.usefixtures("many_chunks")
def test_nothing_is_lost_between_chunks(training: Recorded) -> None:
    found = recorded(lambda: train(steps=3))
    assert len(found.trace.meta["torch_profiler"]["windows_ns"]) >= 6
    whole, cut = (
        Counter(row.name for row in each.rows if row.name.startswith("aten::"))
        for each in (training, found)
    )
    assert cut == whole


@pytest.mark.usefixtures("many_chunks")
def test_only_the_steps_that_are_asked_for_are_recorded() -> None:
    found = recorded(lambda: train(steps=5), steps=(2, 4))
    assert len(found.named("aten::cross_entropy_loss")) == 2
    assert len(found.named("Model")) == 5  # layers are
    steps = found.named("Optimizer.step#SGD.step")
    loss = found.named("aten::cross_entropy_loss")
    assert steps[1].end_ns < loss[0].start_ns < loss[1].start_ns < steps[3].start_ns


@pytest.mark.usefixtures("many_chunks")
def test_chunks_end_where_no_step_and_no_module_ends_them() -> None:
    x = torch.ones(8)

    def program() -> None:
        while len(list(folder.glob("torch-*.clock.json"))) < 3:
            x.neg()
            time.sleep(0.001)  # operations without end would be more than are recorded

    with tt.trace(sampler="none") as recording:
        assert recording._session is not None
        [folder] = [p for p in recording._session.run_folder.iterdir() if p.is_dir()]
        program()
    assert recording.result is not None
    ends = recording.result.meta["torch_profiler"]["windows_ns"]
    assert len(ends) >= 3


def test_steps_that_never_came_are_said() -> None:
    found = recorded(lambda: train(steps=1), steps=(10, 20))
    assert [w for w in found.trace.warnings if "--steps asked for later ones" in w]


@pytest.mark.usefixtures("many_chunks")
def test_a_long_run_is_recorded_up_to_a_bound_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tinytrace.tracer.adapters.torch.DEFAULT_BYTES", 1_000_000)
    found = recorded(lambda: train(steps=12))
    assert 0 < len(found.named("aten::cross_entropy_loss")) < 12
    assert [
        w
        for w in found.trace.warnings
        if w.startswith("operations of torch are recorded until step")
    ]


# ---- the program's own profiler ----


def events_of(profiler: Any) -> dict[str, int]:
    return {e.key: e.count for e in profiler.key_averages() if e.key.startswith("aten::")}


def profiled() -> dict[str, int]:
    with torch.profiler.profile(record_shapes=True) as profiler:
        train(steps=2)
    return events_of(profiler)


def test_the_program_may_use_the_profiler_itself() -> None:
    alone, beside = profiled(), {}

    def program() -> None:
        train(steps=1)
        beside.update(profiled())
        train(steps=1)
        train(steps=1)

    found = recorded(program)
    assert beside == alone
    assert [w for w in found.trace.warnings if "while the program uses torch's profiler" in w]
    assert len(found.named("aten::cross_entropy_loss")) == 3
    assert len(found.named("Model")) == 5


def test_a_recording_inside_of_a_profiled_block_leaves_that_alone() -> None:
    alone, found = profiled(), []

    def program() -> dict[str, int]:
        with torch.profiler.profile(record_shapes=True) as profiler:
            found.append(recorded(lambda: train(steps=2)))
        return events_of(profiler)

    assert program() == alone
    assert [w for w in found[0].trace.warnings if "while the program uses torch's profiler" in w]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_older_profiler_of_torch_may_be_used_too() -> None:
    from torch.autograd import profiler_legacy

    legacy: Any = profiler_legacy

    def program() -> None:
        with legacy.profile() as profiler:
            torch.ones(3) + 1
        assert "aten::add" in {e.name for e in profiler.function_events}

    recorded(program)


def test_a_schedule_of_the_program_is_followed() -> None:
    def scheduled() -> list[dict[str, int]]:
        ready: list[dict[str, int]] = []
        schedule = torch.profiler.schedule(wait=1, warmup=1, active=1, repeat=2)
        with torch.profiler.profile(
            schedule=schedule, acc_events=True, on_trace_ready=lambda p: ready.append(events_of(p))
        ) as p:
            for _ in range(7):
                train(steps=1)
                p.step()
        return ready

    alone, beside = scheduled(), []
    recorded(lambda: beside.extend(scheduled()))
    assert beside == alone
    assert len(alone) == 2


def test_a_program_that_marks_for_other_tools_is_as_without_us() -> None:
    def program() -> None:
        profiler: Any = torch.autograd.profiler
        with profiler.emit_itt(enabled=False):
            torch.ones(3) + 1

    assert recorded(program).named("aten::add")


# ---- where it cannot be recorded ----


def test_a_profiler_that_cannot_be_started_is_said_and_the_program_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no profiler today")

    monkeypatch.setattr(torch.autograd, "_prepare_profiler", fails)
    found = recorded(lambda: train(steps=1))
    assert [w for w in found.trace.warnings if "no profiler today" in w]
    assert found.named("Model")


def test_without_the_compiled_core_it_is_said_that_torch_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TINYTRACE_CORE", "python")
    found = recorded(lambda: train(steps=1))
    assert (
        "the operations of torch are not recorded: that needs the compiled core"
        in found.trace.warnings
    )
    assert not found.named("aten::addmm")


def test_modules_of_other_threads_are_there_and_their_operations_are_not() -> None:
    model = nn.Linear(2, 2)

    def program() -> None:
        thread = threading.Thread(target=model, args=(torch.ones(1, 2),))
        thread.start()
        thread.join()

    found = recorded(program)
    assert found.one("Linear").thread.startswith("Thread-")
    assert not found.named("aten::addmm")
    assert [w for w in found.trace.warnings if "in other threads are not recorded" in w]


# ---- compiled ----


def test_compiling_makes_the_same_graphs() -> None:
    from torch._dynamo.testing import CompileCounter

    def graphs() -> tuple[int, int, Any]:
        torch._dynamo.reset()
        counter = CompileCounter()
        torch.manual_seed(0)
        model, x = Model(), torch.ones(2, 6, 4)
        compiled = torch.compile(model, backend=counter)
        with record_function("around"):
            result = compiled(x)
        return counter.frame_count, counter.op_count, result

    alone = graphs()
    beside: list[tuple[int, int, Any]] = []
    found = recorded(lambda: beside.append(graphs()))
    assert beside[0][:2] == alone[:2]
    assert torch.equal(beside[0][2], alone[2])
    assert found.named("OptimizedModule")
    torch._dynamo.reset()


def test_scripts_traces_and_copies_of_modules_are_as_without_us() -> None:
    import copy

    from torch import fx

    jit: Any = torch.jit
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.ones(2, 4)
    expected = model(x)

    def program() -> list[Any]:
        return [
            jit.script(model)(x), jit.trace(model, (x,))(x), fx.symbolic_trace(model)(x),
            copy.deepcopy(model)(x), nn.DataParallel(model)(x),
        ]  # fmt: skip

    results: list[Any] = []
    recorded(lambda: results.extend(program()))
    assert all(torch.equal(result, expected) for result in results)


def test_a_recording_leaves_torch_as_it_was() -> None:
    before = nn.Module.__call__, record_function.__enter__, torch.autograd.profiler.profile.__exit__
    recorded(lambda: torch.ones(3) + 1)
    after = nn.Module.__call__, record_function.__enter__, torch.autograd.profiler.profile.__exit__
    assert before == after
    assert not torch._C._autograd._profiler_enabled()
