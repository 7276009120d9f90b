"""The graph in topological order: every node once."""

import numpy as np


class Tensor:
    def __init__(self, data, parents=(), derivatives=()):
        self.data = data
        self.grad = None
        self.parents = parents
        self.derivatives = derivatives

    def __matmul__(self, other):
        left, right = self.data, other.data  # not the tensors: they would keep themselves alive
        derivatives = (lambda g: g @ right.T, lambda g: left.T @ g)
        return Tensor(left @ right, (self, other), derivatives)

    def backward(self, grad):
        self.grad = grad
        for node in reversed(sorted_nodes(self)):
            for parent, derivative in zip(node.parents, node.derivatives, strict=True):
                part = derivative(node.grad)
                parent.grad = part if parent.grad is None else np.add(parent.grad, part, out=part)


def sorted_nodes(root):
    order, seen, waiting = [], set(), [(root, False)]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting.extend((parent, False) for parent in node.parents)
    return order


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
