"""The second generation: ``apply`` makes a node, forward; its ``backward`` is static and is given a context."""

import numpy as np


class Context:
    def __init__(self):
        self.saved, self.parents, self.function = (), (), None


class Function:
    @classmethod
    def apply(cls, *inputs):
        ctx = Context()
        ctx.function, ctx.parents = cls, inputs
        result = Variable(cls.forward(ctx, *[v.data for v in inputs]))
        result.grad_fn = ctx
        return result


class Multiply(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.saved = a, b
        return a * b

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved
        return gradient * b, gradient * a


class Square(Function):
    @staticmethod
    def forward(ctx, a):
        ctx.saved = (a,)
        return a * a

    @staticmethod
    def backward(ctx, gradient):
        return (2 * gradient * ctx.saved[0],)


class Variable:
    def __init__(self, data):
        self.data, self.grad, self.grad_fn = np.asarray(data), None, None

    @property
    def shape(self):
        return self.data.shape

    def __mul__(self, other):
        return Multiply.apply(self, other)

    def square(self):
        return Square.apply(self)

    def backward(self):
        self.grad = np.ones_like(self.data)
        stack = [self]
        while stack:
            variable = stack.pop()
            ctx = variable.grad_fn
            if ctx is None:
                continue
            for parent, gradient in zip(
                ctx.parents, ctx.function.backward(ctx, variable.grad), strict=False
            ):
                parent.grad = gradient if parent.grad is None else parent.grad + gradient
                stack.append(parent)


class Module:
    def __call__(self, *args):
        return self.forward(*args)


class Scale(Module):
    def __init__(self):
        self.factor = Variable(np.full(3, 2.0))

    def forward(self, x):
        return x * self.factor


class Net(Module):
    def __init__(self):
        self.stages = {"first": Scale(), "second": (Scale(), Scale())}

    def forward(self, x):
        x = self.stages["first"].forward(x)
        for stage in self.stages["second"]:
            x = stage(x)
        return x.square()
