"""Frameworks on NumPy, seen by protocol: three generations of them. On both cores."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from tests.contract.recorded import record
from tests.cores import CORES
from tests.frameworks.recording import Spans, anew, framework, spans_of
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

pytestmark = pytest.mark.usefixtures("anew")
__all__ = ["anew"]


@pytest.fixture(params=CORES)
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
        nn = framework("recursive")
        cls, original = nn.Tensor, nn.Tensor.__add__
        # What the package has put there itself, at the end of its import, has no function of ours inside.
        captured = [cell.cell_contents for cell in original.__closure__]
        assert FunctionType in map(type, captured)

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


def test_an_installed_library_is_seen_if_it_is_a_framework(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the class of tensors in its top module; other libraries are let be."""
    source = (Path(__file__).parents[1] / "frameworks" / "cleared.py").read_text()
    packages = tmp_path / "site-packages"
    for name, top in (("little_grad", "from little_grad.core import *"), ("other_lib", "")):
        (packages / name).mkdir(parents=True)
        (packages / name / "core.py").write_text(source)
        (packages / name / "__init__.py").write_text(top)
    monkeypatch.syspath_prepend(str(packages))

    def program() -> None:
        for name in ("little_grad", "other_lib"):
            core = importlib.import_module(f"{name}.core")
            core.Scale()(core.Tensor(np.ones(3)))

    try:
        found = spans_of(which, program)
    finally:
        for name in [n for n in sys.modules if n.startswith(("little_grad", "other_lib"))]:
            del sys.modules[name]
    assert found.of(Kind.LAYER) == ["Scale"]
