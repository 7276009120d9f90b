"""Calls timed in turns: every form in every round, in random order."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from tinytrace.analysis.comparison import LEAST_ROUNDS, SEED
from tinytrace.errors import UsageError

NS_PER_MS, NS_PER_S = 1e6, 1e9
ROUNDS = 30
WARM_UP = 3  # rounds left out: caches, lazily made tables, clocks that rise
BLOCK_NS = 1_000_000  # per form and round at least: 10,000 times the resolution of the clock
LONGEST_CALL_NS = 60 * 10**9

Clock = Callable[[], int]
Progress = Callable[[float], None]


def check_rounds(rounds: int) -> None:
    """Find out that so many rounds show nothing.

    Raises:
        UsageError: they are too few.
    """
    if rounds < LEAST_ROUNDS:
        raise UsageError(f"{rounds} rounds are too few to tell anything: at least {LEAST_ROUNDS}")


def in_turns(
    calls: Sequence[Callable[[], Any]],
    rounds: int,
    clock: Clock,
    progress: Progress = lambda share: None,
    times: list[list[float]] | None = None,
) -> list[list[float]]:
    """Return per form its ms per call in each round.

    A round runs each form as often as it takes to fill 1 ms. Garbage is collected between the forms and not inside.

    Args:
        calls: the forms.
        rounds: how many are returned; three more are run before them.
        clock: tells ns.
        progress: is told the share that is done, 0…1.
        times: a list per form, to which its times are added as they come; None: new ones.

    Raises:
        UsageError: one call takes longer than a minute.
        Exception: whatever a call raises.

    Example:
        >>> ticks = iter(range(0, 10**12, 10**7))
        >>> in_turns([int], 2, lambda: next(ticks))
        [[10.0, 10.0]]
    """
    found: list[list[float]] = [[] for _ in calls] if times is None else times
    loops = [_loops(call, rounds, clock) for call in calls]
    order = random.Random(SEED)  # a schedule, nothing secret
    places = list(range(len(calls)))
    for number in range(WARM_UP + rounds):
        order.shuffle(places)
        for place in places:
            took_ns = _block_ns(calls[place], loops[place], clock)
            if number >= WARM_UP:
                found[place].append(max(took_ns, 1) / loops[place] / NS_PER_MS)
        progress((number + 1) / (WARM_UP + rounds))
    return found


def _loops(call: Callable[[], Any], rounds: int, clock: Clock) -> int:
    first_ns = _block_ns(call, 1, clock)
    if first_ns > LONGEST_CALL_NS:
        raise UsageError(
            f"one call takes {first_ns / NS_PER_S:.0f} s: too long to repeat it {rounds} times"
        )
    second_ns = _block_ns(call, 1, clock)
    return math.ceil(BLOCK_NS / max(1, min(first_ns, second_ns)))


def _block_ns(call: Callable[[], Any], loop: int, clock: Clock) -> int:
    was_on = gc.isenabled()
    gc.disable()
    try:
        begin_ns = clock()
        for _ in range(loop):
            call()
        return clock() - begin_ns
    finally:
        if was_on:
            gc.enable()
