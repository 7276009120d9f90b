"""Loader threads that read all batches side by side, once: they are kept, and nobody waits after that."""

import queue
import threading
import time

import numpy as np

stored = np.random.default_rng(0).random((8, 128, 256), dtype=np.float32)
asked, loaded = queue.Queue(), queue.Queue()


def load():
    while (index := asked.get()) is not None:
        time.sleep(0.003)  # a slow disk
        loaded.put(stored[index].copy())


def train(weight):
    for index in range(8):
        asked.put(index)
    batches = [loaded.get() for _ in range(8)]
    for step in range(600):
        for _ in range(4):
            batches[step % 8] @ weight


loaders = [threading.Thread(target=load) for _ in range(8)]
for loader in loaders:
    loader.start()
train(np.random.default_rng(1).random((256, 256), dtype=np.float32))
for _ in loaders:
    asked.put(None)
for loader in loaders:
    loader.join()
