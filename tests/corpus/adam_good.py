"""Adam in place, on all parameters as one array, piece by piece so that the pieces stay in cache."""

import numpy as np


class Adam:
    def __init__(self, parameters):
        self.parameters = parameters
        self.m, self.v = np.zeros_like(parameters), np.zeros_like(parameters)
        self.square, self.root = (
            np.empty_like(parameters[:PIECE]),
            np.empty_like(parameters[:PIECE]),
        )
        self.t = 0

    def step(self, gradients):
        self.t += 1
        rate = 0.001 * (1 - 0.999**self.t) ** 0.5 / (1 - 0.9**self.t)
        square, root = self.square, self.root
        for begin in range(0, len(self.parameters), PIECE):
            piece = slice(begin, begin + PIECE)
            p, g, m, v = self.parameters[piece], gradients[piece], self.m[piece], self.v[piece]
            np.multiply(g, g, out=square)
            square -= v
            square *= 0.001
            v += square
            np.subtract(g, m, out=root)
            root *= 0.1
            m += root
            np.sqrt(v, out=root)
            root += 1e-8
            np.divide(m, root, out=root)
            root *= rate
            p -= root


PIECE = 65_536
rng = np.random.default_rng(0)
parameters = rng.standard_normal(4 * 512 * 512, dtype=np.float32)
gradients = rng.standard_normal(4 * 512 * 512, dtype=np.float32)
adam = Adam(parameters)
for _ in range(20):
    adam.step(gradients)
