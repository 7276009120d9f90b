"""Two loops to be slowed down, one of pure Python and one of NumPy. No benchmark by itself.

    python benchmarks/loops.py (python|numpy) TIMES

prints ``loop_ns`` and how long the loop took, so that a profiler that runs it as a program can be judged
without its start-up. Neither loop waits for anything or uses a second thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

NUMBERS = 500  # some ms of pure Python per time
ELEMENTS = 20_000  # some 10 µs per operation: neither all overhead nor one long wait


def steps_to_one(n: int) -> int:
    """Return how many steps of Collatz lead from n to 1."""
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def python_loop(times: int) -> int:
    """Calls, integers, branches; returns the wall time in ns."""
    begin = time.perf_counter_ns()
    for _ in range(times):
        longest = 0
        for n in range(1, NUMBERS):
            longest = max(longest, steps_to_one(n))
    return time.perf_counter_ns() - begin


def numpy_loop(times: int) -> int:
    """Elementwise operations and reductions on one core; returns the wall time in ns."""
    import numpy as np

    a = np.linspace(0, 1, ELEMENTS, dtype=np.float32)
    b = a + 1
    begin = time.perf_counter_ns()
    for _ in range(times * 40):
        c = a * b + a
        np.maximum(c, b, out=c)
        c.sum()
        np.sqrt(c, out=c)
    return time.perf_counter_ns() - begin


LOOPS: dict[str, Callable[[int], int]] = {"python": python_loop, "numpy": numpy_loop}

if __name__ == "__main__":
    print("loop_ns", LOOPS[sys.argv[1]](int(sys.argv[2])))
