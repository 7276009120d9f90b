"""Adam as it is written on paper: a temporary for every operation."""

import numpy as np


class Adam:
    def __init__(self, parameters):
        self.parameters = parameters
        self.m = [np.zeros_like(p) for p in parameters]
        self.v = [np.zeros_like(p) for p in parameters]
        self.t = 0

    def step(self, gradients):
        self.t += 1
        for i, (p, g) in enumerate(zip(self.parameters, gradients, strict=True)):
            self.m[i] = 0.9 * self.m[i] + 0.1 * g  # planted
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g  # planted
            m_hat = self.m[i] / (1 - 0.9**self.t)  # planted
            v_hat = self.v[i] / (1 - 0.999**self.t)  # planted
            self.parameters[i] = p - 0.001 * m_hat / (np.sqrt(v_hat) + 1e-8)  # planted


rng = np.random.default_rng(0)
parameters = [rng.standard_normal((512, 512), dtype=np.float32) for _ in range(4)]
gradients = [rng.standard_normal((512, 512), dtype=np.float32) for _ in range(4)]
adam = Adam(parameters)
for _ in range(20):
    adam.step(gradients)
