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
# it moves more than they hold, or computes on them for long. (In 2 ms one core moves some 400 MB within its caches,
# and 40 MB or more from memory.)
LONG_NS = 2_000_000
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


@dataclass(frozen=True, slots=True)
class _Job:
    """Probes with one number of threads, and the times so far."""

    threads: int
    probes: list[Probe]
    call_ns: list[list[float]]

    def timed(self) -> list[Timed]:
        return [Timed(p, tuple(ns)) for p, ns in zip(self.probes, self.call_ns, strict=True)]


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
        """Return what one call takes; of what is short, the first one left aside."""
        took_ns = 0
        for _ in range(2):
            begin_ns = self.clock()
            call()
            took_ns = max(1, self.clock() - begin_ns)
            if took_ns > LONG_NS:
                break
        return took_ns

    def time(self, groups: Sequence[tuple[int, Sequence[Probe]]]) -> list[list[Timed]]:
        """Time things in turns.

        Args:
            groups: numbers of BLAS threads, and what is timed with each.

        Returns:
            the same groups, timed.
        """
        jobs = [_Job(number, list(probes), [[] for _ in probes]) for number, probes in groups]
        done, all_blocks = 0, self.rounds * sum(len(job.probes) for job in jobs)
        calls: dict[tuple[int, int], int] = {}
        for turn in range(self.rounds):
            backwards = turn % 2 == 1
            for which in _order(len(jobs), backwards=backwards):
                job = jobs[which]
                with self.limit(job.threads):
                    for place in _order(len(job.probes), backwards=backwards):
                        call = job.probes[place].call
                        job.call_ns[place].append(self._block_ns(call, calls, (which, place)))
                        done += 1
                        self.progress(done / all_blocks)
        return [job.timed() for job in jobs]

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
