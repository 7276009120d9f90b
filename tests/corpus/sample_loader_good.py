"""A loader that takes a batch by one index."""

import numpy as np

images = np.random.default_rng(0).random((4_000, 256), dtype=np.float32)


def batches(order, size):
    for begin in range(0, len(order), size):
        yield images[order[begin : begin + size]]


weight = np.random.default_rng(1).random((256, 512), dtype=np.float32)
for epoch in range(8):
    order = np.random.default_rng(epoch).permutation(4_000)
    for batch in batches(order, 500):
        batch @ weight
