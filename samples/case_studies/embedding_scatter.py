"""The gradient of an embedding: adding rows one by one, or sorted and summed.

python samples/case_studies/embedding_scatter.py [picture.png]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from study import investigate

Array = NDArray[np.float32]
WORDS, WIDTH, TOKENS = 5_000, 64, 4_096
RANDOM = np.random.default_rng(0)
INDEX = RANDOM.integers(0, WORDS, TOKENS)
GRAD = RANDOM.standard_normal((TOKENS, WIDTH), dtype=np.float32)


def one_by_one() -> Array:
    """np.add.at adds each row by itself."""
    table = np.zeros((WORDS, WIDTH), np.float32)
    np.add.at(table, INDEX, GRAD)
    return table


def sorted_and_summed() -> Array:
    """Rows of the same word lie together once they are sorted: one sum for each word."""
    order = np.argsort(INDEX, kind="stable")
    words = INDEX[order]
    first = np.flatnonzero(np.concatenate(([True], words[1:] != words[:-1])))
    table = np.zeros((WORDS, WIDTH), np.float32)
    table[words[first]] = np.add.reduceat(GRAD[order], first, axis=0)
    return table


if __name__ == "__main__":
    investigate(one_by_one, sorted_and_summed, times=30)
