"""Marks while nothing is recording: near-free, and the decorated thing behaves as before."""

from __future__ import annotations

import asyncio
import dis
import doctest
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tinytrace as tt
from tinytrace.tracer import annotate
from tinytrace.tracer.annotate import wrap

DOCUMENT = Path(__file__).parents[2] / "docs" / "annotations.md"


class Untouchable:
    """Raises when anything is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} of an argument was looked at")

    def __repr__(self) -> str:
        raise AssertionError("an argument was represented")


def calls_in(program: Callable[[], Any]) -> list[str]:
    """Names of all functions, C functions too, that are called in a call of ``program``."""
    names: list[str] = []

    def note(frame: Any, event: str, function: Any) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)
        elif event == "c_call":
            names.append(function.__name__)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        program()
    finally:
        sys.setprofile(before)
    return [name for name in names if name not in ("setprofile", program.__name__)]


def test_an_idle_span_looks_at_no_argument_and_calls_nothing_else() -> None:
    argument = Untouchable()

    def block() -> None:
        with tt.span("load", what=argument):
            pass

    assert calls_in(block) == ["__init__", "isinstance", "__enter__", "__exit__"]


def test_an_idle_decorated_function_costs_one_look_at_a_name() -> None:
    @tt.span("work", what=Untouchable())
    def work() -> int:
        return 3

    def call() -> None:
        assert work() == 3

    assert calls_in(call) == ["plain", "work"]  # the wrapper, and what it wraps
    instructions = dis.get_instructions(work)
    assert [i.argval for i in instructions if i.opname == "LOAD_GLOBAL"] == ["_marks"]


def test_idle_counters_and_instants_convert_nothing() -> None:
    tt.counter("loss", Untouchable())  # type: ignore[arg-type]
    tt.instant("now", what=Untouchable())


untyped: Any = tt


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: untyped.span(print), lambda: untyped.span(3), lambda: untyped.op(b"name"),
        lambda: untyped.step(print),
        lambda: untyped.step("3"), lambda: untyped.step(1.5), lambda: untyped.span("x")(3),
        lambda: untyped.span("x")(int),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_type_error_recording_or_not(wrong: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        wrong()


def test_a_decorator_without_brackets_is_told_what_to_write() -> None:
    with pytest.raises(TypeError, match=r'@span\("name"\)'):
        untyped.span(print)
    with pytest.raises(TypeError, match=r"@step\(\)"):
        untyped.step(print)


@pytest.mark.parametrize("number", [-1, 2**31])
def test_a_step_has_a_number_that_the_trace_can_hold(number: int) -> None:
    with pytest.raises(ValueError, match="0 to 2147483647"):
        tt.step(number)


def test_a_decorated_function_is_of_the_kind_that_it_was() -> None:
    mark = tt.span("work")

    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    def plain(x: int = 3) -> int:
        """Doc."""
        return x

    assert inspect.iscoroutinefunction(mark(coroutine))
    assert inspect.isgeneratorfunction(mark(generator))
    assert inspect.isasyncgenfunction(mark(async_generator))
    decorated = mark(plain)
    assert inspect.signature(decorated) == inspect.signature(plain)
    assert (decorated.__doc__, decorated.__name__) == ("Doc.", "plain")


class Model:
    @tt.span("forward")
    def forward(self, x: int) -> int:
        return x + 1

    @tt.span("create")
    @classmethod
    def create(cls) -> Model:
        return cls()

    @tt.span("scale")
    @staticmethod
    def scale(x: int) -> int:
        return 2 * x

    @classmethod
    @tt.span("made")
    def make(cls) -> Model:
        return cls()


def test_methods_class_methods_and_static_methods_stay_what_they_are() -> None:
    model = Model.create()
    assert isinstance(Model.make(), Model)
    assert model.forward(1) == 2
    assert (Model.scale(3), model.scale(3)) == (6, 6)


def talk(mark: Callable[[Any], Any]) -> list[Any]:
    """A conversation with a generator and an asynchronous one: all that can be sent goes both ways."""
    heard: list[Any] = []

    def generator() -> Any:
        try:
            got = yield 1
            heard.append(got)
            try:
                yield 2
            except KeyError as error:
                heard.append(repr(error))
            yield 3
        finally:
            heard.append("closed")

    async def async_generator() -> Any:
        try:
            got = yield 1
            heard.append(got)
            try:
                yield 2
            except KeyError as error:
                heard.append(repr(error))
            yield 3
        finally:
            heard.append("closed")

    async def speak() -> None:
        a = mark(async_generator)()
        heard.append(await a.__anext__())
        heard.append(await a.asend("sent"))
        heard.append(await a.athrow(KeyError("thrown")))
        await a.aclose()
        heard.append([x async for x in mark(async_generator)()])
        b = mark(async_generator)()
        await b.__anext__()
        try:
            await b.athrow(ZeroDivisionError("not caught"))
        except ZeroDivisionError as error:
            heard.append(repr(error))

    g = mark(generator)()
    heard.append(next(g))
    heard.append(g.send("sent"))
    heard.append(g.throw(KeyError("thrown")))
    g.close()
    asyncio.run(speak())
    return heard


def test_what_is_sent_and_thrown_into_decorated_generators_arrives() -> None:
    as_before = talk(lambda function: function)
    assert talk(tt.span("talk")) == as_before
    with tt.trace(sampler="none", ops=False):
        assert talk(tt.span("talk")) == as_before


def test_a_call_that_always_needs_its_context_has_it_while_nothing_records() -> None:
    entered: list[str] = []

    class Context:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *_: object) -> None:
            entered.append("out")

    wrap(lambda: entered.append("call"), Context, always=True)()
    assert entered == ["in", "call", "out"]


def test_the_examples_of_the_manual_run() -> None:
    failed, run = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert (failed, run > 10) == (0, True)
    failed, run = doctest.testmod(annotate)
    assert (failed, run > 3) == (0, True)


def test_importing_the_marks_imports_nothing_heavy() -> None:
    code = "import sys, tinytrace; tinytrace.span; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
