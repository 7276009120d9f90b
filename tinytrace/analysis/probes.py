"""Timing many small things in turns: what one call takes at best, and how far the rounds lie apart."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tinytrace.analysis.peaks import Peak

Clock = Callable[[], int]
Progress = Callable[[float], None]
# A thing that takes longer than this is not done once more beforehand, to have its operands in the caches:
# it moves more than they hold, or computes on them for long.
LONG_NS = 10_000_000
MAX_CALLS = 1_000_000  # per block: on a clock that stands still, say


@dataclass(frozen=True, slots=True)
class Probe:
    """A thing to be timed.

    Attributes:
        name: what its figure is called; the best of all probes of one name counts.
        work: what one call does: FLOPs, evaluations, bytes; 1 where the time of the call is the figure.
        call: does it.
        footprint_bytes: of its operands, where that is what tells it from others of its name.
    """

    name: str
    work: float
    call: Callable[[], object]
    footprint_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Timed:
    """A probe, and what a call of it took in each round, in ns."""

    probe: Probe
    call_ns: tuple[float, ...]

    @property
    def best_ns(self) -> float:
        """The shortest."""
        return min(self.call_ns)

    def rate(self) -> Peak:
        """Return work per ns, which is 10⁹ per second."""
        work = self.probe.work
        return Peak(
            work / self.best_ns, work / max(self.call_ns), work / self.best_ns, len(self.call_ns)
        )

    def duration(self) -> Peak:
        """Return the time of a call, ns."""
        return Peak(self.best_ns, self.best_ns, max(self.call_ns), len(self.call_ns))


@dataclass(frozen=True)
class Stopwatch:
    """How things are timed.

    Attributes:
        rounds: how often each is timed. All are timed once before any is again, so that a disturbance
            hits one round of many things instead of all rounds of one; every other round goes backwards.
        block_ns: for how long it is called in one round, without a look at the clock.
        clock: tells ns.
        limit: returns what limits BLAS to so many threads while it is entered.
        progress: is told the share that is done, 0…1.
    """

    rounds: int
    block_ns: int
    clock: Clock = time.perf_counter_ns
    limit: Callable[[int], AbstractContextManager[object]] = lambda threads: (
        contextlib.nullcontext()
    )
    progress: Progress = lambda share: None

    def once_ns(self, call: Callable[[], object]) -> int:
        """Return what one call takes, the first one left aside."""
        call()
        begin_ns = self.clock()
        call()
        return max(1, self.clock() - begin_ns)

    def time(self, probes: Sequence[Probe], threads: Sequence[int] = (1,)) -> list[Timed]:
        """Time things in turns, all of them with each of these numbers of BLAS threads in every round.

        Returns:
            one per probe; ``call_ns`` has, of each round, the best number of threads.
        """
        if not probes:
            return []
        calls: dict[tuple[int, int], int] = {}
        best = [[float("inf")] * self.rounds for _ in probes]
        done, all_blocks = 0, self.rounds * len(threads) * len(probes)
        for turn in range(self.rounds):
            for number in threads:
                with self.limit(number):
                    for place in _order(len(probes), backwards=turn % 2 == 1):
                        took_ns = self._block_ns(probes[place].call, calls, (number, place))
                        best[place][turn] = min(best[place][turn], took_ns)
                        done += 1
                        self.progress(done / all_blocks)
        return [Timed(probe, tuple(times)) for probe, times in zip(probes, best, strict=True)]

    def _block_ns(
        self, call: Callable[[], object], calls: dict[tuple[int, int], int], key: tuple[int, int]
    ) -> float:
        """Call for about ``block_ns``; returns the time of one call."""
        if key not in calls:
            once = self.once_ns(call)
            calls[key] = 0 if once > LONG_NS else max(1, min(MAX_CALLS, self.block_ns // once))
        if calls[key]:
            call()
        times = max(1, calls[key])
        begin_ns = self.clock()
        for _ in itertools.repeat(None, times):
            call()
        return max(1, self.clock() - begin_ns) / times


def _order(count: int, *, backwards: bool) -> Iterator[int]:
    return reversed(range(count)) if backwards else iter(range(count))


def best_rates(timed: Sequence[Timed]) -> dict[str, Peak]:
    """Return the fastest probe of each name, 10⁹ per second."""
    best: dict[str, Peak] = {}
    for one in timed:
        peak = one.rate()
        if one.probe.name not in best or peak.value > best[one.probe.name].value:
            best[one.probe.name] = peak
    return best
