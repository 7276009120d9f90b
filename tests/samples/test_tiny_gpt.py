"""The GPT on the framework of the samples: its gradients are right, it learns, and it stays float32."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_gpt
from numpy.typing import NDArray
from teaching import CrossEntropy, Embedding, LayerNorm, Linear, Tensor

SCRIPT = Path(tiny_gpt.__file__)


def loss_of(model: tiny_gpt.GPT, x: NDArray[Any], labels: NDArray[Any]) -> Tensor:
    scores = model(x)
    return CrossEntropy()((scores.reshape(-1, scores.shape[-1]), labels.ravel()))


def test_gradients_agree_with_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("LENGTH", 4), ("WIDTH", 8), ("HEADS", 2)):
        monkeypatch.setattr(tiny_gpt, name, size)
    rng = np.random.default_rng(0)
    model = tiny_gpt.GPT(rng, 5)
    parameters = model.parameters()
    for parameter in parameters:
        parameter.data = parameter.data.astype(np.float64)
    x, labels = rng.integers(0, 5, (2, 4)), rng.integers(0, 5, (2, 4))
    loss_of(model, x, labels).backward()
    assert len(parameters) == 2 * (4 * 2 + 2 * 2 + 2 * 2) + 2 + 2 + 2
    for parameter in parameters:
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape
        for index in {tuple(rng.integers(parameter.shape)) for _ in range(2)}:
            value, h = parameter.data[index], 1e-4
            parameter.data[index] = value + h
            above = float(loss_of(model, x, labels).data)
            parameter.data[index] = value - h
            below = float(loss_of(model, x, labels).data)
            parameter.data[index] = value
            assert parameter.grad[index] == pytest.approx((above - below) / (2 * h), abs=1e-5)


def test_everything_is_float32() -> None:
    rng = np.random.default_rng(0)
    embedding, norm, linear = Embedding(rng, 3, 4), LayerNorm(4), Linear(rng, 4, 2)
    scores = linear(norm(embedding(np.array([0, 2]))))
    loss = CrossEntropy()((scores, np.array([0, 1])))
    loss.backward()
    tensors = [*embedding.parameters(), *norm.parameters(), *linear.parameters()]
    gradients = [t.grad for t in tensors]
    assert {a.dtype for a in [scores.data, *(g for g in gradients if g is not None)]} == {
        np.dtype(np.float32)
    }
    assert all(g is not None for g in gradients)


def test_an_epoch_teaches_it_and_the_same_seed_prints_the_same() -> None:
    command = [sys.executable, str(SCRIPT), "--epochs", "2", "--seed", "5"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert first.stdout == second.stdout
    losses = [float(line.rpartition(" ")[2]) for line in first.stdout.splitlines()]
    assert losses[1] < losses[0] - 0.2
