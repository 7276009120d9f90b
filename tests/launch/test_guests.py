"""What else lives in the interpreter of a program: tracers, profilers, warnings, sub-interpreters, crashes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.launch.both import CORES, USE_NUMPY, Ended, Place, ops

OBSERVED = """
import sys, threading
import numpy as np

seen = []
def observe(frame, event, argument):
    name = argument.__qualname__ if event.startswith("c_") else frame.f_code.co_name
    seen.append((event, name, frame.f_lineno))
    return observe

def work(a):
    return a.sum() + np.dot(a, a) + len(a @ a * a + a)

a = np.ones(3)
work(a)
for switch, read in ((sys.settrace, sys.gettrace), (sys.setprofile, sys.getprofile)):
    switch(observe)
    work(a)
    assert read() is observe
    switch(None)
    print(*seen, sep="\\n")
    seen.clear()
threading.settrace(observe)
t = threading.Thread(target=work, args=(a,), name="observed")
t.start()
t.join()
threading.settrace(None)
print(*(s for s in seen if s[1] == "work"), sep="\\n")
"""
WARNS = """
import sys, warnings
import numpy as np

def work():
    np.divide(1.0, 0.0)
    np.ones(2) / 0
    np.sqrt(np.array([-1.0])).sum()
    warnings.warn("mine")
    warnings.warn("deprecated", DeprecationWarning, stacklevel=2)

work()
print(warnings.filters)
"""
SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import numpy as np
np.add(1, 2)
inner = interpreters.create()
interpreters.run_string(inner, "import os, sys; print('inside', 'tinytrace.tracer.session' in sys.modules, flush=True)")
interpreters.destroy(inner)
np.subtract(3, 1)
"""
CRASH = USE_NUMPY + "import ctypes\nctypes.string_at(0)\n"


@pytest.mark.skipif("c" not in CORES, reason="no compiled recorder")
def test_tracers_and_profilers_of_the_program_see_what_they_ever_see(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=OBSERVED)
    assert place.same("train.py").status == 0
    assert ops(place.trace()).count("matmul") == 4


def test_tracers_see_the_python_recorder_and_all_that_they_ever_see(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=OBSERVED)
    place.core = "python"
    plain, recorded = place.plain("train.py"), place.record("train.py")
    assert (recorded.status, recorded.stderr) == (plain.status, plain.stderr) == (0, b"")
    rest = iter(recorded.stdout.splitlines())
    assert [line for line in plain.stdout.splitlines() if line not in rest] == []
    assert ops(place.trace()).count("matmul") == 4


@pytest.mark.parametrize("core", CORES)
def test_warnings_come_from_the_lines_of_the_program(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=WARNS)
    place.core = core
    ended = place.same("train.py", python=("-W", "default"))
    assert ended.stderr.count(b"train.py:6: RuntimeWarning: divide by zero") == 1
    assert ended.stderr.count(b"Warning: ") == 5
    assert place.same("train.py", python=("-W", "error")).status == 1
    place.trace()


@pytest.mark.parametrize("core", CORES)
def test_sub_interpreters_run_unrecorded_beside_the_recording(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=SUBINTERPRETER)
    place.core = core
    assert place.same("train.py") == Ended(0, b"inside False\n", b"")
    assert ops(place.trace()) == ["add", "subtract"]


@pytest.mark.parametrize("core", CORES)
def test_what_a_crash_leaves_is_recovered(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=CRASH)
    place.core = core
    assert place.same("train.py") == Ended(-signal.SIGSEGV, b"", b"")
    assert not place.output.exists()
    assert ops(place.recover()) == ["add"]
