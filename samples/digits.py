"""The handwritten digits that the samples learn to read; source and licence: data/README.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DATA = Path(__file__).parent / "data" / "digits.npz"
N_CLASSES = 10
SIDE = 8  # pixels
N_TRAIN = 1437  # four fifths of the 1797 pictures; the rest is for testing


@dataclass(frozen=True)
class Digits:
    """Pictures as float32 in [0, 1], shape (n, 8, 8), and labels as int64, shape (n,)."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


def load_digits() -> Digits:
    """Read the digits and split them into training and test pictures, the same way every time."""
    with np.load(DATA) as file:
        images = file["images"].reshape(-1, SIDE, SIDE).astype(np.float32) / np.float32(16)
        labels = file["labels"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:N_TRAIN], order[N_TRAIN:]
    return Digits(images[train], labels[train], images[test], labels[test])


def minibatches(
    rng: np.random.Generator, images: Array, labels: Array, size: int
) -> Iterator[tuple[Array, Array]]:
    """Yield every picture once, in random order, ``size`` at a time (fewer in the last batch)."""
    order = rng.permutation(len(labels))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield images[rows], labels[rows]
