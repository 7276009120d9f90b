"""Spans of coroutines and generators, which take turns on one thread, on both recorders."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.recorded import Record, recorder
from tinytrace.tracer.records import Flag

DETACHED, RAISED, OPEN = Flag.DETACHED, Flag.RAISED, Flag.OPEN


@pytest.fixture(params=CORES)
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """Record a function on each core."""
    with core(request.param):
        yield recorder(request.param, tmp_path / "trace.json")


def gather() -> None:
    """Two coroutines on one thread: begin, pause, do an operation, end, in turn."""
    a = np.ones(3)

    async def worker(name: str) -> None:
        with tt.span(name):
            a + a
            await asyncio.sleep(0)
            a - a

    async def main() -> None:
        await asyncio.gather(worker("one"), worker("two"))

    with tt.span("loop"):
        asyncio.run(main())


def test_coroutines_in_turn_are_detached_and_nothing_is_said_to_be_inside_of_them(
    record: Record,
) -> None:
    found = record(gather)
    assert {found.one(n).flags for n in ("one", "two")} == {DETACHED}
    assert {found.one(n).parent for n in ("one", "two")} == {None}
    inside = found.named("add") + found.named("subtract")
    assert {row.parent for row in inside} == {"loop"}
    assert found.one("loop").flags == 0


def test_a_coroutine_that_runs_while_another_waits_is_not_inside_of_it(record: Record) -> None:
    async def inner(done: asyncio.Event) -> None:
        async with tt.span("inner"):
            pass
        done.set()

    async def outer() -> None:
        done = asyncio.Event()
        async with tt.span("outer"):
            task = asyncio.ensure_future(inner(done))
            await done.wait()
        await task

    found = record(lambda: asyncio.run(outer()), ops=False)
    assert found.one("inner").parent is None
    assert found.one("inner").flags == 0
    assert found.one("outer").flags == DETACHED


def test_a_coroutine_alone_nests_as_a_function_does(record: Record) -> None:
    @tt.span("inner")
    async def inner() -> None:
        await asyncio.sleep(0)
        tt.instant("here")

    async def main() -> None:
        async with tt.span("outer"):
            await inner()

    found = record(lambda: asyncio.run(main()), ops=False)
    assert found.one("inner").parent == "outer"
    assert found.one("here").parent == "inner"
    assert {row.flags for row in found.rows} == {0}


def test_generators_end_their_spans_when_they_end_or_are_closed_or_collected(
    record: Record,
) -> None:
    @tt.span("batches")
    def batches(n: int) -> Generator[int, None, None]:
        yield from range(n)

    @tt.span("stream")
    async def stream() -> AsyncIterator[int]:
        for i in range(3):
            yield i

    async def consume() -> int:
        return sum([i async for i in stream()])

    def program() -> None:
        assert list(batches(3)) == [0, 1, 2]
        closed = batches(3)
        next(closed)
        with tt.span("between"):
            closed.close()
        dropped = batches(3)
        next(dropped)
        del dropped
        gc.collect()
        left = batches(3)
        next(left)
        program.left = left  # type: ignore[attr-defined]
        assert asyncio.run(consume()) == 3

    found = record(program, ops=False)
    program.left.close()  # type: ignore[attr-defined]
    rows = found.named("batches")
    assert [bool(row.flags & OPEN) for row in rows] == [False, False, False, True]
    assert [bool(row.flags & RAISED) for row in rows] == [False] * 4
    assert rows[1].flags & DETACHED  # it was suspended when "between" began
    assert found.one("between").parent is None
    assert found.one("stream").flags & ~DETACHED == 0


def test_coroutines_that_share_one_object_each_end_their_own(record: Record) -> None:
    mark = tt.span("shared")

    async def worker(number: int) -> None:
        with mark:
            tt.instant("began", number=number)
            await asyncio.sleep(0)
        tt.instant("ended", number=number)

    async def main() -> None:
        await asyncio.gather(worker(1), worker(2))

    found = record(lambda: asyncio.run(main()), ops=False)
    began = {row.args["number"]: row.start_ns for row in found.named("began")}
    ended = {row.args["number"]: row.start_ns for row in found.named("ended")}
    one, two = found.named("shared")
    assert one.start_ns <= began[1] <= two.start_ns <= began[2]
    assert began[2] <= one.end_ns <= ended[1] <= two.end_ns <= ended[2]
