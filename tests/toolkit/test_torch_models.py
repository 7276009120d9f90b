"""Models of PyTorch: counted, measured, compared; with the real torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (as all of PyTorch's own examples)
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import tinytrace as tt
from tests.torch_profiles import profiled, seeded
from tinytrace.analysis.counting import count_trace
from tinytrace.errors import UsageError
from tinytrace.toolkit.torch_memory import tensor_rise_bytes
from tinytrace.toolkit.torch_ops import dispatched_ops, synchronized

BATCH = seeded(2, 4, 8, 8)


class Block(nn.Module):
    """Attention over a sequence, and a layer of its own."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(x, x, x, need_weights=False)
        result: torch.Tensor = self.norm(x + attended)
        return result


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10), nn.Softmax(1)
    )


def test_a_network_is_counted_layer_by_layer() -> None:
    found = tt.count_flops(network(), BATCH)
    convolution = 2 * 2 * 36 * 9 * 8 * 4 + 2 * 8 * 36
    linear = 2 * 2 * 288 * 10 + 2 * 10
    softmax = 4 * 20 - 2 * 2
    assert found.by_layer == {"0": convolution, "3": linear, "1": 2 * 288, "4": softmax}
    assert found.by_op["aten::convolution"] == convolution
    assert found == convolution + linear + 2 * 288 + softmax
    assert found.transcendentals == 20
    assert (found.uncounted, found.coverage) == ({}, 1.0)
    assert str(found).endswith("kFLOPs")


def test_layers_inside_layers_have_their_path() -> None:
    model = nn.ModuleDict({"encoder": nn.Sequential(Block(), Block())})
    x = seeded(1, 6, 16)
    found = tt.count_flops(lambda: model["encoder"](x))
    assert "Sequential.1.norm" in found.by_layer
    assert tt.count_flops(model["encoder"], x).by_layer["1.norm"] == 5 * 6 * 16


def test_a_backward_pass_in_the_call_is_counted_with_it() -> None:
    layer = nn.Linear(8, 4, bias=False)
    x = seeded(3, 8)
    forward = 2 * 3 * 8 * 4
    found = tt.count_flops(lambda: torch.autograd.backward(layer(x).sum()))
    assert found.by_op["aten::mm"] == 2 * forward  # the product, and the gradient of the weight
    with torch.no_grad():
        assert tt.count_flops(layer, x) == forward


def test_numpy_and_torch_in_one_model_are_added_up() -> None:
    w = np.ones((8, 4))

    def model(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x @ w).relu()

    found = tt.count_flops(model, np.ones((3, 8)))
    assert found.by_op == {"matmul": 2 * 3 * 8 * 4, "aten::relu": 12}


def test_an_op_without_a_formula_is_named_and_not_counted_as_nothing() -> None:
    found = tt.count_flops(lambda x: torch.linalg.eig(x @ x), seeded(4, 4))
    assert found == 2 * 4**3
    assert found.uncounted == {"aten::linalg_eig": 1}
    assert "at least" in str(found)


def test_the_same_memory_is_read_once() -> None:
    x = seeded(100)
    assert tt.count_flops(lambda: x * x).bytes == 2 * 400
    assert tt.count_flops(lambda: x * x.clone()).bytes == (2 + 3) * 400


def test_products_of_sparse_and_nested_tensors_are_not_taken_for_dense_ones() -> None:
    x, w = seeded(4, 4), seeded(4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls them a prototype
        sparse = x.to_sparse_csr()
        nested = torch.nested.nested_tensor([x, x])
    found = tt.count_flops(lambda: sparse @ w)
    assert (found, found.uncounted) == (0, {"aten::mm": 1})
    found = tt.count_flops(nn.Linear(4, 4), nested)
    assert found == 0
    assert "aten::linear" in found.uncounted


@pytest.mark.parametrize("way", ["inference", "autocast", "vmap", "meta", "checkpoint"])
def test_a_layer_is_counted_however_it_is_run(way: str) -> None:
    layer, x = nn.Linear(8, 4), seeded(3, 8)
    run: dict[str, Callable[[], object]] = {
        "inference": lambda: torch.inference_mode()(layer)(x),
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16)(layer)(x),
        "vmap": lambda: torch.vmap(layer)(x),
        "meta": lambda: nn.Linear(8, 4, device="meta")(x.to("meta")),
        "checkpoint": lambda: checkpoint(layer, x, use_reentrant=False),
    }
    assert tt.count_flops(run[way]) == 2 * 3 * 8 * 4 + 12


def test_counting_draws_no_random_numbers_of_the_program() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    tt.count_flops(torch.relu, BATCH)
    assert torch.equal(torch.rand(2), expected)


def test_count_flops_inside_a_recording_counts_torch_as_well() -> None:
    layer = nn.Linear(8, 4)
    with tt.Profiler():
        assert tt.count_flops(layer, seeded(3, 8)) == 2 * 3 * 8 * 4 + 12


def test_no_hook_and_no_mode_is_left_even_where_the_model_raises() -> None:
    model = nn.Linear(8, 4)
    with pytest.raises(RuntimeError):
        tt.count_flops(model, seeded(3, 9))
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    with dispatched_ops(model) as ops:
        pass
    model(seeded(3, 8))
    assert ops == []


def test_a_model_that_ran_nothing_says_so() -> None:
    with pytest.raises(UsageError, match="NumPy or PyTorch"):
        tt.count_flops(lambda: None)


@pytest.mark.parametrize("model", [network()[:1], nn.Linear(8, 3, bias=False)])
def test_products_agree_with_the_counter_of_torch(model: nn.Module) -> None:
    x = BATCH
    bias = 2 * 8 * 36 if isinstance(model, nn.Sequential) else 0
    with FlopCounterMode(display=False) as theirs:
        model(x)
    assert tt.count_flops(model, x) == theirs.get_total_flops() + bias


def test_what_is_dispatched_costs_what_the_profiler_saw() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.GELU(), nn.BatchNorm2d(8), nn.Flatten())
    target = torch.tensor([1, 2])

    def step() -> None:
        torch.autograd.backward(F.cross_entropy(model(BATCH), target))

    step()
    counts = count_trace(profiled(step))
    found = tt.count_flops(step)
    assert found == counts.total("flops")
    # The profiler does not tell which inputs are the same memory, and writes of casts inside are theirs alone.
    assert abs(found.bytes - counts.total("bytes")) <= 0.05 * found.bytes


def test_parameters_are_those_of_torch() -> None:
    model = Block()
    assert tt.count_parameters(model) == sum(p.numel() for p in model.parameters())
    tied = nn.Sequential(model.norm, model.norm)
    assert tt.count_parameters(tied) == 32


def test_memory_is_that_of_the_tensors_alive_together() -> None:
    x = seeded(1000)

    def chain() -> torch.Tensor:
        return x.add(1).mul(2).sum()  # two of the three are alive together

    assert tensor_rise_bytes(chain) == 2 * 4000
    assert tensor_rise_bytes(lambda: x.add_(1)) == 0
    assert tensor_rise_bytes(lambda: x.view(10, 100)) == 0
    layers = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU())
    rows = x.view(10, 100)
    with torch.no_grad():  # each layer's input and output
        assert tensor_rise_bytes(lambda: layers(rows)) == 2 * 4000
    assert tensor_rise_bytes(lambda: layers(rows)) == 3 * 4000  # and what the gradients need


def test_a_model_is_measured_and_compared() -> None:
    model = nn.Linear(64, 10)
    data, labels = seeded(8, 64), torch.zeros(8, dtype=torch.int64)
    measured = tt.measure_performance(model, data, accuracy=(data, labels), rounds=6)
    assert measured.flops is not None
    assert measured.flops == 2 * 8 * 64 * 10 + 80
    assert measured.flops.by_layer == {"": measured.flops}
    assert measured.parameters == 650
    assert measured.memory == pytest.approx((650 * 4 + 320) / 1e6)
    assert 0 <= measured.accuracy <= 1
    assert measured.batch == 8
    assert tt.measure_performance(model, rounds=6).inputs.startswith("made up: float32 (1, 64)")
    against = tt.compare(measured, nn.Linear(64, 10), data, rounds=6)
    assert against.memory_reduction.value == pytest.approx(1)


def test_a_call_on_a_gpu_ends_when_the_gpu_has_ended() -> None:
    log: list[str] = []
    waited = synchronized(lambda: log.append("launch"), lambda: True, lambda: log.append("wait"))
    waited()
    assert log == ["launch", "wait"]

    def call() -> None:
        """Use no GPU."""

    assert synchronized(call, lambda: False) is call
