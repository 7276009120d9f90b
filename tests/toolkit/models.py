"""Small models as TinyTorch has them: tensors with ``data``, layers with ``parameters()``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


class Tensor:
    """Numbers with a history, of which nothing is kept here."""

    def __init__(self, data: Any) -> None:
        self.data = np.asarray(data, "f4")
        self.shape = self.data.shape


class Linear:
    """y = x W + b."""

    def __init__(self, width: int, height: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.weight = Tensor(random.standard_normal((width, height)) / 10)
        self.bias = Tensor(np.zeros(height))

    def forward(self, x: Tensor) -> Tensor:
        return Tensor(x.data @ self.weight.data + self.bias.data)

    def parameters(self) -> list[Tensor]:
        return [self.weight, self.bias]


class Network:
    """Two layers and a ReLU between them; called, or by ``forward``."""

    def __init__(self, width: int = 64, hidden: int = 32, classes: int = 10) -> None:
        self.layers = [Linear(width, hidden), Linear(hidden, classes, 1)]

    def __call__(self, x: Tensor) -> Tensor:
        hidden = self.layers[0].forward(x)
        return self.layers[1].forward(Tensor(np.maximum(hidden.data, 0)))

    def parameters(self) -> list[Tensor]:
        return [p for layer in self.layers for p in layer.parameters()]

    def train(self, batches: Iterable[Tensor]) -> None:
        for batch in batches:
            self(batch)


# matmul 2nmk, bias nk, ReLU nk.
def flops_of(samples: int, width: int = 64, hidden: int = 32, classes: int = 10) -> int:
    """What one forward pass of a `Network` computes, by hand."""
    first = 2 * samples * width * hidden + samples * hidden
    second = 2 * samples * hidden * classes + samples * classes
    return first + samples * hidden + second
