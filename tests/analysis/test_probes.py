"""Timing in turns, on a clock that the things themselves move."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tinytrace.analysis.peaks import Peak
from tinytrace.analysis.probes import LONG_NS, MAX_CALLS, Probe, Stopwatch, Timed, best_rates


@dataclass
class FakeTime:
    """A clock; what runs on it, in order."""

    now_ns: int = 0
    calls: list[str] = field(default_factory=list)

    def clock(self) -> int:
        return self.now_ns

    def taking(self, name: str, *times_ns: int) -> Callable[[], None]:
        """A thing that takes these times, one after the other, and then the last of them."""
        left = list(times_ns)

        def call() -> None:
            self.calls.append(name)
            self.now_ns += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_a_call_is_timed_to_the_nanosecond_and_the_first_one_is_left_aside() -> None:
    time = FakeTime()
    [[timed]] = Stopwatch(3, 10_000, time.clock).time(
        [(1, [Probe("a", 500, time.taking("a", 9000, 250))])]
    )
    assert timed.call_ns == (250, 250, 250)
    assert timed.rate() == Peak(2.0, 2.0, 2.0, 3)


def test_a_block_lasts_as_long_as_asked() -> None:
    time = FakeTime()
    Stopwatch(1, 10_000, time.clock).time([(1, [Probe("a", 1, time.taking("a", 100))])])
    assert len(time.calls) == 2 + 1 + 100  # to see how long it takes, to warm up, the block


def test_what_takes_long_is_called_once_to_see_and_once_per_round() -> None:
    time = FakeTime()
    long = time.taking("a", LONG_NS + 1)
    [[timed]] = Stopwatch(3, 10_000, time.clock).time([(1, [Probe("a", 1, long)])])
    assert len(time.calls) == 1 + 3
    assert timed.best_ns == LONG_NS + 1


def test_rounds_are_interleaved_and_every_other_goes_backwards() -> None:
    time = FakeTime()
    probes = [Probe(name, 1, time.taking(name, LONG_NS + 1)) for name in "abc"]
    Stopwatch(3, 1, time.clock).time([(1, probes[:2]), (1, probes[2:])])
    assert "".join(time.calls) == "aabbcc" + "cba" + "abc"


def test_each_group_has_its_number_of_threads() -> None:
    time, entered = FakeTime(), list[str]()

    @contextlib.contextmanager
    def limit(threads: int) -> Iterator[None]:
        entered.append(f"{threads}")
        yield
        entered.append("out")

    probe = Probe("a", 1, time.taking("a", 10))
    Stopwatch(2, 10, time.clock, limit).time([(4, [probe]), (1, [probe])])
    assert entered == ["4", "out", "1", "out", "1", "out", "4", "out"]


def test_progress_ends_at_one() -> None:
    time, shares = FakeTime(), list[float]()
    probe = Probe("a", 1, time.taking("a", 10))
    Stopwatch(2, 10, time.clock, progress=shares.append).time([(1, [probe, probe])])
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_a_clock_that_stands_still_ends_too() -> None:
    calls = list[int]()
    [[timed]] = Stopwatch(1, 10**12, lambda: 0).time(
        [(1, [Probe("a", 1, lambda: calls.append(1))])]
    )
    assert timed.best_ns == 1 / MAX_CALLS
    assert len(calls) == MAX_CALLS + 3


def test_the_spread_is_that_of_the_rounds() -> None:
    timed = Timed(Probe("a", 1000, lambda: None), (10.0, 20.0, 12.5))
    assert timed.rate() == Peak(100.0, 50.0, 100.0, 3)
    assert timed.duration() == Peak(10.0, 10.0, 20.0, 3)


def test_the_best_of_each_name_counts() -> None:
    slow, fast = (Timed(Probe("a", 100, lambda: None), (ns,)) for ns in (10.0, 5.0))
    other = Timed(Probe("b", 1, lambda: None), (1.0,))
    assert best_rates([slow, fast, other]) == {"a": Peak(20, 20, 20, 1), "b": Peak(1, 1, 1, 1)}
