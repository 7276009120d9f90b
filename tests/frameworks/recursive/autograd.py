import numpy as np

from tests.frameworks.recursive.tensor import Tensor


class Function:
    def __init__(self, *tensors):
        self.saved_tensors = tensors

    def apply(self, grad_output):
        raise NotImplementedError


class AddBackward(Function):
    def apply(self, grad_output):
        return grad_output, grad_output


class MatmulBackward(Function):
    def apply(self, grad_output):
        a, b = self.saved_tensors
        return grad_output @ b.data.T, a.data.T @ grad_output


class ReluBackward(Function):
    def apply(self, grad_output):
        return (grad_output * (self.saved_tensors[0].data > 0),)


class MeanBackward(Function):
    def apply(self, grad_output):
        data = self.saved_tensors[0].data
        return (np.full_like(data, grad_output / data.size),)


def enable_autograd():
    if hasattr(Tensor, "_autograd_enabled"):
        return
    add, matmul = Tensor.__add__, Tensor.matmul

    def tracked(original, function):
        def method(self, other):
            result = original(self, other)
            if self.requires_grad or other.requires_grad:
                result.requires_grad = True
                result._grad_fn = function(self, other)
            return result

        return method

    def backward(self, gradient=None):
        if not self.requires_grad:
            return
        gradient = np.ones_like(self.data) if gradient is None else gradient
        while gradient.ndim > self.data.ndim:
            gradient = gradient.sum(axis=0)
        self.grad = gradient if self.grad is None else self.grad + gradient
        function = getattr(self, "_grad_fn", None)
        if function is not None:
            for tensor, part in zip(function.saved_tensors, function.apply(gradient), strict=False):
                if tensor.requires_grad:
                    tensor.backward(part)

    Tensor.__add__ = tracked(add, AddBackward)
    Tensor.matmul = tracked(matmul, MatmulBackward)
    Tensor.backward = backward
    Tensor._autograd_enabled = True
