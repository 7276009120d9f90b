"""The derivative of a GELU, by products in memory that is kept."""

import numpy as np

SCALE = float(np.sqrt(2 / np.pi))
rng = np.random.default_rng(0)
x = rng.standard_normal((256, 1024), dtype=np.float32)
grad = rng.standard_normal((256, 1024), dtype=np.float32)
square, t, slope = np.empty_like(x), np.empty_like(x), np.empty_like(x)


def gelu_backward(x, grad, square, t, slope):
    np.multiply(x, x, out=square)
    np.multiply(square, 0.044715 * SCALE, out=t)
    t += SCALE
    t *= x
    np.tanh(t, out=t)
    np.multiply(t, t, out=slope)
    np.subtract(1, slope, out=slope)
    slope *= x
    square *= 0.134145 * SCALE
    square += SCALE
    slope *= square
    slope += t
    slope += 1
    slope *= 0.5
    return np.multiply(slope, grad, out=slope)


for _ in range(20):
    gelu_backward(x, grad, square, t, slope)
