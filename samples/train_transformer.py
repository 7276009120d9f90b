"""Train a small transformer on handwritten digits, with nothing but NumPy.

A picture is a sequence of 16 tokens, the 2×2 squares of pixels that it is made of, row by row.
They are embedded in 48 dimensions together with their position and pass two blocks of attention
(4 heads) and feed-forward network, each with layer normalization before and a residual connection
around it (Xiong et al., 2020). The mean of the tokens is classified.
"""

from __future__ import annotations

import math

import numpy as np
from digits import N_CLASSES, SIDE, Array
from training import Model, Parameters, main, softmax_cross_entropy

PATCH = 2  # pixels
TOKENS = (SIDE // PATCH) ** 2
WIDTH = 48
HEADS = 4
HIDDEN = 96  # of the feed-forward networks
BLOCKS = 2
GELU_SCALE = math.sqrt(2 / math.pi)

Cache = tuple[Array, ...]


def initialize(rng: np.random.Generator) -> Parameters:
    """Draw the weights (inputs, outputs), of variance 1 / inputs; biases are 0, gains 1."""
    shapes = {"embed": (PATCH * PATCH, WIDTH), "head": (WIDTH, N_CLASSES)}
    norms = ["norm"]
    for b in range(BLOCKS):
        shapes[f"{b}.qkv"] = (WIDTH, 3 * WIDTH)
        shapes[f"{b}.merge"] = (WIDTH, WIDTH)
        shapes[f"{b}.up"] = (WIDTH, HIDDEN)
        shapes[f"{b}.down"] = (HIDDEN, WIDTH)
        norms += [f"{b}.norm1", f"{b}.norm2"]
    parameters: Parameters = {}
    for name, (n_in, n_out) in shapes.items():
        weights = rng.standard_normal((n_in, n_out), dtype=np.float32)
        parameters[f"{name}.w"] = weights * n_in**-0.5
        parameters[f"{name}.b"] = np.zeros(n_out, np.float32)
    for name in norms:
        parameters[f"{name}.gain"] = np.ones(WIDTH, np.float32)
        parameters[f"{name}.b"] = np.zeros(WIDTH, np.float32)
    parameters["position"] = rng.standard_normal((TOKENS, WIDTH), dtype=np.float32) * 0.5
    return parameters


def tokens(images: Array) -> Array:
    """Cut pictures into squares: (n, 8, 8) → (n, 16 tokens, 4 pixels)."""
    n, side = len(images), SIDE // PATCH
    squares: Array = images.reshape(n, side, PATCH, side, PATCH).transpose(0, 1, 3, 2, 4)
    return squares.reshape(n, TOKENS, PATCH * PATCH)


def linear(p: Parameters, name: str, x: Array) -> Array:
    """Return x @ w + b; the last axis changes its length."""
    return x @ p[f"{name}.w"] + p[f"{name}.b"]


def linear_backward(p: Parameters, g: Parameters, name: str, x: Array, dy: Array) -> Array:
    """Put the gradients of w and b into ``g``; return that of x."""
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    g[f"{name}.w"] = rows.T @ drows
    g[f"{name}.b"] = drows.sum(axis=0)
    dx: Array = dy @ p[f"{name}.w"].T
    return dx


def normalize(p: Parameters, name: str, x: Array) -> tuple[Array, Cache]:
    """Layer normalization (Ba et al., 2016): mean 0, variance 1 per token, then gain and bias."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    unit = centred * scale
    return unit * p[f"{name}.gain"] + p[f"{name}.b"], (unit, scale)


def normalize_backward(p: Parameters, g: Parameters, name: str, cache: Cache, dy: Array) -> Array:
    """Put the gradients of gain and bias into ``g``; return that of x."""
    unit, scale = cache
    g[f"{name}.gain"] = (dy * unit).sum(axis=(0, 1))
    g[f"{name}.b"] = dy.sum(axis=(0, 1))
    dunit: Array = dy * p[f"{name}.gain"]
    along = (dunit * unit).mean(axis=-1, keepdims=True)
    dx: Array = (dunit - dunit.mean(axis=-1, keepdims=True) - unit * along) * scale
    return dx


def softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def split_heads(qkv: Array) -> tuple[Array, Array, Array]:
    """Views of queries, keys and values: (n, tokens, 144) → three of (n, heads, tokens, 12)."""
    n, t, _ = qkv.shape
    q, k, v = qkv.reshape(n, t, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
    return q, k, v


def attention(p: Parameters, block: int, x: Array) -> tuple[Array, Cache]:
    """Every token looks at every other one (Vaswani et al., 2017, section 3.2)."""
    qkv = linear(p, f"{block}.qkv", x)
    q, k, v = split_heads(qkv)
    weights = softmax(q @ k.swapaxes(-1, -2) * (WIDTH // HEADS) ** -0.5)
    seen = (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape)
    return linear(p, f"{block}.merge", seen), (x, qkv, weights, seen)


def attention_backward(p: Parameters, g: Parameters, block: int, cache: Cache, dy: Array) -> Array:
    """Put the gradients of the weights into ``g``; return that of x."""
    x, qkv, weights, seen = cache
    q, k, v = split_heads(qkv)
    dseen = linear_backward(p, g, f"{block}.merge", seen, dy)
    n, t, _ = x.shape
    dseen = dseen.reshape(n, t, HEADS, -1).transpose(0, 2, 1, 3)
    dweights = dseen @ v.swapaxes(-1, -2)
    dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
    dscores *= (WIDTH // HEADS) ** -0.5
    dqkv = np.empty_like(qkv)
    dq, dk, dv = split_heads(dqkv)
    np.matmul(dscores, k, out=dq)
    np.matmul(dscores.swapaxes(-1, -2), q, out=dk)
    np.matmul(weights.swapaxes(-1, -2), dseen, out=dv)
    return linear_backward(p, g, f"{block}.qkv", x, dqkv)


def feed_forward(p: Parameters, block: int, x: Array) -> tuple[Array, Cache]:
    """Two layers with GELU in between, in its tanh form (Hendrycks and Gimpel, 2016)."""
    up = linear(p, f"{block}.up", x)
    t = np.tanh(GELU_SCALE * (up + 0.044715 * up * up * up))
    active = 0.5 * up * (1 + t)
    return linear(p, f"{block}.down", active), (x, up, t, active)


def feed_forward_backward(
    p: Parameters, g: Parameters, block: int, cache: Cache, dy: Array
) -> Array:
    """Put the gradients of the weights into ``g``; return that of x."""
    x, up, t, active = cache
    dactive = linear_backward(p, g, f"{block}.down", active, dy)
    dt = (1 - t * t) * GELU_SCALE * (1 + 3 * 0.044715 * up * up)
    dup = dactive * 0.5 * (1 + t + up * dt)
    return linear_backward(p, g, f"{block}.up", x, dup)


def forward(p: Parameters, images: Array) -> tuple[Array, list[Cache]]:
    """Return the scores, (n, 10), and what the way back needs, in order."""
    squares = tokens(images)
    x = linear(p, "embed", squares) + p["position"]
    tape: list[Cache] = [(squares,)]
    for b in range(BLOCKS):
        normal, norm_cache = normalize(p, f"{b}.norm1", x)
        change, cache = attention(p, b, normal)
        x = x + change
        tape += [norm_cache, cache]
        normal, norm_cache = normalize(p, f"{b}.norm2", x)
        change, cache = feed_forward(p, b, normal)
        x = x + change
        tape += [norm_cache, cache]
    normal, norm_cache = normalize(p, "norm", x)
    mean = normal.mean(axis=1)
    tape += [norm_cache, (mean,)]
    return linear(p, "head", mean), tape


def predict(parameters: Parameters, images: Array) -> Array:
    """Return the score of each class, (n, 10)."""
    return forward(parameters, images)[0]


def loss_and_gradients(
    parameters: Parameters, images: Array, labels: Array
) -> tuple[float, Parameters]:
    """Return the mean cross-entropy of a batch and its gradient with respect to every parameter."""
    p, g = parameters, dict[str, Array]()
    scores, tape = forward(p, images)
    loss, dscores = softmax_cross_entropy(scores, labels)
    (mean,) = tape.pop()
    dmean = linear_backward(p, g, "head", mean, dscores)
    dnormal = np.repeat(dmean[:, None] / TOKENS, TOKENS, axis=1)
    dx = normalize_backward(p, g, "norm", tape.pop(), dnormal)
    for b in reversed(range(BLOCKS)):
        dnormal = feed_forward_backward(p, g, b, tape.pop(), dx)
        dx = dx + normalize_backward(p, g, f"{b}.norm2", tape.pop(), dnormal)
        dnormal = attention_backward(p, g, b, tape.pop(), dx)
        dx = dx + normalize_backward(p, g, f"{b}.norm1", tape.pop(), dnormal)
    (squares,) = tape.pop()
    g["position"] = dx.sum(axis=0)
    linear_backward(p, g, "embed", squares, dx)
    return loss, g


MODEL = Model(initialize, predict, loss_and_gradients)

if __name__ == "__main__":
    main(MODEL, __doc__, epochs=15, learning_rate=2e-3)
