"""What `agreement.py` measures by several programs: functions, and what fills memory when run as a script."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_RANDOM = np.random.default_rng(0)
_X = _RANDOM.standard_normal((256, 512), dtype=np.float32)
_W = _RANDOM.standard_normal((512, 256), dtype=np.float32)


def python_loop() -> int:
    """Nothing but Python, some 200 µs."""
    total = 0
    for i in range(4_000):
        total += i & 3
    return total


def elementwise() -> Array:
    """Three passes over half a megabyte."""
    return np.sqrt(_X * _X + np.float32(1))


def product() -> Array:
    """One product of matrices, 67 MFLOP."""
    return _X @ _W


def temporaries() -> float:
    """Arrays of 40 MB that come and go: three at a time at most."""
    total = 0.0
    for seed in range(3):
        x = np.full(5_000_000, float(seed))
        y = x * 2 + 1
        total += float(y[-1])
    return total


def training() -> float:
    """Steps of a perceptron with Adam: weights, gradients and moments stay, activations come and go."""
    weights = [_RANDOM.standard_normal((1024, 1024)) / 32 for _ in range(3)]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    x = _RANDOM.standard_normal((512, 1024))
    for _ in range(2):
        kept = [x]
        for w in weights:
            kept.append(np.maximum(kept[-1] @ w, 0))
        flowing = kept[-1] / len(x)
        for i in reversed(range(len(weights))):
            gradient = kept[i].T @ flowing
            flowing = (flowing @ weights[i].T) * (kept[i] > 0)
            first, second = moments[i]
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient * gradient - second)
            weights[i] -= 0.001 * first / (np.sqrt(second) + 1e-8)
    return float(flowing.sum())


def growing() -> int:
    """A list of arrays that is doubled by `concatenate` again and again."""
    everything = np.zeros((1000, 256))
    for _ in range(7):
        everything = np.concatenate([everything, everything])
    return len(everything)


FILLS_MEMORY: dict[str, Callable[[], object]] = {
    "temporaries": temporaries,
    "training": training,
    "growing": growing,
}


def main(name: str) -> None:
    """Print the peak of array bytes of one of them, by `MemoryTracker`."""
    from tinytrace import MemoryTracker

    _ = _X @ _W  # OpenBLAS takes its work space with the first product, and keeps it
    with MemoryTracker() as tracker:
        FILLS_MEMORY[name]()
    print(tracker.array_peak_bytes)


if __name__ == "__main__":
    main(sys.argv[1])
