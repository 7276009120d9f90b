"""A program of three phases whose shares of time are known. No benchmark by itself.

    python benchmarks/three_phases.py CYCLES

Each phase treats a sampling thread differently: pure Python gives up the interpreter's lock when asked;
a matrix product releases it; ``sorted`` holds it all the while. Each takes about 0.1 s per cycle; how
long they really took is printed at the end, as ``phases`` and a JSON object of ns.

What ``sorted`` returns is freed after its phase: what C code does after the last call of a function, a
sampler that needs the lock sees in the caller.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

import numpy as np

PHASE_S = 0.1
NUMBERS = [random.Random(0).random() for _ in range(20_000)]
MATRIX = np.random.default_rng(0).random((200, 200))


def phase_python(n: int) -> object:
    """Hold the lock, and give it up when asked."""
    total = 0
    for i in range(n):
        total += i * i % 7
    return total


def phase_matmul(n: int) -> object:
    """Release the lock."""
    for _ in range(n):
        MATRIX @ MATRIX
    return None


def phase_sorted(numbers: list[float]) -> object:
    """Hold the lock in one call of C code."""
    return sorted(numbers)


TRIALS: dict[Callable[..., object], int] = {phase_python: 20_000, phase_matmul: 20, phase_sorted: 2}


def load(phase: Callable[..., object], amount: int) -> int | list[float]:
    """Return what to call the phase with."""
    return NUMBERS * amount if phase is phase_sorted else amount


def timed(phase: Callable[..., object], argument: int | list[float]) -> int:
    """Return the time of one call, in ns; samples under this function belong to the cycles."""
    begin_ns = time.perf_counter_ns()
    result = phase(argument)
    spent_ns = time.perf_counter_ns() - begin_ns
    del result
    return spent_ns


def main() -> None:
    """Find out how much takes 0.1 s, then run the cycles in a random order."""
    arguments = {}
    for phase, trial in TRIALS.items():
        phase(load(phase, 1))
        begin = time.perf_counter()
        phase(load(phase, trial))
        amount = round(trial * PHASE_S / (time.perf_counter() - begin))
        arguments[phase] = load(phase, max(1, amount))
    spent_ns = dict.fromkeys(TRIALS, 0)
    order = [phase for phase in TRIALS for _ in range(int(sys.argv[1]))]
    random.Random(1).shuffle(order)
    for phase in order:
        spent_ns[phase] += timed(phase, arguments[phase])
    print("phases", json.dumps({phase.__name__: ns for phase, ns in spent_ns.items()}))


if __name__ == "__main__":
    main()
