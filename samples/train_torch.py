"""A small transformer in PyTorch learns to read the UCI handwritten digits: 16 patches, two blocks, 4 heads.

    python -m tinytrace samples/train_torch.py

PyTorch (``pip install torch``) on the CPU; some seconds per epoch.
"""

from __future__ import annotations

import argparse
from typing import cast

import numpy as np
import torch
from digits import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

PATCH = 2


class Attention(nn.Module):
    """Self-attention with several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        scores = torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1)
        mixed = (scores @ v).transpose(1, 2).reshape(batch, length, width)
        return cast("torch.Tensor", self.out(mixed))


class Block(nn.Module):
    """Attention, then two linear layers, each added to what goes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return cast("torch.Tensor", x + self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """Reads 16 patches of 2×2 pixels."""

    def __init__(self, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH * PATCH, width)
        self.position = nn.Parameter(torch.randn(16, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.embed(images) + self.position
        return cast("torch.Tensor", self.head(self.blocks(x).mean(dim=1)))


def patches(images: np.ndarray) -> torch.Tensor:
    """(n, 64) pixels → (n, 16, 4)."""
    grid = images.reshape(-1, 4, PATCH, 4, PATCH).transpose(0, 1, 3, 2, 4)
    return torch.from_numpy(np.ascontiguousarray(grid.reshape(-1, 16, PATCH * PATCH)))


def main() -> None:
    """Train, and print loss and accuracy after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    digits = load_digits()
    data = TensorDataset(patches(digits.train_images), torch.from_numpy(digits.train_labels))
    test_images, test_labels = patches(digits.test_images), torch.from_numpy(digits.test_labels)
    model = Transformer(options.width, heads=4, blocks=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(options.epochs):
        total = 0.0
        for images, labels in DataLoader(data, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(labels)
        with torch.no_grad():
            accuracy = (model(test_images).argmax(1) == test_labels).float().mean()
        print(f"epoch {epoch + 1}: loss {total / len(data):.4f}, test accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
