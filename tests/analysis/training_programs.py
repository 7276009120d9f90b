"""Small training programs as people write them, each of which marks its steps: what is searched for without marks.

Every function trains something with NumPy and nothing else, and calls ``step()`` around what a reader would call a
step: up to the update of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Step = Callable[[], AbstractContextManager[Any]]
Program = Callable[[Step], None]
RATE = 0.01


def data(n: int, features: int = 8) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, features))
    return x, x @ rng.standard_normal((features, 1))


class Dense:
    """One layer, with its gradients."""

    def __init__(self, rng: np.random.Generator, n_in: int, n_out: int) -> None:
        self.w = rng.standard_normal((n_in, n_out)) * 0.1
        self.b = np.zeros(n_out)

    def forward(self, x: Array) -> Array:
        self.x = x
        out: Array = x @ self.w + self.b
        return out

    def backward(self, grad: Array) -> Array:
        self.gw = self.x.T @ grad
        self.gb = grad.sum(axis=0)
        before: Array = grad @ self.w.T
        return before

    def update(self) -> None:
        self.w -= RATE * self.gw
        self.b -= RATE * self.gb


class Net:
    """Three layers, ReLU in between."""

    def __init__(self, seed: int = 0, n_in: int = 8, n_out: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.layers = [Dense(rng, n_in, 16), Dense(rng, 16, 16), Dense(rng, 16, n_out)]

    def forward(self, x: Array) -> Array:
        self.masks = []
        for layer in self.layers[:-1]:
            x = layer.forward(x)
            self.masks.append(x > 0)
            x = np.maximum(x, 0)
        return self.layers[-1].forward(x)

    def backward(self, grad: Array) -> Array:
        grad = self.layers[-1].backward(grad)
        for layer, mask in zip(reversed(self.layers[:-1]), reversed(self.masks), strict=True):
            grad = layer.backward(grad * mask)
        return grad

    def update(self) -> None:
        for layer in self.layers:
            layer.update()


def gradient_accumulation(step: Step) -> None:
    """Gradients of 4 parts of a batch are added up before the parameters move."""
    x, y = data(256)
    w, b = np.zeros((8, 1)), np.zeros(1)
    for _ in range(5):
        for start in range(0, 256, 32):
            with step():
                gw, gb = np.zeros_like(w), np.zeros_like(b)
                for part in range(start, start + 32, 8):
                    error = x[part : part + 8] @ w + b - y[part : part + 8]
                    gw += x[part : part + 8].T @ error
                    gb += error.sum(axis=0)
                w -= RATE * gw / 32
                b -= RATE * gb / 32


def validation_every_k_steps(step: Step) -> None:
    """No epochs: batches drawn at random, and a validation every 20 steps."""
    x, y = data(300)
    rng, net = np.random.default_rng(1), Net()
    for i in range(120):
        with step():
            rows = rng.integers(0, 200, 16)
            error = net.forward(x[rows]) - y[rows]
            net.backward(error / 16)
            net.update()
        if i % 20 == 19:
            float(np.mean((net.forward(x[200:]) - y[200:]) ** 2))


def nested_epochs(step: Step) -> None:
    """Batches in epochs, a shuffle before each and its loss after it."""
    x, y = data(192)
    rng, net = np.random.default_rng(1), Net()
    for _ in range(12):
        order = rng.permutation(192)
        losses = []
        for start in range(0, 192, 32):
            with step():
                rows = order[start : start + 32]
                error = net.forward(x[rows]) - y[rows]
                losses.append(float(np.mean(error * error)))
                net.backward(error / 32)
                net.update()
        np.mean(losses)


def adversarial_pair(step: Step) -> None:
    """A generator and a discriminator, each with an update of its own."""
    x, _ = data(256)
    rng = np.random.default_rng(1)
    generator, judge = Net(1, 4, 8), Net(2, 8, 1)
    for i in range(60):
        with step():
            real = x[(i % 8) * 32 : (i % 8) * 32 + 32]
            noise = rng.standard_normal((32, 4))
            fake = generator.forward(noise)
            for pictures, wanted in ((real, 1.0), (fake, 0.0)):
                score = 1 / (1 + np.exp(-judge.forward(pictures)))
                judge.backward((score - wanted) / 32)
                judge.update()
            score = 1 / (1 + np.exp(-judge.forward(generator.forward(noise))))
            generator.backward(judge.backward((score - 1.0) / 32))
            generator.update()


def varying_batches(step: Step) -> None:
    """Batches grow from 4 to 64, with a shorter one at the end of each epoch."""
    x, y = data(250)
    net = Net()
    for epoch in range(10):
        size = 4 * 2 ** min(4, epoch // 2)
        for start in range(0, 250, size):
            with step():
                error = net.forward(x[start : start + size]) - y[start : start + size]
                net.backward(error / len(error))
                net.update()


def batches(x: Array, y: Array, size: int) -> Iterator[tuple[Array, Array]]:
    """Yield normalised batches for ever."""
    rng = np.random.default_rng(3)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            rows = order[start : start + size]
            some = x[rows]
            yield (some - some.mean(axis=0)) / (some.std(axis=0) + 1e-6), y[rows]


def fed_by_a_generator(step: Step) -> None:
    """One loop over a generator, which prepares the batches, up to a number of steps."""
    x, y = data(200)
    feed, net = batches(x, y, 20), Net()
    for _ in range(100):
        with step():
            some, wanted = next(feed)
            error = net.forward(some) - wanted
            net.backward(error / 20)
            net.update()


def early_stopping(step: Step) -> None:
    """Validation after each epoch; the best parameters are kept, and it stops when it gets no better."""
    x, y = data(260)
    net, best, since = Net(), np.inf, 0
    kept: list[Array] = []
    for _ in range(15):
        for start in range(0, 160, 16):
            with step():
                error = net.forward(x[start : start + 16]) - y[start : start + 16]
                net.backward(error / 16)
                net.update()
        loss = float(np.mean((net.forward(x[160:]) - y[160:]) ** 2))
        if loss < best - 0.02:
            best, since, kept = loss, 0, [layer.w.copy() for layer in net.layers]
        else:
            since += 1
        if since == 3:
            break
    for layer, w in zip(net.layers, kept, strict=True):
        layer.w[:] = w


def train_linear(x: Array, y: Array, step: Step) -> None:
    w = np.zeros((8, 1))
    for _ in range(50):
        with step():
            error = x @ w - y
            w -= RATE * (x.T @ error) / len(x)


def train_net(x: Array, y: Array, step: Step) -> None:
    net = Net()
    for _ in range(50):
        with step():
            error = net.forward(x) - y
            net.backward(error / len(x))
            net.update()


def two_models(step: Step) -> None:
    """A linear model, and then a network, each in a loop of its own."""
    x, y = data(64)
    train_linear(x, y, step)
    train_net(x, y, step)


def one_line_of_gradient(step: Step) -> None:
    """Logistic regression in two lines, evaluated after each epoch of 40 batches."""
    x, y = data(640)
    labels, w = (y > 0).astype("f8"), np.zeros((8, 1))
    for _ in range(10):
        for start in range(0, 640, 16):
            some, wanted = x[start : start + 16], labels[start : start + 16]
            with step():
                w -= RATE * some.T @ (1 / (1 + np.exp(-some @ w)) - wanted)
        float(np.mean((x @ w > 0) == labels))


def few_batches(step: Step) -> None:
    """Five batches per epoch, and a validation after it."""
    x, y = data(100)
    net = Net()
    for _ in range(50):
        for start in range(0, 80, 16):
            with step():
                error = net.forward(x[start : start + 16]) - y[start : start + 16]
                net.backward(error / 16)
                net.update()
        float(np.mean((net.forward(x[80:]) - y[80:]) ** 2))


def recurrent_cells(step: Step) -> None:
    """A gated recurrent network that only predicts: 20 cells per sequence."""
    rng = np.random.default_rng(0)
    wx, wh = rng.standard_normal((4, 24)), rng.standard_normal((8, 24))
    w = rng.standard_normal((8, 1))
    for _ in range(60):
        with step():
            inputs, h = rng.standard_normal((20, 16, 4)), np.zeros((16, 8))
            for t in range(20):
                h = gated_cell(inputs[t], h, wx, wh)
            (h @ w).mean()


def gated_cell(x: Array, h: Array, wx: Array, wh: Array) -> Array:
    gates = x @ wx + h @ wh
    z, r = 1 / (1 + np.exp(-gates[:, :8])), 1 / (1 + np.exp(-gates[:, 8:16]))
    return (1 - z) * h + z * np.tanh(gates[:, 16:] * r)


def acts_and_learns(step: Step) -> None:
    """Reinforcement learning: acts four times, then learns from what it saw."""
    rng, net = np.random.default_rng(0), Net(0, 8, 2)
    state = rng.standard_normal((1, 8))
    seen: list[Array] = []
    for _ in range(100):
        with step():
            for _ in range(4):
                values = net.forward(state)
                action = int(np.argmax(values))
                state = 0.9 * state + 0.1 * rng.standard_normal((1, 8)) + 0.01 * action
                seen.append(state)
            batch = np.concatenate(seen[-16:])
            target = net.forward(batch) - batch[:, :2]
            net.backward(target / len(batch))
            net.update()


class Trainer:
    """The usual three methods; parameters are made anew by every update."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.x, self.y = data(160)
        self.w1 = np.random.default_rng(0).standard_normal((8, 16)) * 0.1
        self.w2 = np.zeros((16, 1))

    def forward(self, x: Array, y: Array) -> tuple[Array, Array]:
        hidden = np.tanh(x @ self.w1)
        return hidden, hidden @ self.w2 - y

    def train_step(self, x: Array, y: Array) -> None:
        hidden, error = self.forward(x, y)
        g2 = hidden.T @ error / len(x)
        g1 = x.T @ ((error @ self.w2.T) * (1 - hidden * hidden)) / len(x)
        self.w1 = self.w1 - RATE * g1
        self.w2 = self.w2 - RATE * g2

    def train_epoch(self) -> None:
        order = np.random.default_rng(2).permutation(160)
        for i in range(0, 160, 16):
            with self.step():
                self.train_step(self.x[order[i : i + 16]], self.y[order[i : i + 16]])

    def fit(self) -> None:
        for _ in range(12):
            self.train_epoch()
            error = self.forward(self.x, self.y)[1]
            float(np.mean(error * error))


def trainer(step: Step) -> None:
    """A class with fit, train_epoch and train_step; nothing is changed in place."""
    Trainer(step).fit()


def momentum(step: Step) -> None:
    """Three updates in place in a row, of which one is the parameter's."""
    x, y = data(200)
    w, v = np.zeros((8, 1)), np.zeros((8, 1))
    for _ in range(10):
        for i in range(0, 200, 20):
            with step():
                gradient = x[i : i + 20].T @ (x[i : i + 20] @ w - y[i : i + 20]) / 20
                v *= 0.9
                v += gradient
                w -= RATE * v
        float(np.abs(x @ w - y).max())


def critic_trained_thrice(step: Step) -> None:
    """A critic is trained three times, and clipped, before the generator is, once."""
    x, _ = data(256)
    rng = np.random.default_rng(0)
    generator, critic = Net(1, 4, 8), Net(2, 8, 1)
    up, down = np.full((16, 1), 1 / 16), np.full((16, 1), -1 / 16)
    for _ in range(40):
        with step():
            for _ in range(3):
                fake = generator.forward(rng.standard_normal((16, 4)))
                for pictures, gradient in ((x[rng.integers(0, 256, 16)], down), (fake, up)):
                    critic.forward(pictures)
                    critic.backward(gradient)
                    critic.update()
                for layer in critic.layers:
                    np.clip(layer.w, -0.1, 0.1, out=layer.w)
            critic.forward(generator.forward(rng.standard_normal((16, 4))))
            generator.backward(critic.backward(down))
            generator.update()


def cross_validation(step: Step) -> None:
    """Five networks on five parts of the data, all of it in one batch."""
    x, y = data(100)
    for fold in range(5):
        kept, net = np.arange(100) % 5 != fold, Net(fold)
        for _ in range(20):
            with step():
                error = net.forward(x[kept]) - y[kept]
                net.backward(error / 80)
                net.update()
        float(np.mean((net.forward(x[~kept]) - y[~kept]) ** 2))


def mixture(step: Step) -> None:
    """Expectation and maximisation, of three Gaussians: no gradient anywhere."""
    x, _ = data(300, 2)
    means, variances, shares = x[:3].copy(), np.ones(3), np.full(3, 1 / 3)
    for _ in range(50):
        with step():
            distance = ((x[:, None] - means) ** 2).sum(axis=-1)
            of = shares * np.exp(-distance / 2 / variances) / variances
            of /= of.sum(axis=1, keepdims=True)
            count = of.sum(axis=0)
            means = (of.T @ x) / count[:, None]
            variances, shares = (of * distance).sum(axis=0) / count / 2, count / len(x)


def perceptron(step: Step) -> None:
    """One sample at a time, and an update only where it was wrong."""
    x, y = data(50)
    signs, w = np.sign(y[:, 0]), np.zeros(8)
    for _ in range(10):
        for one, sign in zip(x, signs, strict=True):
            with step():
                if np.sign(np.dot(w, one)) != sign:
                    w += RATE * sign * one
        float(np.mean(np.sign(x @ w) == signs))


def episodes(step: Step) -> None:
    """Policy gradient: an update after each episode of 5 to 14 actions."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 2)) * 0.1
    for _ in range(40):
        with step():
            state = rng.standard_normal(4)
            gradients = []
            for _ in range(int(rng.integers(5, 15))):
                chance = np.exp(state @ w)
                chance /= chance.sum()
                action = int(rng.random() < chance[1])
                gradients.append(np.outer(state, np.eye(2)[action] - chance))
                state = state * 0.9 + rng.standard_normal(4) * 0.1
            w += RATE * np.sum(gradients, axis=0)


PROGRAMS: tuple[Program, ...] = (
    gradient_accumulation,
    validation_every_k_steps,
    nested_epochs,
    adversarial_pair,
    varying_batches,
    fed_by_a_generator,
    early_stopping,
    two_models,
    one_line_of_gradient,
    few_batches,
    recurrent_cells,
    acts_and_learns,
    trainer,
    momentum,
    critic_trained_thrice,
    cross_validation,
    mixture,
    perceptron,
    episodes,
)
