"""HIPS autograd: the work of a gradient, counted by hand, at the lines of the program."""

from __future__ import annotations

from typing import Any

import autograd.core
import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

from tests.contract.recorded import Recorded, record
from tests.cores import CORES
from tinytrace.analysis.op_groups import group_ops
from tinytrace.tracer.records import Kind

X = np.ones((5, 3))
WEIGHTS = [np.full((3, 4), 0.1), np.full((4, 2), 0.2)]


def loss(weights: list[Any]) -> Any:
    hidden = anp.tanh(X @ weights[0])
    out = anp.dot(hidden, weights[1])
    return anp.sum(out * out)


def gradient() -> Any:
    return grad(loss)(WEIGHTS)


@pytest.mark.parametrize("core", CORES)
def test_flops_of_a_gradient_are_those_counted_by_hand(core: str) -> None:
    trace = record(core, gradient)
    flops = {g.op: (g.flops, g.transcendentals) for g in group_ops(trace)}
    # Forward 5×3 @ 3×4; backward the gradient of the first weights, 3×5 @ 5×4. X needs none.
    assert flops["matmul"] == (2 * 5 * 3 * 4 + 2 * 3 * 5 * 4, 0)
    # Forward 5×4 · 4×2; backward 4×5 · 5×2 and 5×2 · 2×4.
    assert flops["dot"] == (2 * 5 * 4 * 2 + 2 * 4 * 5 * 2 + 2 * 5 * 2 * 4, 0)
    assert flops["multiply"] == (10 + 2 * 10, 0)  # out * out; by it, twice, backward
    assert flops["add.reduce"] == (9, 0)
    # tanh forward; backward divided by cosh squared.
    assert (flops["tanh"], flops["cosh"], flops["square"]) == ((0, 20), (0, 20), (20, 0))
    assert flops["divide"] == (20, 0)


@pytest.mark.parametrize("core", CORES)
def test_ops_belong_to_the_lines_of_the_program_and_to_a_pass(core: str) -> None:
    trace = record(core, gradient)
    recorded = Recorded(trace)
    assert {recorded.site(row)[2].rpartition(".")[2] for row in recorded.rows} == {
        "loss",
        "gradient",
    }
    passes = {recorded.name(r): r for r in recorded.rows if trace.spans.kind[r] != Kind.OP}
    assert {name: Kind(int(trace.spans.kind[r])) for name, r in passes.items()} == {
        "forward loss": Kind.FORWARD,
        "backward": Kind.BACKWARD,
    }
    inside = {name: {recorded.name(r) for r in recorded.inside(p)} for name, p in passes.items()}
    assert {"matmul", "tanh", "dot", "multiply", "sum"} == inside["forward loss"]
    assert {"matmul", "cosh", "tensordot", "multiply", "add"} <= inside["backward"]


@pytest.mark.parametrize("core", CORES)
def test_gradients_are_those_without_a_recording_and_nothing_stays(core: str) -> None:
    before = dict(vars(autograd.core))
    plain, found = gradient(), []
    record(core, lambda: found.extend(gradient()))
    assert all(np.array_equal(a, b) for a, b in zip(plain, found, strict=True))
    assert dict(vars(autograd.core)) == before
