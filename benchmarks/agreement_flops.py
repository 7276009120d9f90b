"""Models whose FLOPs are known: in NumPy, by hand, and in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)
B, N, M, H = 64, 784, 128, 10  # batch, and the widths of the perceptron
IMAGES, C, F, S, K = 4, 3, 8, 16, 3  # pictures, channels in and out, side, side of a kernel
HEADS, LENGTH, WIDTH = 8, 16, 12
EVALUATIONS = HEADS * LENGTH * LENGTH  # of exp, one per pair of positions


@dataclass(frozen=True)
class Case:
    """A model.

    Attributes:
        model: in NumPy; takes nothing.
        by_hand: its FLOPs; a multiply-add is 2, docs/counting.md has all rules.
        in_torch: the same with torch's functions, given ``torch``.
    """

    model: Callable[[], Array]
    by_hand: int
    in_torch: Callable[[Any], object]


def _perceptron() -> Case:
    x, w, v = (
        RANDOM.standard_normal(shape, dtype=np.float32) for shape in ((B, N), (N, M), (M, H))
    )
    b, c = np.zeros(M, np.float32), np.zeros(H, np.float32)

    def model() -> Array:
        return np.maximum(x @ w + b, 0) @ v + c

    def in_torch(torch: Any) -> object:
        layers = [torch.nn.Linear(N, M), torch.nn.ReLU(), torch.nn.Linear(M, H)]
        return torch.nn.Sequential(*layers)(torch.from_numpy(x))

    # Two products, two biases and a ReLU between them.
    return Case(model, 2 * B * N * M + 2 * B * M + 2 * B * M * H + B * H, in_torch)


def _convolution() -> Case:
    x = RANDOM.standard_normal((IMAGES, C, S, S), dtype=np.float32)
    w = RANDOM.standard_normal((F, C, K, K), dtype=np.float32)

    def model() -> Array:
        # By slices: np.pad and sliding_window_view compute a little themselves.
        padded = np.zeros((IMAGES, C, S + 2, S + 2), np.float32)
        padded[:, :, 1:-1, 1:-1] = x
        shifted = [padded[:, :, i : i + S, j : j + S] for i in range(K) for j in range(K)]
        columns = np.stack(shifted, 2).transpose(0, 3, 4, 1, 2).reshape(-1, C * K * K)
        return columns @ w.reshape(F, -1).T

    def in_torch(torch: Any) -> object:
        return torch.nn.Conv2d(C, F, K, padding=1, bias=False)(torch.from_numpy(x))

    return Case(model, 2 * IMAGES * S * S * C * K * K * F, in_torch)


def _attention() -> Case:
    q, k, v = (RANDOM.standard_normal((HEADS, LENGTH, WIDTH), dtype=np.float32) for _ in range(3))

    def model() -> Array:
        scores = q @ k.swapaxes(1, 2)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.asarray(weights @ v)

    def in_torch(torch: Any) -> object:
        queries, keys, values = map(torch.from_numpy, (q, k, v))
        return torch.softmax(queries @ keys.transpose(1, 2), -1) @ values

    # Two products; per row of scores its maximum and its sum; per score one subtraction and one division.
    products = 2 * (2 * HEADS * LENGTH * LENGTH * WIDTH)
    rows = 2 * HEADS * LENGTH * (LENGTH - 1)
    return Case(model, products + rows + 2 * EVALUATIONS, in_torch)


CASES = {"perceptron": _perceptron(), "convolution": _convolution(), "attention": _attention()}


def torch_flops(case: Case) -> int:
    """Count by `torch.utils.flop_counter` what the model computes in torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counted:
        case.in_torch(torch)
    return int(counted.get_total_flops())
