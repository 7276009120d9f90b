"""A loader that makes an array of every sample, and then stacks them."""

import numpy as np

images = np.random.default_rng(0).random((4_000, 16, 16), dtype=np.float32)


class Dataset:
    def __getitem__(self, index):
        return np.array(images[index])  # planted


def batches(dataset, order, size):
    for begin in range(0, len(order), size):
        samples = [dataset[i] for i in order[begin : begin + size]]
        yield np.stack(samples)  # planted


weight = np.random.default_rng(1).random((256, 32), dtype=np.float32)
for epoch in range(8):
    order = np.random.default_rng(epoch).permutation(4_000)
    for batch in batches(Dataset(), order, 100):
        batch.reshape(100, 256) @ weight
