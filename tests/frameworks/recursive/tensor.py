import numpy as np


class Tensor:
    def __init__(self, data, requires_grad=False):
        self.data = np.array(data, dtype=np.float32)
        self.shape = self.data.shape
        self.requires_grad = requires_grad
        self.grad = None

    def __add__(self, other):
        return Tensor(self.data + other.data)

    def matmul(self, other):
        return Tensor(self.data @ other.data)

    def numpy(self):
        return self.data

    def size(self):
        return self.data.size
