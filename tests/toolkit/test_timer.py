"""`Timer`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tinytrace.toolkit.timer import Timer


def clock(*ticks: int) -> Callable[[], int]:
    given = iter(ticks)
    return lambda: next(given)


def test_a_block_is_timed_in_milliseconds_and_nanoseconds() -> None:
    with Timer(clock=clock(1_000, 2_501_000)) as t:
        pass
    assert (t.elapsed, t.ns, t.calls, t.total_ns) == (2.5, 2_500_000, 1, 2_500_000)


def test_inside_the_first_block_it_tells_the_time_so_far() -> None:
    with Timer(clock=clock(0, 1_000_000, 3_000_000)) as t:
        assert t.elapsed == 1.0
    assert t.elapsed == 3.0


def test_blocks_of_one_timer_lie_inside_each_other() -> None:
    t = Timer(clock=clock(0, 10, 15, 40))
    with t, t:
        pass
    assert (t.ns, t.calls, t.total_ns) == (40, 2, 45)


def test_a_block_that_raises_is_timed_and_the_exception_travels_on() -> None:
    t = Timer(clock=clock(0, 7))
    with pytest.raises(KeyError), t:
        raise KeyError
    assert t.ns == 7


def test_every_call_of_a_function_is_timed() -> None:
    t = Timer(clock=clock(0, 10, 100, 130))

    @t
    def work(x: int) -> int:
        return x + 1

    assert [work(1), work(2)] == [2, 3]
    assert (t.calls, t.total_ns, t.mean) == (2, 40, 20 / 1e6)
    assert work.__name__ == "work"


def test_a_generator_is_timed_until_it_ends_and_coroutines_end_in_any_order() -> None:
    t = Timer(clock=clock(0, 50))

    @t
    def numbers() -> Iterator[int]:
        yield from (1, 2)

    assert list(numbers()) == [1, 2]
    assert t.ns == 50
    ticks = Timer(clock=clock(0, 1, 10, 30))

    @ticks
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def both() -> None:
        await asyncio.gather(sleep(0.02), sleep(0))

    asyncio.run(both())
    assert ticks.calls == 2
    assert ticks.total_ns == (10 - 1) + (30 - 0)


def test_without_a_block_there_is_no_time() -> None:
    t = Timer()
    assert t.ns is None
    assert repr(t) == "Timer()"
    with pytest.raises(RuntimeError, match="not timed anything"):
        _ = t.elapsed
    with pytest.raises(RuntimeError, match="has ended yet"):
        _ = t.mean
