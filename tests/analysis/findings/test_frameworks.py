"""Rules that go by what was recorded of a framework: each on a program that has it, and on one that has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.analysis.findings.traces import found
from tests.contract.recorded import record
from tests.cores import CORES
from tests.frameworks.recording import anew, framework
from tinytrace.analysis.findings import (
    Finding,
    data_wait,
    dead_gradient,
    float64_leak,
    revisited_graph,
)
from tinytrace.tracer.records import Kind

pytestmark = pytest.mark.usefixtures("anew")
__all__ = ["anew"]


def of(rule: str, program: Callable[[], object]) -> list[Finding]:
    return list(found(rule, record(CORES[0], program)))


def chain(name: str, tensor: str, depth: int) -> Callable[[], None]:
    """A graph in which every node has the one before it twice."""

    def program() -> None:
        nn = framework(name)
        x = getattr(nn, tensor)(np.ones(1), True)
        for _ in range(depth):
            x = x + x if name == "recursive" else x * x
        x.backward()

    return program


def test_nodes_that_are_run_again_are_counted_exactly() -> None:
    [finding] = of(revisited_graph.NAME, chain("recursive", "Tensor", 6))
    # 1 + 2 + … + 32 calls of 6 nodes.
    assert "backward runs the backward of nodes 10.5 times" in finding.title
    assert "63 backward calls of 6 nodes" in finding.evidence[0]
    assert "32 times in one backward pass" in finding.evidence[0]
    assert finding.confidence == "high"
    assert finding.file is not None and finding.file.endswith("autograd.py")


def test_of_a_graph_whose_nodes_are_run_once_nothing_is_said() -> None:
    assert of(revisited_graph.NAME, chain("cleared", "Tensor", 6)) == []


def model(*, with_conv: bool, evaluated: bool = False) -> Callable[[], None]:
    def program() -> None:
        nn = framework("recursive")

        class Net(nn.Layer):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                self.conv, self.fc = nn.Conv(3), nn.Linear(3, 2)

            def forward(self, x: Any) -> Any:
                return self.fc(self.conv(x) if with_conv else x)

        Net.__module__ = nn.layers.__name__
        np.negative(1.0)
        net, loss = Net(), nn.Loss()
        for _ in range(2):
            loss(net(nn.Tensor(np.ones((4, 3))))).backward()
        if evaluated:
            net.conv(nn.Tensor(np.ones((4, 3))))

    return program


def test_a_layer_behind_which_the_graph_is_cut_is_named() -> None:
    [finding] = of(dead_gradient.NAME, model(with_conv=True))
    assert finding.title == "conv gets no gradient"
    assert "conv (Conv) has 1 trainable tensor and ran 2 times" in finding.evidence[0]
    assert finding.evidence[1].endswith("came to fc")
    assert finding.file is not None and finding.file.endswith("layers.py")


@pytest.mark.parametrize("evaluated", [False, True])
def test_layers_that_get_one_or_only_ran_afterwards_are_let_be(evaluated: bool) -> None:
    assert of(dead_gradient.NAME, model(with_conv=False, evaluated=evaluated)) == []


def leaking(scalar: Any) -> Callable[[], None]:
    def program() -> None:
        nn = framework("recursive")

        class Gelu(nn.Layer):  # type: ignore[misc, name-defined]
            def forward(self, x: Any) -> Any:
                np.tanh(scalar * x.data)
                return x

        Gelu.__module__ = nn.layers.__name__
        np.negative(1.0)
        layer = Gelu()
        for _ in range(3):
            layer(nn.Tensor(np.ones((100, 100))))

    return program


def test_the_layer_in_which_float64_came_in_is_named() -> None:
    [finding] = of(float64_leak.NAME, leaking(np.full(100, 0.8)))
    assert "it came in first in the forward of layer Gelu" in finding.evidence
    assert finding.function is not None and finding.function.endswith("forward")


def test_of_a_layer_that_stays_narrow_nothing_is_said() -> None:
    assert of(float64_leak.NAME, leaking(np.full(100, 0.8, np.float32))) == []


def loading(samples: int) -> Callable[[], None]:
    def program() -> None:
        nn = framework("recursive")
        layer, rows = nn.Relu(), np.ones((samples, 2_000), np.float32)
        for batch in nn.Loader(rows, batch_size=samples):
            layer(batch)

    return program


def test_a_loader_that_takes_most_of_the_run_is_named_by_its_spans() -> None:
    trace = record(CORES[0], loading(4_000))  # a tensor of each sample, then one of all
    [finding] = found(data_wait.NAME, trace)
    data = trace.spans.kind == Kind.DATA
    assert finding.ceiling_ns == int(trace.spans.dur_ns[data].sum())
    assert finding.evidence[0].startswith("2 waits take")  # one batch, and the end
    assert finding.function is not None and finding.function.endswith("program")


def test_of_a_program_without_a_loader_nothing_is_said_of_data() -> None:
    assert of(data_wait.NAME, leaking(np.full(100, 0.8, np.float32))) == []
