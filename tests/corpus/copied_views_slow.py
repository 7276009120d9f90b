"""A tensor whose constructor copies what it is given, views included."""

import numpy as np


class Tensor:
    def __init__(self, data):
        self.data = np.array(data, dtype=np.float32)  # planted

    def reshape(self, *shape):
        return Tensor(self.data.reshape(shape))

    def transpose(self):
        return Tensor(self.data.T)


x = Tensor(np.random.default_rng(0).standard_normal((512, 2048), dtype=np.float32))
for _ in range(25):
    heads = x.reshape(512, 32, 64).reshape(512 * 32, 64)
    x = heads.transpose().transpose().reshape(512, 2048)
