"""An embedding's gradient: a table of zeros and np.add.at for every batch."""

import numpy as np

VOCABULARY, WIDTH = 5_000, 64


def embedding_backward(index, grad):
    table = np.zeros((VOCABULARY, WIDTH), dtype=np.float32)
    np.add.at(table, index, grad)  # planted
    return table


rng = np.random.default_rng(0)
index = rng.integers(0, VOCABULARY, 2_048)
grad = rng.standard_normal((2_048, WIDTH), dtype=np.float32)
for _ in range(40):
    embedding_backward(index, grad)
