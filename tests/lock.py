"""Whether a function gives up the interpreter's lock."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable


def turns_of_others(read: Callable[[], object], times: int = 1000) -> int:
    """How often another thread that waits for the lock gets it while ``read`` is called so often in a row."""
    turns, stop = [0], [False]

    def other() -> None:
        while not stop[0]:
            turns[0] += 1
            time.sleep(0)

    before = sys.getswitchinterval()
    thread = threading.Thread(target=other)
    sys.setswitchinterval(60)  # so that only giving up the lock lets the other one run
    thread.start()
    try:
        first = turns[0]
        for _ in range(times):
            read()
        return turns[0] - first
    finally:
        sys.setswitchinterval(before)
        stop[0] = True
        thread.join()
