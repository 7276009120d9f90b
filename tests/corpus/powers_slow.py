"""The derivative of a GELU, by powers."""

import numpy as np

SCALE = float(np.sqrt(2 / np.pi))


def gelu_backward(x, grad):
    cubed = x**3  # planted
    t = np.tanh(SCALE * (x + 0.044715 * cubed))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * SCALE * (1 + 0.134145 * x * x)
    return slope * grad


rng = np.random.default_rng(0)
x = rng.standard_normal((256, 1024), dtype=np.float32)
grad = rng.standard_normal((256, 1024), dtype=np.float32)
for _ in range(20):
    gelu_backward(x, grad)
