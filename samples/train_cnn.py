"""Train a small convolutional network on handwritten digits, with nothing but NumPy.

(8, 8, 1) → 3×3 convolution → (8, 8, 32) → 2×2 maximum → (4, 4, 32) → 3×3 convolution → (4, 4, 64)
→ 2×2 maximum → (2, 2, 64) → 10 classes, ReLU after each convolution.
"""

from __future__ import annotations

import numpy as np
from digits import N_CLASSES, Array
from numpy.lib.stride_tricks import sliding_window_view
from training import Model, Parameters, main, softmax_cross_entropy

KERNEL = 3
CHANNELS = (1, 32, 64)
N_DENSE = 2 * 2 * CHANNELS[2]


def initialize(rng: np.random.Generator) -> Parameters:
    """Draw the weights, scaled for ReLU (He et al., 2015); biases are 0.

    ``w0`` and ``w1``, of the convolutions, are (channels in × 9, channels out); ``w2`` (256, 10).
    """
    shapes = [
        (CHANNELS[0] * KERNEL**2, CHANNELS[1]),
        (CHANNELS[1] * KERNEL**2, CHANNELS[2]),
        (N_DENSE, N_CLASSES),
    ]
    parameters = {}
    for i, (n_in, n_out) in enumerate(shapes):
        weights = rng.standard_normal((n_in, n_out), dtype=np.float32)
        parameters[f"w{i}"] = weights * (2 / n_in) ** 0.5
        parameters[f"b{i}"] = np.zeros(n_out, np.float32)
    return parameters


def patches(x: Array) -> Array:
    """Lay out the 3×3 neighbourhood of every pixel as a row ("im2col"), zeros beyond the border.

    (n, h, w, c) → (n · h · w, c · 9)
    """
    pad = KERNEL // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = sliding_window_view(padded, (KERNEL, KERNEL), axis=(1, 2))
    return windows.reshape(-1, x.shape[3] * KERNEL**2)


def patches_backward(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Add the gradient of every patch back onto the pixels that it was made of ("col2im")."""
    n, h, w, c = shape
    pad = KERNEL // 2
    windows = gradient.reshape(n, h, w, c, KERNEL, KERNEL)
    padded = np.zeros((n, h + 2 * pad, w + 2 * pad, c), gradient.dtype)
    for i in range(KERNEL):
        for j in range(KERNEL):
            padded[:, i : i + h, j : j + w] += windows[..., i, j]
    return padded[:, pad:-pad, pad:-pad]


def convolve(x: Array, weights: Array, bias: Array) -> tuple[Array, Array]:
    """Return ReLU(3×3 convolution), (n, h, w, channels out), and the patches for the way back."""
    rows = patches(x)
    out = np.maximum(rows @ weights + bias, 0)
    return out.reshape(*x.shape[:3], -1), rows


def pool(x: Array) -> tuple[Array, Array]:
    """Return the maximum of each 2×2 square, (n, h/2, w/2, c), and which of the four it was."""
    n, h, w, c = x.shape
    squares: Array = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    squares = squares.reshape(n, h // 2, w // 2, c, 4)
    winner = squares.argmax(axis=-1, keepdims=True)
    return np.take_along_axis(squares, winner, axis=-1)[..., 0], winner


def pool_backward(gradient: Array, winner: Array) -> Array:
    """Hand the gradient of each maximum to the pixel that won."""
    n, h, w, c = gradient.shape
    squares: Array = np.zeros((n, h, w, c, 4), gradient.dtype)
    np.put_along_axis(squares, winner, gradient[..., None], axis=-1)
    squares = squares.reshape(n, h, w, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return squares.reshape(n, 2 * h, 2 * w, c)


def predict(parameters: Parameters, images: Array) -> Array:
    """Return the score of each class, (n, 10)."""
    x = images[..., None]
    for i in range(2):
        x, _ = convolve(x, parameters[f"w{i}"], parameters[f"b{i}"])
        x, _ = pool(x)
    return x.reshape(len(x), -1) @ parameters["w2"] + parameters["b2"]


def loss_and_gradients(
    parameters: Parameters, images: Array, labels: Array
) -> tuple[float, Parameters]:
    """Return the mean cross-entropy of a batch and its gradient with respect to every parameter."""
    x = images[..., None]
    tape = []
    for i in range(2):
        shape = x.shape
        convolved, rows = convolve(x, parameters[f"w{i}"], parameters[f"b{i}"])
        x, winner = pool(convolved)
        tape.append((shape, rows, convolved, winner))
    features = x.reshape(len(x), -1)
    loss, gradient = softmax_cross_entropy(features @ parameters["w2"] + parameters["b2"], labels)

    gradients = {"w2": features.T @ gradient, "b2": gradient.sum(axis=0)}
    gradient = (gradient @ parameters["w2"].T).reshape(x.shape)
    for i in reversed(range(2)):
        shape, rows, convolved, winner = tape[i]
        gradient = pool_backward(gradient, winner) * (convolved > 0)
        gradient = gradient.reshape(len(rows), -1)
        gradients[f"w{i}"] = rows.T @ gradient
        gradients[f"b{i}"] = gradient.sum(axis=0)
        if i > 0:
            gradient = patches_backward(gradient @ parameters[f"w{i}"].T, shape)
    return loss, gradients


MODEL = Model(initialize, predict, loss_and_gradients)

if __name__ == "__main__":
    main(MODEL, __doc__, epochs=15, learning_rate=3e-3)
