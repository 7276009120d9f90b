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


@pytest.mark.parametrize("core", CORES)
def test_tracers_and_profilers_of_the_program_see_what_they_ever_see(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(tmp_path, train=OBSERVED)
    place.core = core
    plain, recorded = place.plain("train.py"), place.record("train.py")
    assert (recorded.status, recorded.stderr) == (plain.status, plain.stderr) == (0, b"")
    ours = recorded.stdout.splitlines()
    if core == "python":  # it is Python code in the program's threads: they see it beside the rest
        rest = iter(ours)
        ours = [line for line in plain.stdout.splitlines() if line in rest]
    assert ours == plain.stdout.splitlines()
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


CLOSES_ALL = """
import os, resource
import numpy as np
np.add(1, 2)
os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
files = [open(f"own{n}", "w") for n in range(700)]
np.subtract(3, 1)
for file in files:
    file.write("mine")  # reaches the file when Python has ended
"""


@pytest.mark.parametrize("core", CORES)
def test_program_that_closes_all_files_keeps_its_own_and_is_recorded_to_its_end(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(tmp_path, train=CLOSES_ALL)
    place.core = core
    assert place.same("train.py") == Ended(0, b"", b"")
    assert {f.read_bytes() for f in place.folder.glob("own*")} == {b"mine"}
    assert ops(place.trace()) == ["add", "subtract"]
