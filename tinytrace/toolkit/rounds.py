"""Calls timed in turns: every form in every round, in random order."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tinytrace.analysis.comparison import LEAST_ROUNDS, SEED
from tinytrace.errors import UsageError

NS_PER_MS, NS_PER_S = 1e6, 1e9
ROUNDS = 30
WARM_UP = 3  # rounds left out: caches, lazily made tables, clocks that rise
BLOCK_NS = 1_000_000  # per form and round at least: 10,000 times the resolution of the clock
SLOW_NS = 1_000_000_000  # a call of which one tells how long it takes
BUDGET_S = 600.0  # that a measurement may take, if nothing else was said

Clock = Callable[[], int]
Progress = Callable[[float], None]


def check_rounds(rounds: int, models: int = 1) -> None:
    """Find out that so many rounds show nothing.

    Args:
        rounds: how many.
        models: that are compared in them.

    Raises:
        UsageError: they are too few.
    """
    needed = enough(models)
    if rounds < needed:
        some = "1 round is" if rounds == 1 else f"{rounds} rounds are"
        what = "tell anything" if models < 3 else f"compare {models} models"
        raise UsageError(f"{some} too few to {what}: at least {needed}")


def enough(models: int) -> int:
    """Return how many rounds so many models need for intervals that hold together.

    P(T = 0) is 2⁻ⁿ, and may be half of what each interval may miss: 0.05 ÷ (models − 1).

    Example:
        >>> enough(2), enough(12)
        (6, 9)
    """
    return max(LEAST_ROUNDS, math.ceil(1 + math.log2(20 * max(1, models - 1))))


def in_turns(
    calls: Sequence[Callable[[], Any]],
    rounds: int,
    clock: Clock,
    progress: Progress = lambda share: None,
    loops: Sequence[Loop] | None = None,
) -> list[list[float]]:
    """Return per form its ms per call in each round.

    A round runs each form as often as it takes to fill 1 ms. Garbage is collected between the forms and not inside.

    Args:
        calls: the forms.
        rounds: how many are returned; three more are run before them.
        clock: tells ns.
        progress: is told the share that is done, 0…1.
        loops: how often each is called in a round; None: that is found out.

    Raises:
        Exception: whatever a call raises.

    Example:
        >>> ticks = iter(range(0, 10**12, 10**7))
        >>> in_turns([int], 2, lambda: next(ticks))
        [[10.0, 10.0]]
    """
    found: list[list[float]] = [[] for _ in calls]
    if loops is None:
        loops = calibrated(calls, clock)
    order = random.Random(SEED)  # a schedule, nothing secret
    places = list(range(len(calls)))
    for number in range(WARM_UP + rounds):
        order.shuffle(places)
        for place in places:
            took_ms = block_ms(calls[place], loops[place].times, clock)
            if number >= WARM_UP:
                found[place].append(took_ms)
        progress((number + 1) / (WARM_UP + rounds))
    return found


class Loop(NamedTuple):
    """How often a form is called in one round, and what that takes, about."""

    times: int
    block_ns: int


def calibrate(call: Callable[[], Any], clock: Clock) -> Loop:
    """Find out how often a form must be called to fill 1 ms.

    Args:
        call: the form.
        clock: tells ns.

    Example:
        >>> ticks = iter(range(0, 10**9, 250_000))
        >>> calibrate(int, lambda: next(ticks))
        Loop(times=4, block_ns=1000000)
    """
    once_ns = _block_ns(call, 1, clock)
    if once_ns < SLOW_NS:  # the first call may have made what later ones find
        once_ns = max(1, min(once_ns, _block_ns(call, 1, clock)))
    times = math.ceil(BLOCK_NS / once_ns)
    return Loop(times, times * once_ns)


def calibrated(
    calls: Sequence[Callable[[], Any]],
    clock: Clock,
    *,
    rounds: int = 0,
    turns: int = 0,
    budget_s: float = math.inf,
) -> list[Loop]:
    """Find out how often forms must be called, and whether there is time for that.

    Args:
        calls: the forms.
        clock: tells ns.
        rounds: how many there will be.
        turns: in each of them, the first form's being as many as are left by the others.
        budget_s: how long they may take.

    Raises:
        UsageError: they take longer; found out at the first form for which that is sure.
    """
    found: list[Loop] = []
    for call in calls:
        found.append(calibrate(call, clock))
        each_ns = sum(loop.block_ns for loop in found)
        each_ns += max(0, turns - len(calls)) * found[0].block_ns
        check_budget((WARM_UP + rounds) * each_ns / NS_PER_S, rounds, budget_s)
    return shared(found)


def shared(loops: Sequence[Loop]) -> list[Loop]:
    """Give forms that take about the same the same number of calls, so that how it was found out tells none apart.

    Args:
        loops: as calibrated.

    Returns:
        in the same order; each has the most calls of all that take up to twice as long as the shortest of its group.

    Example:
        >>> [loop.times for loop in shared([Loop(9, 900), Loop(1, 1000), Loop(10, 990)])]
        [10, 1, 10]
    """
    found = list(loops)
    order = sorted(range(len(loops)), key=lambda i: -loops[i].times)
    most = None
    for i in order:
        if most is None or 2 * loops[i].times < most:
            most = loops[i].times
        found[i] = Loop(most, most * loops[i].block_ns // loops[i].times)
    return found


def check_budget(needed_s: float, rounds: int, budget_s: float) -> None:
    """Find out that a measurement takes longer than it may, before it begins.

    Args:
        needed_s: about how long it takes.
        rounds: how many it has.
        budget_s: how long it may take.

    Raises:
        UsageError: it takes longer; says how long.

    Example:
        >>> check_budget(10, 30, 600)
    """
    if needed_s > budget_s:
        raise UsageError(
            f"{rounds} rounds would take about {in_words(needed_s)}, and may take {in_words(budget_s)}: fewer rounds "
            f"(at least {LEAST_ROUNDS}), less to do, or a larger budget (budget_s, --budget): "
            f"{math.ceil(1.2 * needed_s)} s"
        )


def in_words(seconds: float) -> str:
    """Return a time for people.

    Example:
        >>> in_words(5), in_words(600), in_words(7300)
        ('5 s', '10 min', '2.03 h')
    """
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def block_ms(call: Callable[[], Any], times: int, clock: Clock) -> float:
    """Return what one of so many calls takes, in ms. Garbage is not collected meanwhile.

    Where it is called more than once, one more call before finds what the other forms have pushed out of the caches.

    Args:
        call: the form.
        times: how often it is called.
        clock: tells ns.

    Raises:
        UsageError: the clock stands still.
        Exception: whatever the call raises.

    Example:
        >>> block_ms(int, 2, iter([0, 4_000_000]).__next__)
        2.0
    """
    if times > 1:
        call()
    took_ns = _block_ns(call, times, clock)
    if took_ns <= 0:
        raise UsageError(
            f"the clock did not move during {times:,} calls: nothing can be measured by it"
        )
    return took_ns / times / NS_PER_MS


def _block_ns(call: Callable[[], Any], times: int, clock: Clock) -> int:
    was_on = gc.isenabled()
    gc.disable()
    try:
        begin_ns = clock()
        for _ in range(times):
            call()
        return clock() - begin_ns
    finally:
        if was_on:
            gc.enable()
