"""Train a small GPT that continues a text character by character, on the framework in ``teaching.py``.

The text is the source of this file and of the framework: what it learns is how such Python looks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from teaching import (
    Adam,
    Array,
    CrossEntropy,
    DataLoader,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Tensor,
)

LENGTH, WIDTH, HEADS, BLOCKS, BATCH = 64, 64, 4, 2, 16


class Attention(Layer):
    """Each character looks at those before it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.q_proj = Linear(rng, WIDTH, WIDTH)
        self.k_proj = Linear(rng, WIDTH, WIDTH)
        self.v_proj = Linear(rng, WIDTH, WIDTH)
        self.out_proj = Linear(rng, WIDTH, WIDTH)
        self.mask = Tensor(np.triu(np.full((LENGTH, LENGTH), -1e9, np.float32), 1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        scores = (q @ k.transpose(0, 1, 3, 2)).scale((WIDTH / HEADS) ** -0.5) + self.mask
        mixed = (scores.softmax() @ v).transpose(0, 2, 1, 3)
        return self.out_proj(mixed.reshape(*x.shape))

    def heads(self, x: Tensor) -> Tensor:
        """(batch, length, width) → (batch, heads, length, width / heads)."""
        return x.reshape(len(x.data), LENGTH, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)


class Block(Layer):
    def __init__(self, rng: np.random.Generator) -> None:
        self.norm_1, self.norm_2 = LayerNorm(WIDTH), LayerNorm(WIDTH)
        self.attn = Attention(rng)
        self.up, self.down = Linear(rng, WIDTH, 4 * WIDTH), Linear(rng, 4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm_1(x))
        return x + self.down(self.up(self.norm_2(x)).relu())


class GPT(Layer):
    def __init__(self, rng: np.random.Generator, characters: int) -> None:
        self.tokens = Embedding(rng, characters, WIDTH)
        self.positions = Embedding(rng, LENGTH, WIDTH)
        self.blocks = [Block(rng) for _ in range(BLOCKS)]
        self.norm, self.head = LayerNorm(WIDTH), Linear(rng, WIDTH, characters)

    def forward(self, x: Array) -> Tensor:
        hidden = self.tokens(x) + self.positions(np.arange(LENGTH))
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden))


def read_text() -> tuple[str, Array]:
    """Return the characters that there are, and the text as their numbers."""
    here = Path(__file__).parent
    text = "".join((here / name).read_text() for name in ("teaching.py", "tiny_gpt.py"))
    characters = "".join(sorted(set(text)))
    return characters, np.array([characters.index(c) for c in text])


def train(epochs: int, seed: int) -> list[float]:
    """Train from scratch, printing the loss of each epoch; returns these."""
    rng = np.random.default_rng(seed)
    characters, text = read_text()
    model, loss_of = GPT(rng, len(characters)), CrossEntropy()
    optimizer = Adam(model.parameters(), rate=3e-3)
    loader = DataLoader(rng, text, LENGTH, BATCH)
    means = []
    for epoch in range(epochs):
        losses = []
        for characters_in, following in loader:
            optimizer.zero_grad()
            scores = model(characters_in)
            loss = loss_of((scores.reshape(-1, len(characters)), following.ravel()))
            loss.backward()
            optimizer.step()
            losses.append(float(loss.data))
        means.append(float(np.mean(losses)))
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {means[-1]:.4f}")
    return means


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    train(options.epochs, options.seed)


if __name__ == "__main__":
    main()
