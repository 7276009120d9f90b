"""Where an op was called, in which other op and thread; exceptions and warnings: on both recorders."""

from __future__ import annotations

import contextlib
import sys
import textwrap
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

import tinytrace as tt
from tests.contract.recorded import FILE, Recorded, record, run
from tests.cores import CORES
from tinytrace.tracer.records import Flag

pytestmark = pytest.mark.parametrize("core", CORES)


def run_text(core: str, text: str, **variables: Any) -> Recorded:
    """Record a program text; NumPy is ``np`` and ``x`` an array in it."""
    namespace = {"np": np, "x": np.arange(6.0).reshape(2, 3), "__name__": "program", **variables}
    return Recorded(run(core, textwrap.dedent(text), namespace))


def leaf_sites(found: Recorded) -> list[tuple[str, int, str]]:
    """Return (op, line, function) of the innermost ops, in order."""
    rows = found.leaves()
    assert {found.site(row)[0] for row in rows} <= {FILE}
    return [(found.name(row), *found.site(row)[1:]) for row in rows]


def qualified(name: str) -> str:
    """Return a function's name as this Python records it: code objects of 3.10 know the bare one."""
    return name if sys.version_info >= (3, 11) else name.rpartition(".")[2]


CALLERS = """\
def plain():
    return np.add(x,
                  1)
class Model:
    def forward(self):
        return x @ x.T
work = lambda: np.exp(x)
def numbers():
    for i in range(2):
        yield x + i
def deep(n):
    return np.negative(x) if n == 0 else deep(n - 1)
plain(); Model().forward(); work(); list(numbers())
[np.sqrt(x) for _ in range(2)]
deep(50)
exec("np.sin(x)")
np.linalg.norm(x)
sorted([x[0], x[1]], key=lambda row: np.sum(row))
"""


def test_the_call_site_is_the_line_of_the_program_that_called(core: str) -> None:
    found = run_text(core, CALLERS)
    rows = [r for r in found.leaves() if found.name(r) not in {"dot", "sqrt", "add.reduce", "sin"}]
    assert [(found.name(row), *found.site(row)) for row in rows] == [
        ("add", FILE, 2, "plain"),
        ("matmul", FILE, 6, qualified("Model.forward")),
        ("exp", FILE, 7, "<lambda>"),
        ("add", FILE, 10, "numbers"),
        ("add", FILE, 10, "numbers"),
        ("negative", FILE, 12, "deep"),
    ]


def test_call_sites_go_through_the_layers_of_numpy_that_are_in_python(core: str) -> None:
    found = run_text(core, CALLERS)
    inside = [
        (found.name(row), *found.site(row)[1:])
        for row in found.leaves()
        if found.name(row) in {"dot", "add.reduce"}
    ]
    assert inside == [("dot", 17, "<module>"), *[("add.reduce", 18, "<lambda>")] * 2]


def test_comprehensions_and_executed_text_have_call_sites_of_their_own(core: str) -> None:
    found = run_text(core, CALLERS)
    sites = {found.site(row) for row in found.leaves() if found.name(row) == "sqrt"}
    comprehension = "<listcomp>" if sys.version_info < (3, 12) else "<module>"
    assert (FILE, 14, comprehension) in sites
    assert [found.site(r) for r in found.leaves() if found.name(r) == "sin"] == [
        ("<string>", 1, "<module>")
    ]


def test_two_calls_on_one_line_are_two_ops_with_one_parent_each(core: str) -> None:
    found = run_text(core, "np.mean(x) + np.mean(x, axis=0)")
    assert [found.name(row) for row in found.inside(-1)] == ["mean", "mean", "add"]
    assert all(found.name(r) != "mean" for row in found.inside(-1) for r in found.inside(row)[1:])


def test_an_op_that_an_object_does_in_an_op_lies_inside_it(core: str) -> None:
    class Number:
        def __add__(self, other: object) -> object:
            return np.sqrt(4.0)

    cells = np.array([Number(), Number()], dtype=object)
    found = run_text(core, "cells + cells", cells=cells)
    assert [found.text(row) for row in found.inside(-1)] == [
        "add[2:object,2:object=0->2:object](sqrt[p:float->s] sqrt[p:float->s])"
    ]


def test_what_an_op_raises_travels_on_unchanged(core: str) -> None:
    program = compile("\n\nnp.add(x, np.zeros(7))", FILE, "exec")
    variables = {"np": np, "x": np.zeros(3)}

    def raised() -> ValueError:
        with pytest.raises(ValueError, match="could not be broadcast") as caught:
            exec(program, variables)
        return caught.value

    plain, hooked = raised(), list[ValueError]()
    trace = record(core, lambda: hooked.append(raised()))
    assert type(hooked[0]) is type(plain)
    assert hooked[0].args == plain.args
    assert (hooked[0].__cause__, hooked[0].__context__) == (None, None)
    frames = [(f.filename, f.lineno, f.name) for f in traceback.extract_tb(hooked[0].__traceback__)]
    assert frames == [
        (f.filename, f.lineno, f.name) for f in traceback.extract_tb(plain.__traceback__)
    ]
    found = Recorded(trace)
    (row,) = (row for row in found.rows if found.name(row) == "add")
    assert found.flags(row) == Flag.RAISED
    assert found.text(row) == "add![3,7->]"


RAISING = """\
def op(action):
    try:
        action()
    except Exception as problem:
        problems.append(problem)
op(lambda: np.linalg.inv(np.zeros((2, 2))))
op(lambda: x.reshape(5))
op(lambda: np.add.reduce(x, axis=7))
op(lambda: x.sum(axis=7))
op(lambda: np.concatenate([x, np.zeros(1)]))
op(lambda: np.random.normal(0, -1, 3))
op(lambda: np.linalg.cholesky(-np.eye(2)))
op(lambda: x.astype("no such type"))
op(lambda: np.einsum("ij,jk", x))
op(lambda: x @ x)
"""


def test_errors_of_every_way_into_numpy_are_those_of_plain_numpy(core: str) -> None:
    outcomes = []
    for hooked in (False, True):
        problems: list[BaseException] = []
        variables = {"np": np, "x": np.zeros((2, 3)), "problems": problems, "__name__": "p"}
        if hooked:
            found = Recorded(run(core, RAISING, variables))
        else:
            exec(compile(RAISING, FILE, "exec"), variables)
        outcomes.append(
            [
                (
                    type(p),
                    str(p),
                    [(f.filename, f.lineno, f.name) for f in traceback.extract_tb(p.__traceback__)],
                )
                for p in problems
            ]
        )
    assert len(outcomes[0]) == 10
    assert outcomes[0] == outcomes[1]
    by_line = found.by_line()
    assert all("!" in by_line[line] for line in range(6, 16))
    assert not (found.trace.spans.flags & Flag.OPEN).any()


def test_ops_in_more_open_spans_than_the_limit_run_and_are_counted_as_dropped(core: str) -> None:
    x = np.ones(3)
    sums: list[float] = []

    def program() -> None:
        with contextlib.ExitStack() as spans:
            for _ in range(511):
                spans.enter_context(tt.span("deep"))
            sums.append(float((x + x)[0]))
            spans.enter_context(tt.span("deepest"))
            sums.append(float((x + x)[0]))
            sums.append(float(np.add(x, x, where=True)[0]))
        sums.append(float((x + x)[0]))

    found = Recorded(record(core, program))
    depth = {-1: 0}
    for row, parent in enumerate(found.trace.spans.parent.tolist()):
        depth[row] = depth[parent] + 1
    assert sums == [2.0] * 4
    assert [depth[row] for row in found.rows if found.name(row) == "add"] == [512, 1]
    assert found.trace.meta["audit"]["dropped"] == 2


def test_a_method_without_its_object_fails_as_it_does_and_recording_goes_on(core: str) -> None:
    def program() -> None:
        method: Any = np.ndarray.sum
        call: Any = vars(type(np.add))["__call__"]
        with pytest.raises(TypeError, match="needs an argument"):
            method()
        with pytest.raises(TypeError, match="needs an argument"):
            call()
        np.add(1, 2)

    trace = record(core, program)
    assert "add[p:int,p:int->s:i8]" in [Recorded(trace).text(row) for row in Recorded(trace).rows]
    assert trace.warnings == record(core, lambda: None).warnings


def test_an_exception_of_a_callback_leaves_no_op_open(core: str) -> None:
    class Broken:
        def __array_ufunc__(self, *args: Any, **kwargs: Any) -> object:
            np.exp(1.0)
            raise KeyError("mine")

    def program() -> None:
        with pytest.raises(KeyError, match="mine"):
            np.add(cast("Any", Broken()), 1)
        np.exp(2.0)

    found = Recorded(record(core, program))
    assert [found.text(row) for row in found.inside(-1)] == [
        "add![o,p:int->](exp[p:float->s])",
        "exp[p:float->s]",
    ]


def test_warnings_point_at_the_line_of_the_program(core: str) -> None:
    text = "def divide():\n    return x / 0\ndivide()\nnp.log(-x)\nnp.mean([])\n(-x).std(ddof=9)"
    seen: list[list[tuple[str, int, str]]] = []

    def program() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            exec(compile(text, FILE, "exec"), {"np": np, "x": np.ones(3), "__name__": "program"})
        seen.append([(w.filename, w.lineno, str(w.message)) for w in caught])

    program()
    record(core, program)
    assert (FILE, 2, "divide by zero encountered in divide") in seen[0]
    assert seen[0] == seen[1]


def test_floating_point_errors_are_raised_and_called_as_asked_for(core: str) -> None:
    called: list[tuple[str, int]] = []

    def program() -> None:
        with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="divide by zero"):
            np.ones(1) / 0
        with np.errstate(all="call", call=lambda kind, flag: called.append((kind, flag))):
            np.ones(1) / 0
        with np.errstate(all="ignore"):
            np.ones(1) / 0

    program()
    trace = record(core, program)
    assert called == [("divide by zero", 1)] * 2
    flags = [Recorded(trace).flags(r) for r in Recorded(trace).leaves()]
    assert flags.count(Flag.RAISED) == 1


def test_threads_have_their_own_ops(core: str) -> None:
    barrier = threading.Barrier(3)

    def work(n: int) -> None:
        barrier.wait()
        for _ in range(200):
            np.mean(np.ones(n), axis=0)

    def program() -> None:
        with ThreadPoolExecutor(3, thread_name_prefix="worker") as pool:
            list(pool.map(work, (3, 4, 5)))

    trace = record(core, program)
    found = Recorded(trace)
    strings, threads = trace.strings, trace.threads
    for thread in np.unique(trace.spans.thread):
        rows = [r for r in found.rows if trace.spans.thread[r] == thread]
        names = [found.name(r) for r in rows]
        assert strings[int(threads.name_id[thread])].startswith("worker_")
        assert names == ["copyto", "mean", "add.reduce"] * 200
        assert len({found.text(r) for r in rows if trace.spans.parent[r] < 0}) == 2
    parents = trace.spans.parent
    inner = np.flatnonzero(parents >= 0)
    assert (trace.spans.thread[inner] == trace.spans.thread[parents[inner]]).all()
    assert len(np.unique(trace.spans.thread)) == 3


def test_subclasses_keep_their_type_and_their_own_ways(core: str) -> None:
    class Celsius(np.ndarray):
        seen = 0

        def __array_finalize__(self, source: object) -> None:
            Celsius.seen += 1

        def __getitem__(self, key: Any) -> Any:
            return super().__getitem__(key)

    def program() -> list[object]:
        Celsius.seen = 0
        a = np.arange(6.0).reshape(2, 3).view(Celsius)
        values = (a + 1, a.sum(axis=0), a[np.array([1])], a.T, np.add(a, a), a.copy(), a.mean())
        return [Celsius.seen, *((type(v), np.asarray(v).tobytes()) for v in values)]

    results = [program()]
    record(core, lambda: results.append(program()))
    assert results[0] == results[1]


def test_masked_arrays_and_matrices_are_recorded_by_what_they_run(core: str) -> None:
    text = "masked + 1\nmatrix + matrix"
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    matrix = np.eye(2).view(np.matrix)
    lines = run_text(core, text, masked=masked, matrix=matrix).by_line()
    assert "add[2," in lines[1]
    assert lines[2] == "add[2x2,2x2=0->2x2]"


def test_methods_called_by_name_or_kept_are_recorded_like_others(core: str) -> None:
    text = """\
    method = x.sum
    method()
    np.ndarray.sum(x)
    getattr(x, "sum")()
    x.__add__(1)
    x.__radd__(1)
    np.add.__call__(x, 1)
    list(map(np.negative, [x]))
    reduce = np.add.reduce
    reduce(x)
    """
    lines = run_text(core, text).by_line()
    total = "sum[2x3->s](add.reduce[2x3->s])"
    plus = "add[2x3,p:int->2x3]"
    assert lines == {
        2: total, 3: total, 4: total, 5: plus, 6: "add[p:int,2x3->2x3]", 7: plus,
        8: "negative[2x3->2x3]", 10: "add.reduce[2x3->3]",
    }  # fmt: skip


def test_functions_kept_before_recording_are_recorded_too(core: str) -> None:
    kept = {"array": np.array, "total": np.sum, "plus": np.add, "draw": np.random.normal}
    text = "array(x)\ntotal(x)\nplus(x, 1)\ndraw(size=2)"
    lines = run_text(core, text, **kept).by_line()
    if np.__version__ < "2" and core == "python":  # its draws are such functions as well
        lines[4] = "random.normal[->2]"
    # The Python recorder replaces builtin functions in NumPy's modules, and so does not see this one.
    assert lines.pop(1, None) == ("array[2x3->2x3]" if core == "c" else None)
    assert lines == {
        2: "sum[2x3->s](add.reduce[2x3->s])", 3: "add[2x3,p:int->2x3]", 4: "random.normal[->2]",
    }  # fmt: skip
