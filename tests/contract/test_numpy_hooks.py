"""Hooks come off: every pointer and entry is what it was, however recording went. On both recorders."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any, cast

import numpy as np
import numpy.ma  # NumPy imports it when some of its functions are first called
import pytest

from tests.contract.recorded import Recorded, record
from tests.cores import CORES, core
from tinytrace.tracer.options import Options
from tinytrace.tracer.pyslots import FIELDS, WORD, type_dict
from tinytrace.tracer.records import Flag
from tinytrace.tracer.session import Session

HEAD = object.__basicsize__
TYPE_HEAD = HEAD + WORD  # PyObject_VAR_HEAD
MEMORY_HANDLER = 306  # index of PyDataMem_DefaultHandler in NumPy's table of C functions
HANDLER_HEAD = 128  # name and version


def word(address: int) -> int:
    """Return the pointer at an address."""
    return ctypes.c_size_t.from_address(address).value


def field(cls: type, name: str) -> int:
    """Return a field of a type."""
    return word(id(cls) + TYPE_HEAD + WORD * FIELDS.index(name))


def method_of(obj: Any) -> int:
    """Return ``ml_meth`` of a C method or builtin function."""
    return word(
        word(id(obj) + HEAD + (3 * WORD if type(obj) is MethodDescriptorType else 0)) + WORD
    )


def memory_handler() -> tuple[int, ...]:
    """Return the functions that NumPy allocates with."""
    core = sys.modules["numpy.core" if np.__version__ < "2" else "numpy._core"]
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = get(core.__dict__["multiarray"]._ARRAY_API, None)
    capsule = ctypes.cast(word(word(table + WORD * MEMORY_HANDLER)), ctypes.py_object).value
    handler = get(capsule, b"mem_handler")
    return tuple(word(handler + HANDLER_HEAD + WORD * n) for n in range(5))


class Mine(np.ndarray):
    """A subclass from before the recording."""


def pointers() -> dict[str, Any]:
    """Return everything in NumPy that a hook may change: pointers, and what modules and types hold."""
    found: dict[str, Any] = {"memory": memory_handler()}
    for owner in (np, np.linalg, np.fft, np.random.Generator, np.random.RandomState):
        for name, obj in list(vars(owner).items()):
            offset = field(type(obj), "tp_vectorcall_offset")
            if type(obj) in {np.ufunc, type(np.sum)} or type(obj).__name__.startswith("cython"):
                found[f"call of {obj}"] = word(id(obj) + offset)
            elif isinstance(obj, BuiltinFunctionType):
                found[f"method of {obj}"] = method_of(obj)
            found[f"{owner.__name__}.{name}"] = id(obj)
    for cls in (np.ndarray, np.ufunc, Mine, np.generic):
        mapping = field(cls, "tp_as_mapping")
        found[f"indexing of {cls}"] = [word(mapping + WORD * n) for n in (1, 2)] if mapping else []
        found[f"call of {cls}"] = field(cls, "tp_call"), cls.__flags__ & (1 << 11)
        for name, obj in cls.__dict__.items():
            if type(obj) is MethodDescriptorType:
                found[f"{cls}.{name}()"] = method_of(obj)
            found[f"{cls}.{name}"] = id(obj)
    wrapper = np.ndarray.__dict__["__getitem__"]
    found["ndarray.__getitem__"] = word(id(wrapper) + HEAD + 4 * WORD)
    return found


@pytest.fixture(autouse=True)
def nothing_stays_hooked() -> Iterator[None]:
    """After each test NumPy is as it was."""
    before = pointers()
    yield
    after = pointers()
    assert {k for k in {**before, **after} if before.get(k) != after.get(k)} == set()


@pytest.fixture(params=CORES)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of a core."""
    return str(request.param)


def session(tmp_path: Path) -> Session:
    """Make a session, not yet started."""
    return Session(Options(tmp_path / "trace.json", sampler="none", children=False), ["test"])


def finish(one: Session) -> Recorded:
    """Stop a session; returns what it recorded."""
    one.stop()
    try:
        return Recorded(one.trace())
    finally:
        one.discard()


def test_recording_changes_pointers_and_its_end_puts_them_back(name: str) -> None:
    before, during = pointers(), list[dict[str, Any]]()
    record(name, lambda: during.append(pointers()))
    changed = {key for key in before if during[0].get(key) != before[key]}
    assert any("add" in key or "call" in key for key in changed)
    if name == "c":
        assert {"memory", "call of <ufunc 'add'>", "ndarray.__getitem__"} <= changed
        assert {f"indexing of {cls}" for cls in (np.ndarray, Mine)} <= changed
    assert pointers() == before


def test_recording_fifty_times_leaves_nothing(name: str) -> None:
    before = pointers()
    traces = [record(name, lambda: np.add(np.ones(2), 1)) for _ in range(50)]
    assert pointers() == before
    for trace in (traces[0], traces[-1]):
        found = Recorded(trace)
        assert [found.text(row) for row in found.inside(-1)] == [
            "copyto[2->2=0]",
            "add[2,p:int->2]",
        ]


def test_both_cores_in_turns_do_not_meet(name: str) -> None:
    for core_name in (*CORES, *CORES):
        trace = record(core_name, lambda: np.exp(1.0))
        assert [Recorded(trace).name(row) for row in range(len(trace.spans))] == ["exp"]


def test_recording_may_be_started_and_stopped_by_different_threads(
    name: str, tmp_path: Path
) -> None:
    with core(name):
        one = session(tmp_path)
        starter = threading.Thread(target=one.start)
        starter.start()
        starter.join()
        np.exp(1.0)
        stopper = threading.Thread(target=one.stop)
        stopper.start()
        stopper.join()
    assert [finish(one).name(0)] == ["exp"]


def test_an_op_that_is_running_when_recording_stops_still_returns(
    name: str, tmp_path: Path
) -> None:
    class Stopper:
        def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
            one.stop()
            return "result"

    with core(name):
        one = session(tmp_path)
        one.start()
        assert np.add(cast("Any", Stopper()), 1) == "result"
        assert np.add(1, 1) == 2
    found = finish(one)
    assert [found.text(row) for row in found.inside(-1)] == ["add[->]"]
    assert found.flags(0) == Flag.OPEN


def test_an_op_that_is_running_when_recording_starts_is_not_recorded(
    name: str, tmp_path: Path
) -> None:
    class Starter:
        def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
            one.start()
            return "result"

    with core(name):
        one = session(tmp_path)
        assert np.add(cast("Any", Starter()), 1) == "result"
        np.exp(1.0)
    found = finish(one)
    assert [found.text(row) for row in found.rows] == ["exp[p:float->s]"]


def test_what_others_put_over_a_hook_is_left_alone_and_said(name: str, tmp_path: Path) -> None:
    entries = type_dict(np.ndarray)
    original, slot = entries["sum"], None
    with core(name):
        one = session(tmp_path)
        if name == "c":
            offset = field(np.ufunc, "tp_vectorcall_offset")
            slot = ctypes.c_size_t.from_address(id(np.add) + offset)
            before = slot.value
        one.start()
        if slot is not None:
            slot.value, ours = before, slot.value
            assert ours != before
            expected = "the call of <ufunc 'add'> was changed by someone else and was left as it is"
        else:
            entries["sum"] = other = len
            expected = "'sum' was changed by someone else and was left as it is"
        one.stop()
        if slot is None:
            assert entries["sum"] is other
            entries["sum"] = original
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(np.ndarray))
    assert expected in finish(one).trace.warnings
    assert np.ones(3).sum() == 3


def test_objects_made_during_recording_work_on_afterwards(name: str) -> None:
    made: dict[str, Any] = {}

    def program() -> None:
        made["type"] = type("Later", (np.ndarray,), {})
        made["array"] = np.arange(3.0).view(made["type"])
        made["sum"] = made["array"].sum
        made["array_function"] = np.array
        made["reduce"] = np.add.reduce

    record(name, program)
    assert made["array"][np.array([2, 0])].tolist() == [2, 0]
    mapping = [field(cls, "tp_as_mapping") for cls in (np.ndarray, made["type"])]
    assert word(mapping[0] + WORD) == word(mapping[1] + WORD)
    assert made["sum"]() == made["reduce"](made["array"]) == 3
    assert made["array_function"]([1]).tolist() == [1]


FFT = "fft" if np.__version__ >= "2" else "execute"
LATE = """
import json, os, sys
import tinytrace as tt
assert "numpy" not in sys.modules
with tt.trace(sampler="none") as recording:
    import numpy as np
    from numpy import array
    from scipy import special
    x = array([1.0, 2.0])
    np.add(x, 1)
    special.expit(x)
    np.linalg.inv(np.eye(2))
    np.fft.fft(x)
    np.random.default_rng(0).random(3)
    child = os.fork()
    if child == 0:
        ok = np.add(x, 1).tolist() == [2, 3] and x.sum() == 3
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.subtract(x, 1)
trace = recording.result
frames, strings, found = trace.frames, trace.strings, {}
for name, site in zip(trace.spans.name_id, trace.spans.callsite_id):
    if strings[frames.file_id[site]] == "<string>":
        found.setdefault(int(frames.line[site]), []).append(strings[name])
print(json.dumps({"lines": found, "warnings": list(trace.warnings)}))
"""


def test_numpy_may_be_imported_while_recording_and_processes_forked(name: str) -> None:
    with core(name):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", LATE], capture_output=True, text=True, check=False
        )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    lines = {int(line): ops for line, ops in found["lines"].items()}
    assert lines[9][0] == "array"
    assert [lines[n] for n in (10, 11, 12, 13, 14)] == [
        ["add"], ["expit"], ["zeros", "linalg.inv", "inv"], ["fft.fft", FFT], lines[14],
    ]  # fmt: skip
    assert lines[14][-1] == "random.random"
    assert lines[20] == ["subtract"]
    assert 17 not in lines  # in the child
    if name == "c":
        assert found["warnings"] == []
    else:
        missing = [text for text in found["warnings"] if text.startswith("not recorded")]
        assert [text.split(":")[1] for text in missing] == [" resize"]


def test_places_in_a_library_that_is_named_later_are_call_sites_no_longer(name: str) -> None:
    library: dict[str, Any] = {"np": np, "a": np.ones(2)}
    exec(compile("def add():\n    return np.add(a, a)\n", "/library/inner.py", "exec"), library)

    def program() -> None:
        library["add"]()
        session = Session._current
        assert session is not None
        session._internal("/library/")
        library["add"]()

    recorded = Recorded(record(name, program))
    sites = [recorded.site(row)[2].rpartition(".")[2] for row in recorded.rows]
    assert sites == ["add", "program"]
