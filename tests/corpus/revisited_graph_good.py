"""The graph in topological order: every node once."""

import numpy as np


class Tensor:
    def __init__(self, data, parents=(), derivatives=()):
        self.data = data
        self.grad = None
        self.parents = parents
        self.derivatives = derivatives

    def __matmul__(self, other):
        derivatives = (lambda g: g @ other.data.T, lambda g: self.data.T @ g)
        return Tensor(self.data @ other.data, (self, other), derivatives)

    def backward(self, grad):
        order, seen = [], set()

        def visit(node):
            if id(node) not in seen:
                seen.add(id(node))
                for parent in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        self.grad = grad
        for node in reversed(order):
            for parent, derivative in zip(node.parents, node.derivatives, strict=True):
                part = derivative(node.grad)
                parent.grad = part if parent.grad is None else np.add(parent.grad, part, out=part)


rng = np.random.default_rng(0)
weights = [rng.standard_normal((384, 384), dtype=np.float32) * 0.05 for _ in range(6)]
x = rng.standard_normal((384, 384), dtype=np.float32)


def step():
    y = Tensor(x)
    for weight in weights:
        y = y @ Tensor(weight)
    y.backward(np.ones_like(y.data))


for _ in range(12):
    step()
