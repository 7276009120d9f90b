"""A loader thread that reads one batch at a time, on demand: the main thread waits for each."""

import queue
import threading
import time

import numpy as np

stored = np.random.default_rng(0).random((64, 128, 256), dtype=np.float32)
asked, loaded = queue.Queue(), queue.Queue()


def load():
    while (index := asked.get()) is not None:
        time.sleep(0.003)  # a slow disk
        loaded.put(stored[index].copy())


def train(weight):
    for step in range(100):
        asked.put(step % 64)
        batch = loaded.get()  # planted
        for _ in range(4):
            batch @ weight


loader = threading.Thread(target=load)
loader.start()
train(np.random.default_rng(1).random((256, 256), dtype=np.float32))
asked.put(None)
loader.join()
