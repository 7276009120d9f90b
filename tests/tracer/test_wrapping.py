"""Functions that are seen: they behave as before, and whatever the seeing does wrong harms nobody."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from tinytrace.tracer.wrapping import Wrappings, around_in_python

AROUND: dict[str, Callable[..., Any]] = {"python": around_in_python}
try:
    from tinytrace.tracer import _native
except ImportError:
    pass
else:
    AROUND["c"] = _native.around
COMPILED = pytest.mark.parametrize("compiled", [a for name, a in AROUND.items() if name == "c"])


def double(x: int, *, plus: int = 0) -> int:
    """Twice."""
    if x < 0:
        raise ValueError("negative")
    return 2 * x + plus


class Layer:
    factor = 3

    def forward(self, x: int) -> int:
        return self.factor * x

    @staticmethod
    def static(x: int) -> int:
        return x + 1

    @classmethod
    def of_class(cls, x: int) -> int:
        return cls.factor + x


@pytest.fixture(params=sorted(AROUND))
def around(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return AROUND[request.param]


class Seen:
    """Keeps what a pair of callbacks was told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.failures: list[BaseException] = []

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((args, kwargs))
        return len(self.calls)

    def after(self, token: Any, result: Any, raised: bool) -> None:
        self.calls.append((token, result, raised))

    def wrappings(self, around: Callable[..., Any]) -> Wrappings:
        return Wrappings(around, self.failures.append)


def test_arguments_result_and_token_are_told(around: Callable[..., Any]) -> None:
    seen = Seen()
    function = around(double, seen.before, seen.after, seen.failures.append)
    assert function(4, plus=1) == 9
    assert seen.calls == [((4,), {"plus": 1}), (1, 9, False)]
    assert seen.failures == []


def test_an_exception_is_told_and_travels_on(around: Callable[..., Any]) -> None:
    seen = Seen()
    function = around(double, seen.before, seen.after, seen.failures.append)
    with pytest.raises(ValueError, match="negative"):
        function(-1)
    assert seen.calls[1] == (1, None, True)


def test_without_a_token_nothing_is_told_afterwards(around: Callable[..., Any]) -> None:
    seen = Seen()
    function = around(double, lambda args, kwargs: None, seen.after, seen.failures.append)
    assert function(1) == 2
    assert seen.calls == []


def test_what_the_callbacks_raise_harms_nobody(around: Callable[..., Any]) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("ours")

    failures: list[BaseException] = []
    assert around(double, broken, broken, failures.append)(1) == 2
    assert around(double, lambda a, k: 1, broken, failures.append)(1) == 2
    with pytest.raises(ValueError, match="negative"):
        around(double, lambda a, k: 1, broken, failures.append)(-1)
    assert [type(f) for f in failures] == [KeyError] * 3


def test_an_interrupt_in_a_callback_reaches_the_program(around: Callable[..., Any]) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    for before, after in ((interrupted, print), (lambda a, k: 1, interrupted)):
        for x in (1, -1):
            with pytest.raises(KeyboardInterrupt):
                around(double, before, after, print)(x)


def test_methods_static_and_class_methods_bind_as_before(around: Callable[..., Any]) -> None:
    seen = Seen()
    wrappings = seen.wrappings(around)
    originals = dict(vars(Layer))
    for name in ("forward", "static", "of_class"):
        assert wrappings.wrap(Layer, name, seen.before, seen.after)
        assert not wrappings.wrap(Layer, name, seen.before, seen.after), "not twice"
    layer = Layer()
    assert (layer.forward(2), Layer.forward(layer, 2), layer.static(1), Layer.static(1)) == (
        6,
        6,
        2,
        2,
    )
    assert (layer.of_class(1), Layer.of_class(1)) == (4, 4)
    assert [c[0] for c in seen.calls[::2]] == [
        (layer, 2), (layer, 2), (1,), (1,), (Layer, 1), (Layer, 1)]  # fmt: skip
    assert wrappings.undo() == []
    assert {n: vars(Layer)[n] for n in originals} == originals
    assert layer.forward(2) == 6
    assert len(seen.calls) == 12


def test_what_the_program_replaced_is_left_to_it(around: Callable[..., Any]) -> None:
    seen = Seen()
    module = types.ModuleType("module")
    vars(module)["double"] = double
    wrappings = seen.wrappings(around)
    wrappings.wrap(module, "double", seen.before, seen.after)
    kept = vars(module)["double"]
    vars(module)["double"] = theirs = lambda x: kept(x) + 1
    assert wrappings.undo() == []
    assert vars(module)["double"] is theirs
    assert theirs(1) == 3
    assert seen.calls == [], "a function of ours that was kept is the original from now on"


def test_what_cannot_be_replaced_is_left(around: Callable[..., Any]) -> None:
    seen = Seen()
    wrappings = seen.wrappings(around)
    assert not wrappings.wrap(int, "bit_length", seen.before, seen.after)
    assert not wrappings.wrap(Layer, "factor", seen.before, seen.after)
    assert not wrappings.wrap(Layer, "absent", seen.before, seen.after)
    assert wrappings.undo() == []


def test_it_passes_for_the_function(around: Callable[..., Any]) -> None:
    seen = Seen()
    function = around(double, seen.before, seen.after, seen.failures.append)
    assert (function.__name__, function.__doc__, function.__module__) == (
        "double",
        "Twice.",
        __name__,
    )
    assert inspect.signature(function) == inspect.signature(double)
    assert inspect.getsource(function) == inspect.getsource(double)
    assert inspect.isfunction(function)
    assert inspect.unwrap(function) is double
    assert copy.deepcopy(function) is function
    assert weakref.ref(function)() is function


def test_it_is_pickled_by_name(around: Callable[..., Any]) -> None:
    seen = Seen()
    wrappings = seen.wrappings(around)
    module = sys.modules[__name__]
    wrappings.wrap(module, "double", seen.before, seen.after)
    wrappings.wrap(Layer, "forward", seen.before, seen.after)
    try:
        present = vars(module)["double"]
        assert pickle.loads(pickle.dumps(present)) is present
        assert pickle.loads(pickle.dumps(Layer.forward)) is Layer.forward
        assert pickle.loads(pickle.dumps(Layer().forward))(2) == 6
    finally:
        wrappings.undo()


def test_by_value_the_function_alone_is_pickled(around: Callable[..., Any]) -> None:
    """As cloudpickle does with what scripts define: the other process may know nothing of us."""
    seen = Seen()
    wrappings = seen.wrappings(around)
    wrappings.wrap(Layer, "forward", seen.before, seen.after)
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        data = cloudpickle.dumps(Layer)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        wrappings.undo()
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)().forward(2), 'tinytrace' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True
    )
    assert ended.stdout == b"6 False\n"


@COMPILED
def test_a_traceback_has_no_frame_of_ours(compiled: Callable[..., Any]) -> None:
    function = compiled(double, lambda a, k: 1, lambda *_: None, print)
    with pytest.raises(ValueError) as caught:
        function(-1)
    names = [f.name for f in traceback.extract_tb(caught.value.__traceback__)]
    assert names == [
        test_a_traceback_has_no_frame_of_ours.__name__,
        "double",
    ]


@COMPILED
def test_the_programs_tracer_does_not_see_the_callbacks(compiled: Callable[..., Any]) -> None:
    names: list[str] = []

    def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        return 1

    def after(*_: Any) -> None: ...

    function = compiled(double, before, after, print)
    tracer = sys.gettrace()
    sys.settrace(lambda frame, event, arg: names.append(frame.f_code.co_name))
    try:
        function(1)
    finally:
        sys.settrace(tracer)
    assert names == ["double"]
