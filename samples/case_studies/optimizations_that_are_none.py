"""A quantized layer that dequantizes in every call, and a pruned one that multiplies by all its zeros.

    python samples/case_studies/optimizations_that_are_none.py [picture.png]

Both are smaller in a slide, and neither is faster: the verdict says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study import prove

Array = NDArray[np.float32]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((64, 512), dtype=np.float32)
WEIGHT = RANDOM.standard_normal((512, 512), dtype=np.float32)


class Linear:
    """y = x W."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight

    def __call__(self, x: Array) -> Array:
        return x @ self.weight


class Quantized:
    """W as int8 and a scale: a quarter of the bytes, until it is called."""

    def __init__(self, weight: Array) -> None:
        self.scale = np.float32(np.abs(weight).max() / 127)
        self.weight = np.round(weight / self.scale).astype(np.int8)

    def __call__(self, x: Array) -> Array:
        weight: Array = self.weight.astype(np.float32) * self.scale
        return x @ weight


class Pruned(Linear):
    """Nine in ten weights are 0, and are multiplied like the others."""

    def __init__(self, weight: Array) -> None:
        super().__init__(np.where(np.abs(weight) < 1.645, np.float32(0), weight))


if __name__ == "__main__":
    labels = (X @ WEIGHT).argmax(axis=1)
    models: dict[str, Callable[..., Any]] = {
        "float32": Linear(WEIGHT),
        "quantized": Quantized(WEIGHT),
        "90 % pruned": Pruned(WEIGHT),
    }
    prove(models, rounds=40, data=(X, labels))
