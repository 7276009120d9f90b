import numpy as np

from tests.frameworks.recursive.tensor import Tensor


class Optimizer:
    def __init__(self, parameters):
        self.parameters = parameters

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def step(self):
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.data = parameter.data - np.float32(0.01) * parameter.grad


class SGD(Optimizer):
    def step(self):
        super().step()


class Loader:
    def __init__(self, data, batch_size):
        self.data, self.batch_size = data, batch_size

    def __iter__(self):
        for begin in range(0, len(self.data), self.batch_size):
            samples = [Tensor(row) for row in self.data[begin : begin + self.batch_size]]
            yield Tensor(np.stack([sample.data for sample in samples]))
