"""At the end, the program's debuggers and profilers are not shown what we do.

A function that the program has given to ``sys.settrace`` or ``sys.setprofile`` is called for our Python
code as well. Switching it off takes code that it does not see: nothing but C calls, made by `atexit`.
"""

from __future__ import annotations

import atexit
import sys
from collections import deque
from collections.abc import Callable
from itertools import starmap
from typing import Any


def at_exit_unobserved(function: Callable[[], None]) -> None:
    """Call ``function`` when Python ends, with tracing and profiling functions put aside meanwhile."""
    traced: list[Any] = []
    profiled: list[Any] = []
    # What is registered last is called first. The iterators are lazy: they call when they are read.
    nowhere: deque[Any] = deque(maxlen=0)
    atexit.register(nowhere.extend, map(sys.settrace, traced))
    atexit.register(nowhere.extend, map(sys.setprofile, profiled))
    atexit.register(function)
    atexit.register(sys.setprofile, None)
    atexit.register(sys.settrace, None)
    atexit.register(profiled.extend, starmap(sys.getprofile, [()]))
    atexit.register(traced.extend, starmap(sys.gettrace, [()]))
