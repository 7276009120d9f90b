"""A backward pass that walks into every parent again: twice the work with every layer.

python samples/case_studies/revisited_graph.py [picture.png]
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from study import investigate

Array = NDArray[np.float32]
LAYERS = 11
X = np.random.default_rng(0).standard_normal((128, 64), dtype=np.float32)


class Tensor:
    """A value, what it was made from, and how gradients go back to these."""

    def __init__(
        self,
        data: Array,
        parents: tuple[Tensor, ...] = (),
        derivatives: tuple[Callable[[Array], Array], ...] = (),
    ) -> None:
        self.data, self.parents, self.derivatives = data, parents, derivatives
        self.grad = np.zeros_like(data)

    def __add__(self, other: Tensor) -> Tensor:
        return Tensor(self.data + other.data, (self, other), (lambda g: g * 1, lambda g: g * 1))


def backward_by_paths(node: Tensor, grad: Array) -> None:
    """Hand the gradient on as it comes: a node with two children is walked into twice, and so is all below it."""
    node.grad += grad
    for parent, derivative in zip(node.parents, node.derivatives, strict=True):
        backward_by_paths(parent, derivative(grad))


def backward_by_nodes(root: Tensor, grad: Array) -> None:
    """Hand the gradient on once it is complete: every node once, in topological order."""
    order: list[Tensor] = []
    seen: set[int] = set()

    def visit(node: Tensor) -> None:
        if id(node) not in seen:
            seen.add(id(node))
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(root)
    root.grad += grad
    for node in reversed(order):
        for parent, derivative in zip(node.parents, node.derivatives, strict=True):
            parent.grad += derivative(node.grad)


def gradient(backward: Callable[[Tensor, Array], None]) -> Array:
    """The gradient of x doubled eleven times."""
    x = y = Tensor(X)
    for _ in range(LAYERS):
        y = y + y
    backward(y, np.ones_like(y.data))
    return x.grad


if __name__ == "__main__":
    investigate(
        lambda: gradient(backward_by_paths), lambda: gradient(backward_by_nodes), times=8, rounds=12
    )
