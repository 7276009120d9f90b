"""A small model, and a training of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Attention(nn.Module):
    """One head, of plain operations."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> Any:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.out(torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v)


class Block(nn.Module):
    """Attention and a perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Attention(width, 1)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> Any:
        return self.mlp(x + self.attn(x))


class Model(nn.Module):
    """(n, 6, 4) → (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(Block(8) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


class Items(Dataset[tuple[torch.Tensor, int]]):
    """Items that NumPy makes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.multiply(np.ones((6, 4), "f4"), at % 3)), at % 3


def train(steps: int, workers: int = 0) -> None:
    """Train, two items a step."""
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = iter(DataLoader(Items(2 * steps), batch_size=2, num_workers=workers))
    for _ in range(steps):
        images, labels = next(batches)
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
