"""A convolution as seven loops over elements, and as one product of matrices.

python samples/case_studies/convolution_in_loops.py [picture.png]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from study import investigate

Array = NDArray[np.float32]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((2, 3, 12, 12), dtype=np.float32)
KERNELS = RANDOM.random((4, 3, 3, 3), dtype=np.float32)


def loops(x: Array, weight: Array) -> Array:
    """As it stands in the book."""
    batch, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape
    out = np.zeros((batch, out_channels, height - kh + 1, width - kw + 1), np.float32)
    for b in range(batch):
        for o in range(out_channels):
            for i in range(height - kh + 1):
                for j in range(width - kw + 1):
                    total = 0.0
                    for c in range(channels):
                        for m in range(kh):
                            for n in range(kw):
                                total += x[b, c, i + m, j + n] * weight[o, c, m, n]
                    out[b, o, i, j] = total
    return out


def matrices(x: Array, weight: Array) -> Array:
    """All windows are a view; what remains is a product of matrices."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
    product = np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3)))
    return np.moveaxis(product, 3, 1)


if __name__ == "__main__":
    investigate(
        lambda: loops(IMAGES, KERNELS), lambda: matrices(IMAGES, KERNELS), times=10, rounds=20
    )
