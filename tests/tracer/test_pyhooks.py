"""The Python recorder's hooks do not show: names, pickles, signatures, tracebacks, references."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.contract.recorded import Recorded, record, run
from tinytrace.tracer.pyslots import CallPatch, DictPatch, type_dict


def hooked(program: Callable[[], object]) -> Any:
    """Return what a program returns while the Python recorder records."""
    found: list[object] = []
    record("python", lambda: found.append(program()))
    return found[0]


def looks() -> list[object]:
    """Return what can be seen of things that are hooked."""
    things: list[Any] = [np.array, np.arange, np.ndarray.sum, np.add.reduce, np.add, np.sum]
    return [
        [t.__name__ for t in things],
        [getattr(t, "__qualname__", None) for t in things[:3]],
        [t.__doc__ for t in things],
        [bool(getattr(t, "__text_signature__", None)) for t in (np.arange, np.fromiter, np.sum)],
        [str(inspect.signature(t)) for t in (np.sum, np.linalg.solve)],
        [callable(t) for t in things],
        getattr(np.arange, "__self__", 1) is getattr(np.array, "__self__", 2),
        pickle.loads(pickle.dumps(np.array))([1]).tolist(),
        pickle.loads(pickle.dumps(np.add)) is np.add,
        copy.copy(np.array)([2]).tolist(),
        repr(np.add),
        hasattr(np.ndarray, "sum"),
        type(np.add).__name__,
    ]


def test_hooked_things_look_as_they_did() -> None:
    assert hooked(looks) == looks()


def test_builtin_functions_do_not_become_methods_in_a_class() -> None:
    def program() -> list[float]:
        class Maker:
            make = np.array

        made: list[float] = Maker().make([1.0]).tolist()
        return made

    assert hooked(program) == [1.0]


def test_results_and_arguments_are_not_kept_alive() -> None:
    def program() -> list[bool]:
        a = np.ones(1000)
        b = a + 1
        c = b.astype("f4")
        seen = [weakref.ref(x) for x in (a, b, c)]
        with pytest.raises(ValueError, match="broadcast"):
            np.add(b, np.ones(7))
        del a, b, c
        gc.collect()
        return [ref() is None for ref in seen]

    assert hooked(program) == [True, True, True]


def test_reference_counts_of_arguments_are_those_of_plain_calls() -> None:
    def program() -> list[int]:
        counts = []
        a = np.ones(3)
        for call in (np.negative, np.sum, np.ndarray.copy, np.array):
            call(a)
            counts.append(sys.getrefcount(a))
        return counts

    assert hooked(program) == program()


def test_resize_counts_references_and_is_left_as_it_is() -> None:
    def program() -> tuple[int, ...]:
        a = np.zeros(4)
        a.resize(8)
        return a.shape

    trace = record("python", program)
    assert hooked(program) == (8,)
    assert any("resize counts references" in warning for warning in trace.warnings)


def test_globals_of_programs_that_end_are_not_kept() -> None:
    class Marker:
        pass

    namespace: dict[str, Any] = {"np": np, "marker": Marker(), "__name__": "gone"}
    ended = weakref.ref(namespace["marker"])

    def program() -> None:
        exec("np.add(1, 2)", namespace)
        namespace.clear()
        gc.collect()
        assert ended() is None

    record("python", program)


def test_a_recursion_error_travels_through_hooks() -> None:
    class Deep:
        def __array_ufunc__(self, *args: Any, **kwargs: Any) -> object:
            return np.add(cast("Any", self), 1)

    def program() -> str:
        with pytest.raises(RecursionError):
            Deep().__array_ufunc__()
        return "still here"

    assert hooked(program) == "still here"


def test_the_frame_that_calls_numpy_passes_for_the_programs_own() -> None:
    def program() -> list[str]:
        seen: list[str] = []

        class Looks:
            def __array_ufunc__(self, *args: Any, **kwargs: Any) -> object:
                frame = sys._getframe(1)
                while frame.f_code.co_name != "program" or frame.f_code.co_filename != __file__:
                    seen.append(frame.f_code.co_filename)
                    assert frame.f_back is not None
                    frame = frame.f_back
                return 0

        np.negative(cast("Any", Looks()))
        return seen

    assert [Path(name).name for name in hooked(program)] == []


def test_ufuncs_of_the_program_itself_pass_through() -> None:
    trace = run("python", "f(3)\nnp.add(1, 2)", {"np": np, "f": np.frompyfunc(abs, 1, 1)})
    assert Recorded(trace).by_line() == {2: "add[p:int,p:int->s:i8]"}


def test_an_entry_that_someone_changed_is_left_and_named() -> None:
    entries: dict[str, Any] = {"name": 1}
    changes: list[int] = []
    patch = DictPatch(entries, "name", 2, lambda: changes.append(1))
    assert entries == {"name": 2}
    entries["name"] = 3
    assert patch.undo() == "'name' was changed by someone else and was left as it is"
    assert entries == {"name": 3}


def test_a_type_that_inherits_its_call_is_refused() -> None:
    class Mine:
        pass

    with pytest.raises(TypeError, match="has no call of its own"):
        CallPatch(Mine, lambda *args: None)


def test_the_dict_behind_a_type_is_found() -> None:
    assert type_dict(np.ndarray)["sum"] is np.ndarray.__dict__["sum"]
