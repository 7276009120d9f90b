"""A framework as one builds it to learn how frameworks work: tensors, a graph of functions, layers, Adam, a loader.

Plain NumPy, float32 throughout; it knows nothing of tinytrace, which sees its layers, its nodes and its steps all the
same (docs/frameworks.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Tensor:
    """An array, its gradient, and the function that made it."""

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.data: Array = np.asarray(data)
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self._grad_fn: Function | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the data."""
        return self.data.shape

    def __add__(self, other: Tensor) -> Tensor:
        return made_by(Add(self, other), self.data + other.data)

    def __mul__(self, other: Tensor) -> Tensor:
        return made_by(Mul(self, other), self.data * other.data)

    def __matmul__(self, other: Tensor) -> Tensor:
        return made_by(MatMul(self, other), self.data @ other.data)

    def scale(self, factor: float) -> Tensor:
        """Multiply by a number."""
        return made_by(Scale(self, factor=factor), self.data * np.float32(factor))

    def reshape(self, *shape: int) -> Tensor:
        """Give it another shape."""
        return made_by(Reshape(self), self.data.reshape(shape))

    def transpose(self, *axes: int) -> Tensor:
        """Give its axes another order."""
        return made_by(Transpose(self, axes=axes), self.data.transpose(axes))

    def relu(self) -> Tensor:
        """Set what is negative to 0."""
        return made_by(Relu(self), np.maximum(self.data, np.float32(0)))

    def softmax(self) -> Tensor:
        """Exponentials along the last axis, which add up to 1."""
        exponentials = np.exp(self.data - self.data.max(axis=-1, keepdims=True))
        result = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return made_by(Softmax(self, result=result), result)

    def backward(self) -> None:
        """Give every tensor that this one is made of its gradient, each function once."""
        order: list[Tensor] = []
        seen: set[int] = set()
        stack: list[tuple[Tensor, bool]] = [(self, False)]
        while stack:
            tensor, is_done = stack.pop()
            if is_done:
                order.append(tensor)
            elif id(tensor) not in seen and tensor._grad_fn is not None:
                seen.add(id(tensor))
                stack.append((tensor, True))
                stack.extend((t, False) for t in tensor._grad_fn.inputs)
        self.grad = np.ones_like(self.data)
        for tensor in reversed(order):
            function = tensor._grad_fn
            assert function is not None and tensor.grad is not None
            for source, gradient in zip(function.inputs, function.apply(tensor.grad), strict=True):
                if source.requires_grad:
                    mine = unbroadcast(gradient, source.shape)
                    source.grad = mine if source.grad is None else source.grad + mine


class Function:
    """What made a tensor of others; `apply` is the backward pass."""

    def __init__(self, *inputs: Tensor, **saved: Any) -> None:
        self.inputs = inputs
        self.saved = saved

    def apply(self, gradient: Array) -> tuple[Array, ...]:
        """Return the gradient of each input."""
        raise NotImplementedError


def made_by(function: Function, data: Array) -> Tensor:
    """Return a tensor that remembers its function, if anything in it is learned."""
    result = Tensor(data, any(t.requires_grad for t in function.inputs))
    if result.requires_grad:
        result._grad_fn = function
    return result


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Add up what was broadcast."""
    while gradient.ndim > len(shape):
        gradient = gradient.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and gradient.shape[axis] != 1:
            gradient = gradient.sum(axis=axis, keepdims=True)
    return gradient


class Add(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        return gradient, gradient


class Mul(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        one, other = self.inputs
        return gradient * other.data, gradient * one.data


class MatMul(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        one, other = (t.data for t in self.inputs)
        if one.ndim > 2 and other.ndim == 2:  # a batch through one matrix: one product
            flat = one.reshape(-1, one.shape[-1]).T @ gradient.reshape(-1, gradient.shape[-1])
            return gradient @ other.T, flat
        return gradient @ other.swapaxes(-1, -2), one.swapaxes(-1, -2) @ gradient


class Scale(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        return (gradient * np.float32(self.saved["factor"]),)


class Reshape(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        return (gradient.reshape(self.inputs[0].shape),)


class Transpose(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        return (gradient.transpose(np.argsort(self.saved["axes"])),)


class Relu(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        return (gradient * (self.inputs[0].data > 0),)


class Softmax(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        result = self.saved["result"]
        product = gradient * result
        return (product - result * product.sum(axis=-1, keepdims=True),)


class Normalize(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        normal, deviation = self.saved["normal"], self.saved["deviation"]
        mean = gradient.mean(axis=-1, keepdims=True)
        along = (gradient * normal).mean(axis=-1, keepdims=True)
        return ((gradient - mean - normal * along) / deviation,)


class Lookup(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        table = np.zeros_like(self.inputs[0].data)
        np.add.at(table, self.saved["rows"], gradient)
        return (table,)


class CrossEntropyFunction(Function):
    def apply(self, gradient: Array) -> tuple[Array, ...]:
        result = self.saved["shares"].copy()
        rows = np.arange(len(result))
        result[rows, self.saved["labels"]] -= np.float32(1)
        return (result * (gradient / np.float32(len(result))),)


class Layer:
    """What has parameters, perhaps in layers of its own."""

    def forward(self, x: Any) -> Tensor:
        """Return what it makes of its input."""
        raise NotImplementedError

    def __call__(self, x: Any) -> Tensor:
        return self.forward(x)

    def parameters(self) -> list[Tensor]:
        """Its own, and those of its layers."""
        found: list[Tensor] = []
        for value in vars(self).values():
            for member in value if isinstance(value, list) else [value]:
                if isinstance(member, Layer):
                    found += member.parameters()
                elif isinstance(member, Tensor) and member.requires_grad:
                    found.append(member)
        return found


class Linear(Layer):
    def __init__(self, rng: np.random.Generator, size: int, to: int) -> None:
        weight = rng.standard_normal((size, to), np.float32) / np.float32(np.sqrt(size))
        self.weight = Tensor(weight, requires_grad=True)
        self.bias = Tensor(np.zeros(to, np.float32), requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class LayerNorm(Layer):
    def __init__(self, size: int) -> None:
        self.gain = Tensor(np.ones(size, np.float32), requires_grad=True)
        self.shift = Tensor(np.zeros(size, np.float32), requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        centred = x.data - x.data.mean(axis=-1, keepdims=True)
        squares = (centred * centred).mean(axis=-1, keepdims=True)
        deviation = np.sqrt(squares + np.float32(1e-5))
        normal = centred / deviation
        function = Normalize(x, normal=normal, deviation=deviation)
        return made_by(function, normal) * self.gain + self.shift


class Embedding(Layer):
    def __init__(self, rng: np.random.Generator, count: int, size: int) -> None:
        table = rng.standard_normal((count, size), np.float32) * np.float32(0.1)
        self.table = Tensor(table, requires_grad=True)

    def forward(self, x: Array) -> Tensor:
        return made_by(Lookup(self.table, rows=x), self.table.data[x])


class CrossEntropy(Layer):
    """Mean of −log softmax(scores)[label]."""

    def forward(self, x: tuple[Tensor, Array]) -> Tensor:
        scores, labels = x
        shifted = scores.data - scores.data.max(axis=-1, keepdims=True)
        exponentials = np.exp(shifted)
        shares = exponentials / exponentials.sum(axis=-1, keepdims=True)
        loss = -np.log(shares[np.arange(len(labels)), labels]).mean()
        return made_by(CrossEntropyFunction(scores, shares=shares, labels=labels), loss)


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1), changing the parameters in place."""

    def __init__(self, parameters: list[Tensor], rate: float = 1e-3) -> None:
        self.parameters, self.rate, self.t = parameters, rate, 0
        self.means = [np.zeros_like(p.data) for p in parameters]
        self.squares = [np.zeros_like(p.data) for p in parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Move every parameter once."""
        self.t += 1
        size = np.float32(self.rate * (1 - 0.999**self.t) ** 0.5 / (1 - 0.9**self.t))
        for i, parameter in enumerate(self.parameters):
            gradient, mean, square = parameter.grad, self.means[i], self.squares[i]
            if gradient is None:
                continue
            mean += np.float32(0.1) * (gradient - mean)
            square += np.float32(0.001) * (gradient * gradient - square)
            parameter.data -= size * mean / (np.sqrt(square) + np.float32(1e-8))


class DataLoader:
    """Batches of stretches of a text, and what follows each character."""

    def __init__(self, rng: np.random.Generator, text: Array, length: int, batch_size: int) -> None:
        self.rng, self.text = rng, text
        self.length, self.batch_size = length, batch_size
        self.batches = len(text) // (length * batch_size)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for _ in range(self.batches):
            starts = self.rng.integers(0, len(self.text) - self.length - 1, self.batch_size)
            rows = starts[:, None] + np.arange(self.length)
            yield self.text[rows], self.text[rows + 1]
