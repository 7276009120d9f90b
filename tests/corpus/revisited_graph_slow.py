"""A graph that is walked without a set of what was visited: 2 to the power of its depth."""

import numpy as np


class Tensor:
    def __init__(self, data, parents=(), derivatives=()):
        self.data = data
        self.grad = np.zeros_like(data)
        self.parents = parents
        self.derivatives = derivatives

    def __add__(self, other):
        return Tensor(self.data + other.data, (self, other), (lambda g: g * 1.0, lambda g: g * 1.0))

    def backward(self, grad):
        self.grad += grad
        for parent, derivative in zip(self.parents, self.derivatives, strict=True):
            parent.backward(derivative(grad))  # planted


def step():
    x = Tensor(np.ones((128, 64), dtype=np.float32))
    y = x
    for _ in range(11):
        y = y + y
    y.backward(np.ones_like(y.data))


for _ in range(8):
    step()
