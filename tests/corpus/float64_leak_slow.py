"""A GELU whose constant is a NumPy scalar: float64."""

import numpy as np

SCALE = np.sqrt(2 / np.pi)


def gelu(x):
    cubed = x * x * x
    inner = SCALE * (x + 0.044715 * cubed)  # planted
    return 0.5 * x * (1 + np.tanh(inner))


x = np.random.default_rng(0).standard_normal((256, 1024), dtype=np.float32)
for _ in range(40):
    gelu(x)
