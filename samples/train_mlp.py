"""Train a multilayer perceptron on handwritten digits, with nothing but NumPy.

64 pixels → 512 → 256 → 10 classes, ReLU in between.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from digits import N_CLASSES, SIDE, Array
from training import Model, Parameters, main, softmax_cross_entropy

SIZES = (SIDE * SIDE, 512, 256, N_CLASSES)
N_LAYERS = len(SIZES) - 1


def initialize(rng: np.random.Generator) -> Parameters:
    """Draw the weights (inputs, outputs), scaled for ReLU (He et al., 2015); biases are 0."""
    parameters = {}
    for i, (n_in, n_out) in enumerate(pairwise(SIZES)):
        weights = rng.standard_normal((n_in, n_out), dtype=np.float32)
        parameters[f"w{i}"] = weights * (2 / n_in) ** 0.5
        parameters[f"b{i}"] = np.zeros(n_out, np.float32)
    return parameters


def forward(parameters: Parameters, images: Array) -> list[Array]:
    """Return the input of every layer, (n, layer's inputs), and last the scores, (n, 10)."""
    activations = [images.reshape(len(images), -1)]
    for i in range(N_LAYERS):
        x = activations[-1] @ parameters[f"w{i}"] + parameters[f"b{i}"]
        if i < N_LAYERS - 1:
            np.maximum(x, 0, out=x)
        activations.append(x)
    return activations


def predict(parameters: Parameters, images: Array) -> Array:
    """Return the score of each class, (n, 10)."""
    return forward(parameters, images)[-1]


def loss_and_gradients(
    parameters: Parameters, images: Array, labels: Array
) -> tuple[float, Parameters]:
    """Return the mean cross-entropy of a batch and its gradient with respect to every parameter."""
    *inputs, scores = forward(parameters, images)
    loss, gradient = softmax_cross_entropy(scores, labels)
    gradients = {}
    for i in reversed(range(N_LAYERS)):
        gradients[f"w{i}"] = inputs[i].T @ gradient
        gradients[f"b{i}"] = gradient.sum(axis=0)
        if i > 0:
            gradient = (gradient @ parameters[f"w{i}"].T) * (inputs[i] > 0)
    return loss, gradients


MODEL = Model(initialize, predict, loss_and_gradients)

if __name__ == "__main__":
    main(MODEL, __doc__, epochs=40, learning_rate=1e-3)
