"""Counts to be graded by: the same on both recorders, and computed by hand here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contract.recorded import record
from tests.cores import CORES
from tests.frameworks.recording import anew, framework
from tinytrace.analysis.counting import count_trace
from tinytrace.analysis.training_counts import LayerCounts, NodeCounts, Work, training_counts
from tinytrace.tracer.trace import Trace

pytestmark = pytest.mark.usefixtures("anew")
__all__ = ["anew"]
STEPS = 3


def counted(which: str, steps: int = STEPS) -> Any:
    """Train a layer of 3 to 2 on 4 samples."""

    def program() -> None:
        nn = framework("recursive")
        model, loss = nn.Linear(3, 2), nn.Loss()
        optimizer = nn.SGD(model.parameters())
        for x in nn.Loader(np.ones((4 * steps, 3), np.float32), batch_size=4):
            loss(model(x)).backward()
            optimizer.step()
            optimizer.zero_grad()

    return training_counts(count_trace(record(which, program)))


@pytest.mark.parametrize("which", CORES)
def test_calls_of_layers_and_nodes_are_counted(which: str) -> None:
    counts = counted(which)
    assert (counts.layer_calls, counts.batches) == (2 * STEPS, STEPS + 1)  # the last one is the end
    assert (counts.optimizer_steps, counts.backward_passes) == (STEPS, STEPS)
    assert (counts.backward_calls, counts.backward_nodes) == (3 * STEPS, 3 * STEPS)
    assert counts.without_forward == 0
    assert counts.is_complete
    assert counts.nodes == tuple(
        NodeCounts(name, STEPS, STEPS) for name in ("AddBackward", "MatmulBackward", "MeanBackward")
    )


@pytest.mark.parametrize("which", CORES)
def test_the_work_of_a_layer_is_that_of_its_nodes(which: str) -> None:
    layers = {layer.path: layer for layer in counted(which).layers}
    linear = layers["Linear"]
    assert isinstance(linear, LayerCounts)
    assert (linear.cls, linear.trainable, linear.calls, linear.reached) == ("Linear", 2, 3, 6)
    # Forward, per call: (4, 3) @ (3, 2) is 4 · 2 · (2 · 3) FLOPs by the convention of docs/counting.md, the sum
    # with the bias 8; backward two products, (4, 2) @ (2, 3) and (3, 4) @ (4, 2): 48 each.
    assert linear.forward.flops == STEPS * (4 * 2 * 2 * 3 + 8)
    assert linear.backward.flops == STEPS * (4 * 3 * 2 * 2 + 3 * 2 * 2 * 4)
    assert linear.forward.uncounted == 0
    assert (layers["Loss"].trainable, layers["Loss"].reached) == (0, STEPS)


def test_both_recorders_count_alike() -> None:
    one, other = (counted(which) for which in (CORES[0], CORES[-1]))
    assert one == other


def test_a_node_that_is_visited_twice_has_two_calls() -> None:
    def program() -> None:
        nn = framework("recursive")
        x = nn.Tensor(np.ones(1), requires_grad=True)
        y = x + x
        (y + y).backward()

    counts = training_counts(count_trace(record("python", program)))
    assert counts is not None
    assert (counts.backward_nodes, counts.backward_calls) == (2, 3)
    assert counts.nodes == (NodeCounts("AddBackward", 2, 3),)


def test_a_node_that_is_run_in_two_passes_is_two() -> None:
    def program() -> None:
        nn = framework("recursive")
        x = nn.Tensor(np.ones(1), requires_grad=True)
        y = x + x
        y.backward()
        y.backward()

    counts = training_counts(count_trace(record("python", program)))
    assert counts is not None
    assert (counts.backward_nodes, counts.backward_calls) == (2, 2)


def test_without_a_framework_there_are_no_counts() -> None:
    assert training_counts(count_trace(Trace())) is None
    ops_alone = record("python", lambda: np.add(1, 2))
    assert training_counts(count_trace(ops_alone)) is None


def test_where_arrows_are_missing_the_number_of_nodes_is_not_known() -> None:
    from tinytrace.analysis.budget import fit

    def program() -> None:
        nn = framework("recursive")
        x = nn.Tensor(np.ones(1), requires_grad=True)
        for _ in range(500):
            (x + x).backward()

    whole = record("python", program)
    smaller = fit(whole, 60_000)
    counts = training_counts(count_trace(smaller))
    assert counts is not None
    assert counts.backward_nodes is None
    assert not counts.is_complete
    assert (counts.backward_calls, counts.backward_passes) == (500, 500)  # sums are exact
    assert isinstance(counts.work, Work)
