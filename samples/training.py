"""What training the sample models has in common: the loss, the optimizer and the loop."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from digits import Array, Digits, load_digits, minibatches

Parameters = dict[str, Array]
Predict = Callable[[Parameters, Array], Array]
LossAndGradients = Callable[[Parameters, Array, Array], tuple[float, Parameters]]

BATCH = 32


@dataclass(frozen=True)
class Model:
    """A model is three functions.

    Attributes:
        initialize: makes the parameters, float32.
        predict: parameters, pictures (n, 8, 8) → scores (n, 10).
        loss_and_gradients: parameters, pictures, labels (n,) → mean loss, gradient per parameter.
    """

    initialize: Callable[[np.random.Generator], Parameters]
    predict: Predict
    loss_and_gradients: LossAndGradients


def softmax_cross_entropy(scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean of −log softmax(scores)[label] over the batch, and its gradient.

    Args:
        scores: (n, classes).
        labels: (n,), integers.

    Returns:
        The loss, and its gradient with respect to ``scores``: (softmax − one-hot) / n.
    """
    rows = np.arange(len(labels))
    shifted = scores - scores.max(axis=1, keepdims=True)  # exp() must not overflow
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(sums[:, 0]) - shifted[rows, labels]))
    gradient = exponentials / sums
    gradient[rows, labels] -= 1
    gradient /= len(labels)
    return loss, gradient


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1), changing the parameters in place."""

    def __init__(self, parameters: Parameters, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.parameters = parameters
        self.beta1, self.beta2 = beta1, beta2
        self.means = {name: np.zeros_like(p) for name, p in parameters.items()}
        self.squares = {name: np.zeros_like(p) for name, p in parameters.items()}
        self.t = 0

    def step(self, gradients: Parameters, learning_rate: float) -> None:
        """Move every parameter once."""
        self.t += 1
        size = learning_rate * (1 - self.beta2**self.t) ** 0.5 / (1 - self.beta1**self.t)
        for name, gradient in gradients.items():
            mean, square = self.means[name], self.squares[name]
            mean += (1 - self.beta1) * (gradient - mean)
            square += (1 - self.beta2) * (gradient * gradient - square)
            self.parameters[name] -= size * mean / (np.sqrt(square) + 1e-8)


def train(
    model: Model, digits: Digits, *, epochs: int, seed: int, learning_rate: float
) -> Parameters:
    """Train from scratch, printing the loss of each epoch; the learning rate falls to 0."""
    rng = np.random.default_rng(seed)
    parameters = model.initialize(rng)
    optimizer = Adam(parameters)
    for epoch in range(epochs):
        losses = []
        for images, labels in minibatches(rng, digits.train_images, digits.train_labels, BATCH):
            loss, gradients = model.loss_and_gradients(parameters, images, labels)
            optimizer.step(gradients, learning_rate * (1 - epoch / epochs))
            losses.append(loss)
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {np.mean(losses):.4f}")
    return parameters


def accuracy(model: Model, parameters: Parameters, images: Array, labels: Array) -> float:
    """Return the share of the pictures that get the highest score for their label."""
    return float(np.mean(model.predict(parameters, images).argmax(axis=1) == labels))


def main(model: Model, description: str | None, *, epochs: int, learning_rate: float) -> None:
    """Read the command line, train, and print the accuracy on pictures that were not trained on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=epochs, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    digits = load_digits()
    parameters = train(
        model, digits, epochs=options.epochs, seed=options.seed, learning_rate=learning_rate
    )
    share = accuracy(model, parameters, digits.test_images, digits.test_labels)
    print(f"test accuracy {share:.1%} of {len(digits.test_labels)} pictures")
