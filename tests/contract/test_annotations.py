"""The program's own marks, on both recorders: what was said is in the trace, and the program is unharmed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.perfetto_engine import check_trace_file
from tinytrace.tracer import marks
from tinytrace.tracer.records import Flag, Kind

DETACHED, RAISED, OPEN = Flag.DETACHED, Flag.RAISED, Flag.OPEN
HOSTILE = (
    "",
    "C:\\",
    '\\\\"',
    "\ud800",
    "\x00",
    '"}],\n\\',
    "</script>",
    "\u2028",
    "größe 🚀",
    "x" * 5000,
    "step",
)


class Row(NamedTuple):
    """A span as its reader sees it."""

    name: str
    kind: Kind
    flags: Flag
    parent: str | None
    step: int
    args: dict[str, Any]
    thread: str
    start_ns: int
    end_ns: int
    function: str


class Recorded(NamedTuple):
    rows: list[Row]
    trace: tt.Trace

    def named(self, name: str) -> list[Row]:
        return [row for row in self.rows if row.name == name]

    def one(self, name: str) -> Row:
        [row] = self.named(name)
        return row


Record = Callable[..., Recorded]


def read(trace: tt.Trace) -> Recorded:
    s, text = trace.spans, trace.strings
    rows = []
    for i in range(len(s)):
        parent, args, site = int(s.parent[i]), int(s.args_id[i]), int(s.callsite_id[i])
        rows.append(
            Row(
                text[s.name_id[i]], Kind(int(s.kind[i])), Flag(int(s.flags[i])),
                text[s.name_id[parent]] if parent >= 0 else None, int(s.step[i]),
                json.loads(text[args]) if args >= 0 else {},
                text[trace.threads.name_id[s.thread[i]]],
                int(s.start_ns[i]), int(s.start_ns[i] + s.dur_ns[i]),
                text[trace.frames.name_id[site]],
            )
        )  # fmt: skip
    return Recorded(rows, trace)


@pytest.fixture(params=CORES)
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """Record a function on each core; the file is read back, by Perfetto too."""

    def run(program: Callable[[], Any], **options: Any) -> Recorded:
        path = tmp_path / "trace.json"
        with tt.trace(path, **{"sampler": "none", **options}) as recording:
            program()
        trace = recording.result
        assert trace is not None
        assert trace.meta["audit"]["core"] == request.param
        assert tt.load(path).differences(trace) == []
        engine = check_trace_file(path)
        ours = "select count(*) as n from slice where category != 'samples'"
        assert engine.query(ours) == [{"n": len(trace.spans)}]
        return read(trace)

    with core(request.param):
        yield run


def test_marks_have_names_arguments_parents_and_the_step_that_they_began_in(record: Record) -> None:
    a = np.ones((4, 4))

    def program() -> None:
        for batch in range(3):
            with tt.step():
                with tt.span("forward", layer=1, rate=math.nan, weights=a):
                    a @ a
                    tt.instant("looked", batch=batch)
                with tt.op("kernel", flops=100, bytes=np.int64(64)), tt.op("unknown"):
                    a + a
        with tt.step(10):
            a - a
        a * a

    found = record(program)
    steps = found.named("step")
    assert [(s.kind, s.step, s.parent, s.flags) for s in steps] == [
        (Kind.STEP, n, None, 0) for n in (0, 1, 2, 10)
    ]
    forward = found.named("forward")
    assert [(s.kind, s.step, s.parent) for s in forward] == [
        (Kind.SPAN, n, "step") for n in range(3)
    ]
    args = {"layer": 1, "rate": "nan", "weights": "ndarray float64 (4, 4)"}
    assert all(s.args == args for s in forward)
    assert [(s.parent, s.step) for s in found.named("matmul")] == [("forward", n) for n in range(3)]
    instants = found.named("looked")
    assert [(s.kind, s.parent, s.step, s.args) for s in instants] == [
        (Kind.INSTANT, "forward", n, {"batch": n}) for n in range(3)
    ]
    assert {(s.kind, s.parent, *s.args.items()) for s in found.named("kernel")} == {
        (Kind.OP, "step", ("flops", 100), ("bytes", 64))
    }
    assert {(s.kind, s.parent, *s.args) for s in found.named("unknown")} == {(Kind.OP, "kernel")}
    assert [(s.parent, s.step) for s in found.named("add")] == [("unknown", n) for n in range(3)]
    assert found.one("subtract").step == 10
    assert found.one("multiply").step == -1
    assert {s.function.rpartition(".")[2] for s in found.rows} == {"program"}
    assert len(found.rows) == 4 + 3 * 6 + 2  # nothing of ours is in the trace


def test_hostile_names_are_kept_and_shown(record: Record) -> None:
    def program() -> None:
        for name in HOSTILE:
            with tt.span(name, **{name: name}):
                tt.instant(name, **{name: name})
            tt.counter(name, 1.0, name)

    found = record(program, ops=False)
    for name in HOSTILE:
        kept = name if len(name) <= marks.MAX_TEXT else name[: marks.MAX_TEXT] + "…"
        rows = [row for row in found.named(kept) if row.args == {kept: kept}]
        assert {row.kind for row in rows} == {Kind.SPAN, Kind.INSTANT}
    assert len(found.trace.series.name_id) >= len(HOSTILE)


def test_an_exception_is_noted_on_all_that_it_ends_and_travels_on(record: Record) -> None:
    @tt.span("decorated")
    def fail() -> None:
        with tt.span("inner"), tt.op("kernel"):
            raise KeyError("mine")

    async def fail_later() -> None:
        async with tt.span("async"):
            raise ValueError("mine too")

    def program() -> None:
        with tt.span("outer"), tt.step():
            with pytest.raises(KeyError, match="mine"):
                fail()
            with pytest.raises(ValueError, match="mine too"):
                asyncio.run(fail_later())
            with tt.span("after"):
                pass

    found = record(program)
    raised = {row.name for row in found.rows if row.flags & RAISED}
    assert raised == {"decorated", "inner", "kernel", "async"}
    assert found.one("after").parent == "step"
    assert found.one("inner").parent == "decorated"


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


def test_a_span_may_end_in_another_thread(record: Record) -> None:
    def program() -> None:
        mark = tt.span("handed over")
        mark.__enter__()
        tt.instant("meanwhile")
        thread = threading.Thread(target=mark.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
        with tt.span("after"):
            pass

    found = record(program, ops=False)
    handed = found.one("handed over")
    assert (handed.flags, handed.parent, handed.thread) == (DETACHED, None, "MainThread")
    assert found.one("after").parent is None
    assert handed.end_ns <= found.one("after").start_ns


def test_one_object_may_be_open_many_times(record: Record) -> None:
    mark = tt.span("again")
    everyone = threading.Barrier(3)

    @mark
    def factorial(n: int) -> int:
        return n * factorial(n - 1) if n else 1

    def worker() -> None:
        with mark:
            everyone.wait()
            tt.instant(f"in {threading.current_thread().name}")
            everyone.wait()

    def program() -> None:
        assert factorial(3) == 6
        with mark, mark:
            pass
        with contextlib.ExitStack() as stack:
            stack.enter_context(mark)
        threads = [threading.Thread(target=worker, name=f"t{i}") for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = record(program, ops=False)
    rows = found.named("again")
    assert {row.flags for row in rows} == {0}
    main = [row for row in rows if row.thread == "MainThread"]
    assert [row.parent for row in main] == [None, *["again"] * 3, None, "again", None]
    assert {row.thread for row in rows} == {"MainThread", "t0", "t1", "t2"}
    for i in range(3):
        moment = found.one(f"in t{i}")
        assert (moment.parent, moment.thread) == ("again", f"t{i}")
    assert not mark._open


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


def test_steps_of_threads_are_their_own_and_workers_belong_to_the_step_that_goes_on(
    record: Record,
) -> None:
    begun, turn, ending = threading.Barrier(2), threading.Barrier(2), threading.Barrier(2)

    def trainer(number: int) -> None:
        with tt.step(number):
            begun.wait()
            tt.instant(f"trainer {number}")
            if number == 1:
                with tt.step(100):
                    tt.instant("nested")
                tt.instant("after nested")
            ending.wait()
        turn.wait()

    def program() -> None:
        threads = [threading.Thread(target=trainer, args=(n,)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with tt.step(7):
            worker = threading.Thread(target=tt.instant, args=("worker",))
            worker.start()
            worker.join()

    found = record(program, ops=False)
    steps = {row.name: row.step for row in found.rows if row.kind == Kind.INSTANT}
    assert steps == {"trainer 1": 1, "trainer 2": 2, "nested": 100, "after nested": 1, "worker": 7}


def test_counters_keep_every_number_and_say_what_was_none(record: Record) -> None:
    given: list[Any] = [0.5, math.nan, math.inf, np.float32(2), np.array([3.0]), True]

    def program() -> None:
        for value in given:
            tt.counter("loss", value, "furlongs per fortnight")
        tt.counter("loss", "high", "furlongs per fortnight")  # type: ignore[arg-type]
        tt.counter("queue", 3)

    trace = record(program).trace
    names = [
        (trace.strings[n], trace.strings[u])
        for n, u in zip(trace.series.name_id, trace.series.unit_id, strict=True)
    ]
    row = names.index(("loss", "furlongs per fortnight"))
    values = trace.counters.value[trace.counters.series_id == row]
    np.testing.assert_array_equal(values, [0.5, math.nan, math.inf, 2, 3, 1])
    assert ("queue", "") in names
    assert "counter 'loss': values that are no numbers were left out" in trace.warnings


def test_too_many_labels_are_said_in_the_trace(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "MAX_LABELS", 4)

    def program() -> None:
        for i in range(10):
            with tt.span("load", file=i):
                pass

    found = record(program, ops=False)
    assert [row.args for row in found.named("load")] == [{"file": i} for i in range(4)] + [{}] * 6
    assert any("only the first 4 different ones are kept" in w for w in found.trace.warnings)


def test_a_span_across_recordings_is_open_in_the_first_and_not_in_the_second(
    record: Record,
) -> None:
    across = tt.span("across")

    def first() -> None:
        across.__enter__()

    def second() -> None:
        with tt.span("new"):
            across.__exit__(None, None, None)

    with tt.span("early"):  # begins before there is anything to record, and ends after it
        found = record(first, ops=False)
    assert [(row.name, row.flags) for row in found.rows] == [("across", OPEN)]
    found = record(second, ops=False)
    assert [(row.name, row.flags) for row in found.rows] == [("new", 0)]
