"""One NumPy scalar that makes everything twice as wide, and a power that could be products.

python samples/case_studies/hidden_float64.py [picture.png]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from study import investigate

X = np.random.default_rng(0).standard_normal((256, 1024), dtype=np.float32)
WIDE = np.sqrt(2 / np.pi)  # a np.float64: with it, float32 becomes float64
PLAIN = math.sqrt(2 / math.pi)  # a float of Python: float32 stays


def before() -> Any:
    """GELU, as it is often written."""
    inner = WIDE * (X + 0.044715 * X**3)
    return 0.5 * X * (1 + np.tanh(inner))


def after() -> Any:
    """The same numbers, in float32 and with products."""
    inner = PLAIN * (X + 0.044715 * (X * X * X))
    return 0.5 * X * (1 + np.tanh(inner))


if __name__ == "__main__":
    investigate(before, after, times=20)
