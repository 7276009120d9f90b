"""A framework in the script itself, in its modules, in its children: seen, and programs end as under ``python``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.launch.both import CORES, ROOT, Place
from tinytrace.tracer.records import Kind
from tinytrace.tracer.trace import Trace

FRAMEWORK = (ROOT / "tests" / "frameworks" / "cleared.py").read_text()
TRAIN = """
model = Model()
descent = Descent([model.first.factor])
for batch in Loader(3):
    y = model(batch)
    y.backward()
    descent.step()
print(y.data, model.first.factor.grad, type(Model.forward).__name__ != "", Model.forward.__qualname__)
"""
FORKS = """
import os
if (child := os.fork()) == 0:
    Model()(Tensor(np.ones(3))).backward()
    os._exit(0)
os.waitpid(child, 0)
"""
FAILS = """
class Broken(Layer):
    def forward(self, x):
        return missing * x

Broken()(Tensor(np.ones(3)))
"""


COMPILED = pytest.mark.parametrize("compiled", [name for name in CORES if name == "c"])


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kinds(trace: Trace) -> Counter[str]:
    """How many spans of each kind but ops."""
    names = Counter(Kind(kind).name for kind in trace.spans.kind.tolist())
    del names["OP"]
    return names


def test_classes_of_the_script_itself_are_seen(core: str, tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=FRAMEWORK + TRAIN)
    place.core = core
    place.same("train.py")
    trace = place.trace()
    assert kinds(trace) == {"LAYER": 12, "FORWARD": 9, "BACKWARD": 12, "OPTIMIZER": 3, "DATA": 4}
    assert len(trace.flows) == 9


@COMPILED
def test_a_module_of_the_program_is_seen_and_a_traceback_is_its_own(
    compiled: str, tmp_path: Path
) -> None:
    """In pure Python there is a frame of ours in it: docs/frameworks.md says so."""
    train = "import numpy as np\nfrom framework import Layer, Tensor\n" + FAILS
    place = Place.make(tmp_path, framework=FRAMEWORK, train=train)
    place.core = compiled
    ended = place.same("train.py")
    assert ended.status == 1
    assert kinds(place.trace()) == {"LAYER": 1}


def test_a_forked_child_has_its_own_spans_once(core: str, tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=FRAMEWORK + TRAIN + FORKS + TRAIN)
    place.core = core
    place.same("train.py", python=("-W", "ignore"))  # from 3.12 on forks are warned of
    trace = place.trace()
    child = trace.threads.process[trace.spans.thread] == 1
    assert Counter(trace.spans.kind[child].tolist())[Kind.LAYER] == 4
    assert Counter(trace.spans.kind[~child].tolist())[Kind.LAYER] == 24
    names = [trace.strings[i] for i in trace.spans.name_id[child]]
    assert {"Model", "first", "layers.0", "layers.1"} <= set(names)
    assert len(trace.flows) == 9 + 9 + 3


DEPTHS = """
import numpy as np

class Deep:
    def forward(self, n):
        self.n = n
        return self.forward(n + 1)

class Tensor:
    def __init__(self, data):
        self.data, self.shape, self.n = data, (), 0
    def backward(self):
        self.n += 1
        return self.backward()

for thing, call in ((Deep(), lambda t: t.forward(0)), (Tensor(1), Tensor.backward)):
    np.negative(1.0)
    try:
        call(thing)
    except RecursionError:
        print(thing.n)
"""


@COMPILED
def test_calls_go_as_deep_as_under_python(compiled: str, tmp_path: Path) -> None:
    place = Place.make(tmp_path, deep=DEPTHS)
    place.core = compiled
    assert place.same("deep.py").status == 0
