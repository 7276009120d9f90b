"""How a program ends: exit codes, uncaught exceptions, and what the shell sees of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.launch.both import CORES, USE_NUMPY, Ended, Place, ops
from tinytrace.tracer.records import Flag

EXITS = {
    "sys.exit()": (0, b""),
    "sys.exit(3)": (3, b""),
    "sys.exit('no data')": (1, b"no data\n"),
    "sys.exit(-1)": (255, b""),
    "sys.exit((1, 2))": (1, b"(1, 2)\n"),
    "raise SystemExit(4)": (4, b""),
    "pass": (0, b""),
}

CHAIN = """
import numpy as np

def load():
    raise KeyError("weights")

def train():
    try:
        load()
    except KeyError as missing:
        raise ValueError("cannot train") from missing

def report(e):
    try:
        train()
    except ValueError:
        [][e]  # during handling of …

np.add(np.ones(3), 1)
report(5)
"""
INSIDE_NUMPY = """
import numpy as np

class Odd:
    def __add__(self, other):
        raise LookupError("odd")

np.ones(3) + 1
np.add(np.array([Odd()]), 1)
"""
SHAPES = "import numpy as np\na = np.ones((2, 3))\nb = np.ones((2, 3))\nc = a @ b\n"
OWN_HOOK = """
import sys
import numpy as np

def hook(kind, error, traceback):
    print("hook:", kind.__name__, error, traceback.tb_lineno, traceback.tb_next)

sys.excepthook = hook
np.add(np.ones(3), 1)
raise RuntimeError("mine")
"""
IN_A_THREAD = """
import threading
import numpy as np

def work():
    np.add(np.ones(3), 1)
    raise RuntimeError("in a thread")

t = threading.Thread(target=work, name="worker")
t.start()
t.join()
print("main goes on")
"""
GROUP = """
import numpy as np
np.add(np.ones(3), 1)
raise ExceptionGroup("two", [ValueError(1), TypeError("x")])
"""
RAISING = {
    "chain": (CHAIN, ["add"]),
    "inside_numpy": (INSIDE_NUMPY, ["add", "add"]),
    "shapes": (SHAPES, ["matmul"]),
    "own_hook": (OWN_HOOK, ["add"]),
    "syntax": ("import numpy\nx = = 3\n", []),
    "missing": ("import numpy\nimport no_such_module_anywhere\n", []),
}
if sys.version_info >= (3, 11):
    RAISING["group"] = (GROUP, ["add"])


@pytest.mark.parametrize("code", EXITS)
def test_exit_codes_and_messages_are_those_of_the_program(tmp_path: Path, code: str) -> None:
    place = Place.make(tmp_path, train=f"import sys\n{USE_NUMPY}print('out')\n{code}\n")
    status, message = EXITS[code]
    assert place.same("train.py") == Ended(status, b"out\n", message)
    assert ops(place.trace()) == ["add"]


@pytest.mark.parametrize("name", RAISING)
def test_uncaught_exceptions_print_the_same_traceback_and_the_trace_is_whole(
    tmp_path: Path, name: str
) -> None:
    program, recorded_ops = RAISING[name]
    place = Place.make(tmp_path, train=program)
    ended = place.same("train.py")
    assert ended.status == 1
    assert b"tinytrace" not in ended.stderr
    assert ops(place.trace()) == recorded_ops


@pytest.mark.parametrize("core", CORES)
def test_each_core_leaves_tracebacks_through_numpy_as_they_are(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=INSIDE_NUMPY)
    place.core = core
    assert b"LookupError: odd" in place.same("train.py").stderr
    trace = place.trace()
    assert ops(trace) == ["add", "add"]
    raised = [bool(flags & Flag.RAISED) for flags in trace.spans.flags]
    assert (raised.count(True), raised[-1]) == (1, True)


def test_exception_in_a_thread_is_reported_and_the_program_goes_on(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=IN_A_THREAD)
    ended = place.same("train.py")
    assert (ended.status, ended.stdout) == (0, b"main goes on\n")
    assert b"Exception in thread worker:" in ended.stderr
    trace = place.trace()
    assert ops(trace) == ["add"]
    thread = trace.threads.name_id[trace.spans.thread[0]]
    assert trace.strings[thread].startswith("worker")


@pytest.mark.parametrize("core", CORES)
def test_os_exit_is_at_once_and_what_was_recorded_is_recovered(tmp_path: Path, core: str) -> None:
    program = "import os\n" + USE_NUMPY + "print('lost'); os._exit(5)\n"
    place = Place.make(tmp_path, train=program)
    place.core = core
    assert place.same("train.py", own=()) == Ended(5, b"", b"")
    assert not place.output.exists()
    assert ops(place.recover()) == ["add"]


def test_without_quiet_only_lines_of_ours_follow_those_of_the_program(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=CHAIN)
    plain, recorded = place.plain("train.py"), place.record("train.py", own=())
    assert (recorded.status, recorded.stdout) == (plain.status, plain.stdout)
    assert recorded.stderr.startswith(plain.stderr)
    rest = recorded.stderr[len(plain.stderr) :]
    assert b"trace.json" in rest
    assert b"Traceback (most recent call last)" not in rest
    place.trace()
