"""The third generation: no dictionaries, each node visited once, and the graph is cleared behind the backward pass."""

import numpy as np


class Tensor:
    __slots__ = ("_grad_fn", "data", "grad", "requires_grad")

    def __init__(self, data, requires_grad=False):
        self.data = np.asarray(data)
        self.requires_grad, self.grad, self._grad_fn = requires_grad, None, None

    shape = property(lambda self: self.data.shape)

    def __bool__(self):
        raise ValueError("the truth of a tensor is ambiguous")

    def __eq__(self, other):
        raise ValueError("so is its equality")

    __hash__ = None

    def __mul__(self, other):
        result = Tensor(self.data * other.data, True)
        result._grad_fn = Mul(self, other)
        return result

    def backward(self):
        order, seen = [], set()

        def visit(tensor):
            node = tensor._grad_fn
            if node is not None and id(node) not in seen:
                seen.add(id(node))
                for source in node.inputs:
                    visit(source)
                order.append(tensor)

        visit(self)
        self.grad = np.ones_like(self.data)
        for tensor in reversed(order):
            node, tensor._grad_fn = tensor._grad_fn, None
            for source, gradient in zip(node.inputs, node.apply(tensor.grad), strict=False):
                source.grad = gradient if source.grad is None else source.grad + gradient


class Function:
    __slots__ = ("inputs",)

    def __init__(self, *inputs):
        self.inputs = inputs


class Mul(Function):
    __slots__ = ()

    def apply(self, gradient):
        a, b = self.inputs
        return gradient * b.data, gradient * a.data


class Layer:
    __slots__ = ()

    def __call__(self, x):
        return self.forward(x)


class Scale(Layer):
    __slots__ = ("factor",)

    def __init__(self):
        self.factor = Tensor(np.full(3, 2.0), True)

    def forward(self, x):
        return x * self.factor


class Model(Layer):
    __slots__ = ("first", "layers")

    def __init__(self):
        self.first, self.layers = Scale(), [Scale(), Scale()]

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Loader:
    batch_size = 2

    def __init__(self, count):
        self.left = count

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        return Tensor(np.full(3, float(self.left)))


class Descent:
    def __init__(self, parameters):
        self.parameters = parameters

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        for p in self.parameters:
            p.data = p.data - 0.1 * p.grad
