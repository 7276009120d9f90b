"""What is seen of a framework does no harm: deep graphs, half-finished classes, nothing left behind. On both cores."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from tests.contract.recorded import record
from tests.cores import CORES
from tests.frameworks.recording import FRAMEWORKS, anew, framework, spans_of
from tinytrace.tracer.adapters import framework_calls, frameworks, seen
from tinytrace.tracer.records import Flag, Kind

pytestmark = pytest.mark.usefixtures("anew")
__all__ = ["anew"]


@pytest.fixture(params=CORES)
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


DEEP = 20_000


def test_a_graph_20000_deep_is_walked_as_without_us(which: str) -> None:
    """Every call of ours would take some of the C stack, which a raised recursion limit does not make larger."""
    depths = []

    def program() -> None:
        nn = framework("recursive")
        x = nn.Tensor(np.ones(1), requires_grad=True)
        y = x
        zero = nn.Tensor(np.zeros(1))
        for _ in range(DEEP):
            y = y + zero
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(10 * DEEP)
        try:
            y.backward()
        finally:
            sys.setrecursionlimit(before)
        depths.append(float(x.grad[0]))
        y._grad_fn = None

        class Deep(nn.Layer):  # type: ignore[misc, name-defined]
            def forward(self, x: int) -> int:
                return x and Deep().forward(x - 1)

        Deep.__module__ = nn.layers.__name__
        np.negative(1.0)
        sys.setrecursionlimit(10 * DEEP)
        try:
            Deep().forward(DEEP)
        finally:
            sys.setrecursionlimit(before)
        Deep().forward(1)

    found = spans_of(which, program)
    assert depths == [1.0]
    assert Counter(found.of(Kind.BACKWARD)) == {"Tensor.backward": 1, "AddBackward": DEEP}
    # The first ones, then none, then two again.
    most = seen.MAX_NESTED if which == "c" else frameworks.MAX_IN_PYTHON
    assert len(found.of(Kind.LAYER)) == most + 2
    assert found.trace.meta["audit"]["dropped"] == 0


def test_a_class_is_changed_so_often_only_that_python_still_learns_it(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python gives up on a class that was changed a thousand times: its attributes stay slow."""
    versions = []
    for name in ("MAX_WALK", "MAX_IN_PYTHON"):
        monkeypatch.setattr(frameworks, name, 3)

    def program() -> None:
        nn = framework("recursive")
        zero = nn.Tensor(np.zeros(1))
        y = nn.Tensor(np.ones(1), requires_grad=True)
        for _ in range(5):
            y = y + zero
        for _ in range(seen.MAX_LIFTS + 3):
            y.backward()
        versions.append(vars(nn.Tensor)["backward"])

    found = spans_of(which, program)
    assert isinstance(versions[0], FunctionType)  # what the program put there
    walks = found.of(Kind.BACKWARD).count("Tensor.backward")
    assert walks == seen.MAX_LIFTS
    assert any("Tensor.backward calls itself too deep" in text for text in found.trace.warnings)


HOSTILE = """
class Meta(type):
    def __getattribute__(cls, name):
        if name in ("__dict__", "__mro__", "__name__", "forward_hook"):
            raise RuntimeError(name)
        return type.__getattribute__(cls, name)
    def __instancecheck__(cls, other): raise RuntimeError
    def __subclasscheck__(cls, other): raise RuntimeError

class Tensor:
    def __init__(self, data):
        self.data = data
        self.touched = 0
    shape = property(lambda self: 1 / 0)
    grad_fn = property(lambda self: 1 / 0)
    def __getattr__(self, name): raise RuntimeError(name)
    def __eq__(self, other): raise RuntimeError
    def __bool__(self): raise RuntimeError
    def __len__(self): raise RuntimeError
    __hash__ = None
    def __add__(self, other): return Tensor(self.data + other.data)
    def half(self): pass
    def fails(self): raise NotImplementedError("write this")

class Layer(metaclass=Meta):
    def __getattr__(self, name): raise RuntimeError(name)
    def __eq__(self, other): raise RuntimeError
    def __hash__(self): raise RuntimeError
    def __call__(self, *args): return self.forward(*args)
    weights = property(lambda self: 1 / 0)

class Proxy:
    __class__ = property(lambda self: 1 / 0)

class Net(Layer):
    def __init__(self):
        self.odd = [Proxy(), None, {Proxy: 1, 2: Proxy()}, Tensor(1)]
        self.inner = Wrong()
    def forward(self, x):
        return x + x

class Wrong(Layer):
    def forward():
        return 1

class Slots(Layer):
    __slots__ = ("a",)
    def forward(self, x): return Net()(x)

class Optimizer:
    def __init__(self): pass
    def zero_grad(): pass
    def step(): pass

class Loader:
    batch_size = property(lambda self: 1 / 0)
    def __iter__(self, wrong): yield 1

class Function:
    apply = None
class Broken(Function):
    def apply(): return 1
    backward = 3

ODD = [Proxy(), Proxy, 3]
"""


def test_half_finished_classes_are_left_in_peace(which: str) -> None:
    """What the program sees is the same as without us, and nothing of theirs is evaluated."""
    source = HOSTILE

    def run(module: ModuleType) -> list[str]:
        space: Any = vars(module)
        np.negative(1.0)
        said = []

        def attempt(call: Callable[[], Any]) -> None:
            try:
                said.append(type(call()).__name__)
            except Exception as problem:
                said.append(repr(problem))

        x = space["Tensor"](np.ones(1))
        attempt(lambda: x + x)
        attempt(x.half)
        attempt(x.fails)
        attempt(lambda: space["Net"]()(x))
        attempt(lambda: space["Wrong"]()(x))
        attempt(space["Wrong"].forward)
        attempt(lambda: space["Slots"]()(x))
        attempt(lambda: space["Optimizer"]().step())
        attempt(space["Optimizer"].step)
        attempt(lambda: list(space["Loader"]()))
        attempt(lambda: space["Broken"]().apply())
        attempt(space["Broken"].apply)
        attempt(lambda: x.nothing)
        return said

    def module() -> ModuleType:
        made = ModuleType(f"{FRAMEWORKS}.hostile")
        made.__file__ = __file__
        sys.modules[made.__name__] = made
        exec(source, vars(made))
        return made

    plain = run(module())
    told: list[str] = []
    made = module()
    found = spans_of(which, lambda: told.extend(run(made)))
    assert told == plain
    assert Counter(found.of(Kind.LAYER)) == {"Net": 1, "Slots": 1, "Wrong": 1} | {"Net": 2}
    assert not [text for text in found.trace.warnings if "call was not recorded" in text]
    raised = [found.name(r) for r in found.rows if found.flags(r) & Flag.RAISED]
    assert "fails" in raised


def test_everything_is_put_back(which: str) -> None:
    nn = framework("recursive")
    names = {(cls, name): value for cls in vars(nn).values() if isinstance(cls, type)
             for name, value in vars(cls).items()}  # fmt: skip
    inside: list[bool] = []

    def program() -> None:
        np.negative(1.0)
        inside.append(vars(nn.Linear)["forward"] is not names[nn.Linear, "forward"])
        nn.Linear(1, 1)(nn.Tensor(np.ones((1, 1))))

    found = spans_of(which, program)
    assert inside == [True]
    assert found.of(Kind.LAYER) == ["Linear"]
    assert all(vars(cls)[name] is value for (cls, name), value in names.items())
    # The next recording sees them again.
    assert spans_of(which, program).of(Kind.LAYER) == ["Linear"]


def test_nodes_that_are_gone_are_forgotten(which: str) -> None:
    sizes = []

    def program() -> None:
        nn = framework("recursive")
        x = nn.Tensor(np.ones(1), requires_grad=True)
        (calls,) = [f._calls for f in frameworks._placed]
        alive = framework_calls.FIRST_SWEEP + 100
        kept = [x + x for _ in range(alive)]
        sizes.append(len(calls._nodes))
        kept.clear()
        for _ in range(
            10
        ):  # at most once as many as were alive are new before those that are gone are forgotten
            kept = [x + x for _ in range(alive // 2)]
        sizes.append(len(calls._nodes))
        del kept
        nn.SGD([]).step()
        sizes.append(len(calls._nodes))

    record(which, program)
    alive = framework_calls.FIRST_SWEEP + 100
    assert sizes[0] == alive
    assert sizes[1] <= 2 * alive
    assert sizes[2] <= 1
