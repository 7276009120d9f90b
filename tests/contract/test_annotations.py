"""The program's own marks, on both recorders: what was said is in the trace, and the program is unharmed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.recorded import Record, recorder
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


@pytest.fixture(params=CORES)
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """Record a function on each core."""
    with core(request.param):
        yield recorder(request.param, tmp_path / "trace.json")


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
