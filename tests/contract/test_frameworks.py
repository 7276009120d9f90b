"""Frameworks on NumPy, seen by protocol: three generations of them, and the traps of each. On both cores."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.contract.recorded import Recorded, record
from tests.cores import CORES
from tinytrace.tracer.records import Flag, Kind
from tinytrace.tracer.trace import Trace

FRAMEWORKS = "tests.frameworks"


def forget() -> None:
    """Have the frameworks imported anew: they change their own classes."""
    for name in [n for n in sys.modules if n.startswith(f"{FRAMEWORKS}.")]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture(params=CORES)
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def framework(name: str) -> Any:
    return importlib.import_module(f"{FRAMEWORKS}.{name}")


class Spans(Recorded):
    """The spans of frameworks as text."""

    def kind(self, row: int) -> Kind:
        return Kind(int(self.trace.spans.kind[row]))

    def of(self, *kinds: Kind) -> list[str]:
        return [self.name(row) for row in self.rows if self.kind(row) in kinds]

    def tree(self, row: int = -1) -> str:
        """Spans that are no ops: ``name(inside)``."""
        inside = " ".join(
            text for r in self.inside(row) if (text := self.tree(r) if self.kind(r) else "")
        )
        return inside if row < 0 else self.name(row) + (f"({inside})" if inside else "")

    def arrows(self) -> list[tuple[str, str]]:
        flows = self.trace.flows
        pairs = zip(flows.from_span.tolist(), flows.to_span.tolist(), strict=True)
        return [(self.name(a), self.name(b)) for a, b in pairs]


def spans_of(which: str, program: Callable[[], object]) -> Spans:
    return Spans(record(which, program))


def test_apply_is_the_backward_pass_where_it_is_a_method(which: str) -> None:
    def program() -> None:
        nn = framework("recursive")
        model, loss = nn.Linear(3, 2), nn.Loss()
        loss(model(nn.Tensor(np.ones((4, 3))))).backward()

    found = spans_of(which, program)
    assert found.tree() == (
        "Linear(matmul add) Loss Tensor.backward(MeanBackward AddBackward MatmulBackward)"
    )
    assert Counter(found.of(Kind.FORWARD)) == {"matmul": 1, "add": 1}
    assert found.of(Kind.LAYER) == ["Linear", "Loss"]
    # The loss is a layer that makes a node itself: the arrow leaves the layer.
    assert found.arrows() == [
        ("Loss", "MeanBackward"), ("add", "AddBackward"), ("matmul", "MatmulBackward"),
    ]  # fmt: skip


def test_apply_is_the_forward_pass_where_it_is_of_the_class(which: str) -> None:
    def program() -> None:
        nn = framework("applied")
        nn.Net()(nn.Variable(np.ones(3))).backward()

    found = spans_of(which, program)
    assert found.tree() == (
        "Net(stages.first(mul(Multiply)) stages.second.0(mul(Multiply)) stages.second.1(mul(Multiply)) "
        "square(Square)) Variable.backward(Square Multiply Multiply Multiply)"
    )
    assert found.arrows() == [("Square", "Square")] + 3 * [("Multiply", "Multiply")]
    kinds = [found.kind(r) for r in found.rows if found.name(r) == "Multiply"]
    assert kinds == 3 * [Kind.FORWARD] + 3 * [Kind.BACKWARD]


def test_a_graph_that_is_cleared_behind_the_backward_pass_has_its_arrows(which: str) -> None:
    def program() -> None:
        nn = framework("cleared")
        model = nn.Model()
        descent = nn.Descent([model.first.factor])
        for batch in nn.Loader(2):
            model(batch).backward()
            descent.step()

    found = spans_of(which, program)
    step = (
        "Loader.__next__ Model(first(mul) layers.0(mul) layers.1(mul)) "
        "Tensor.backward(Mul Mul Mul) Descent.step"
    )
    assert found.tree() == f"{step} {step} Loader.__next__"
    assert found.arrows() == 6 * [("mul", "Mul")]
    assert not any(found.flags(row) for row in found.rows)


def test_calling_a_layer_and_its_forward_are_one_span_each(which: str) -> None:
    def program() -> None:
        nn = framework("recursive")
        relu, x = nn.Relu(), nn.Tensor(np.ones(2))
        relu(x)
        relu.forward(x)
        nn.Relu.forward(relu, x)

    assert spans_of(which, program).of(Kind.LAYER) == ["Relu", "Relu", "Relu"]


def test_a_forward_that_calls_that_of_its_base_is_one_span(which: str) -> None:
    def program() -> None:
        nn = framework("recursive")

        class Twice(nn.Relu):  # type: ignore[misc, name-defined]
            def forward(self, x: Any) -> Any:
                return super().forward(super().forward(x))

        nn.layers.Twice = Twice
        Twice.__module__ = nn.layers.__name__
        np.negative(1.0)  # from a place that was not met before: classes are looked at
        Twice()(nn.Tensor(np.ones(2)))
        nn.SGD([]).step()  # calls the step of its base as well

    found = spans_of(which, program)
    assert found.of(Kind.LAYER) == ["Twice"]
    assert found.of(Kind.OPTIMIZER) == ["SGD.step"]


def test_operators_that_are_patched_in_later_are_seen_in_place_of_the_others(which: str) -> None:
    def program() -> None:
        # Module by module, as a script does that enables gradients itself, after its imports.
        tensor = framework("recursive.tensor") if False else None
        assert tensor is None
        nn = framework("recursive")
        cls, original = nn.Tensor, nn.Tensor.__add__

        def patched(self: Any, other: Any) -> Any:
            return original(self, other)

        cls.__add__ = patched
        x = cls(np.ones(2))
        np.negative(1.0)
        x + x
        cls.late = lambda self: cls(self.data * 2)
        np.positive(1.0)
        x.late()

    assert spans_of(which, program).of(Kind.FORWARD) == ["add", "late"]


def test_the_backward_pass_that_calls_itself_is_one_span(which: str) -> None:
    def program() -> None:
        nn = framework("recursive")
        x = nn.Tensor(np.ones((1, 1)), requires_grad=True)
        y = x + x
        (y + y).backward()  # y is visited twice, x four times

    found = spans_of(which, program)
    assert found.tree() == ("add add Tensor.backward(AddBackward AddBackward AddBackward)")
    assert found.arrows() == 3 * [("add", "AddBackward")]
    assert len(set(found.trace.flows.from_span.tolist())) == 2  # two nodes, three calls


def test_batches_of_a_generator_are_timed_one_by_one(which: str) -> None:
    values: list[tuple[int, ...]] = []

    def program() -> None:
        nn = framework("recursive")
        loader = nn.Loader(np.ones((5, 3)), batch_size=2)
        iterator = iter(loader)
        assert iter(iterator) is iterator
        values.extend(batch.shape for batch in iterator)
        iterator.close()  # a method of generators
        with pytest.raises(StopIteration):
            next(iterator)

    found = spans_of(which, program)
    assert values == [(2, 3), (2, 3), (1, 3)]
    assert found.of(Kind.DATA) == 5 * ["Loader.__next__"]
    stacks = [row for row in found.rows if found.name(row) == "stack"]
    assert {found.name(int(found.trace.spans.parent[row])) for row in stacks} == {"Loader.__next__"}


def test_layers_are_called_by_where_they_are(which: str) -> None:
    def program() -> None:
        nn = framework("recursive")

        class Model(nn.Layer):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                self.blocks = [[nn.Relu()], (nn.Linear(2, 2),)]
                self.by_name = {"out": nn.Relu(), 3: nn.Relu()}
                self.itself = self

            def forward(self, x: Any) -> Any:
                x = self.blocks[1][0](self.blocks[0][0](x))
                return nn.Relu()(self.by_name[3](self.by_name["out"](x)))

        Model.__module__ = nn.layers.__name__
        model = Model()
        for _ in range(2):
            model(nn.Tensor(np.ones((1, 2))))
        model.blocks[0][0](nn.Tensor(np.ones(2)))

    found = spans_of(which, program)
    inner = ["blocks.0.0", "blocks.1.0", "by_name.out", "by_name.3", "Relu"]
    assert found.of(Kind.LAYER) == ["Model", *inner, "Model", *inner, "Relu"]
    arguments = {
        found.name(row): found.trace.strings[int(found.trace.spans.args_id[row])]
        for row in found.rows
        if found.kind(row) == Kind.LAYER
    }
    assert arguments["blocks.1.0"] == '{"class": "Linear", "trainable": 2}'
    assert arguments["Model"] == '{"class": "Model", "trainable": 0}'


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
    assert 2 < len(found.of(Kind.LAYER)) < 100  # the first ones, then none, then two again


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
    from tinytrace.tracer.adapters import framework_calls, frameworks

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


def test_parameters_whose_data_is_replaced_are_no_new_layers(which: str) -> None:
    def program() -> None:
        nn = framework("recursive")
        model = nn.Linear(2, 2)
        optimizer = nn.SGD(model.parameters())
        for _ in range(3):
            nn.Loss()(model(nn.Tensor(np.ones((1, 2))))).backward()
            optimizer.step()
            optimizer.zero_grad()

    found = spans_of(which, program)
    assert Counter(found.of(Kind.LAYER)) == {"Linear": 3, "Loss": 3}
    assert len(found.trace.flows) == 9
    assert found.of(Kind.OPTIMIZER) == 3 * ["SGD.step"]


def test_ops_lie_in_the_spans_of_the_framework(which: str) -> None:
    def program() -> None:
        nn = framework("recursive")
        nn.Linear(3, 2)(nn.Tensor(np.ones((4, 3))))

    trace: Trace = record(which, program)
    found = Spans(trace)
    (row,) = [r for r in found.rows if found.name(r) == "matmul" and not found.kind(r)]
    assert found.name(found.trace.spans.parent[row]) == "matmul"
    assert found.kind(int(found.trace.spans.parent[row])) == Kind.FORWARD
