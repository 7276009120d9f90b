"""The same GELU in float32, in memory that it keeps."""

import numpy as np

SCALE = float(np.sqrt(2 / np.pi))
x = np.random.default_rng(0).standard_normal((256, 1024), dtype=np.float32)
inner, out = np.empty_like(x), np.empty_like(x)


def gelu(x, inner, out):
    np.multiply(x, x, out=inner)
    inner *= 0.044715 * SCALE
    inner += SCALE
    inner *= x
    np.tanh(inner, out=inner)
    inner += 1
    inner *= 0.5
    return np.multiply(inner, x, out=out)


for _ in range(40):
    gelu(x, inner, out)
