"""What programs do to their process: at its end, to its streams and folders, to Python's own switches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.both import CORES, USE_NUMPY, Place, ops, without_addresses

AT_EXIT = """
import atexit, concurrent.futures, sys, threading
import numpy as np

go, worked = threading.Event(), threading.Event()
executor = concurrent.futures.ThreadPoolExecutor(1)

def work():
    go.wait()
    np.multiply(2, 3)
    print("thread", flush=True)
    worked.set()

def from_pool():
    worked.wait()
    np.subtract(2, 3)
    print("executor", flush=True)

def last():
    np.exp(0.0)
    print("atexit", threading.active_count(), flush=True)

atexit.register(last)
threading.Thread(target=work).start()
executor.submit(from_pool)
np.add(1, 2)
print("end of the program", flush=True)
go.set()
"""
STREAMS = {
    "stderr replaced": "import io, sys; sys.stderr = io.StringIO(); sys.stdout = sys.stderr; print('lost')",
    "stderr closed": "import sys; sys.stderr.close()",
    "stderr none": "import sys; sys.stderr = sys.stdout = None",
    "descriptors closed": "import os; os.close(1); os.close(2)",
    "stdout closed": "import sys; print('x'); sys.stdout.close()",
    "descriptor 2 another file": "import os; os.close(2); f = open('own', 'w'); print(f.fileno())",
    "first descriptor": "f = open('own', 'w'); print(f.fileno())",
}
# Many harmless things at once, then each of those that could keep the trace from being saved.
SWITCHES = """
import decimal, gc, locale, os, random, sys, warnings
os.chdir("/")
np.seterr(all="raise")
warnings.simplefilter("error")
sys.setswitchinterval(0.25)
gc.disable()
random.seed(1)
decimal.getcontext().prec = 2
locale.setlocale(locale.LC_ALL, "")
print(sys.getswitchinterval(), os.getcwd(), random.random(), np.add(1.5, 2))
"""
HABITS = {
    "switches": SWITCHES,
    "folder deleted": "import os, shutil; shutil.rmtree(os.getcwd()); print('gone')",
    "little recursion": "import sys; sys.setrecursionlimit(60)",
    "few files": "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (8, 8)); open('x', 'w')",
    "replaced": "import builtins, json; np.empty = json.loads = builtins.open = None",
    "no path": "import sys; sys.path[:] = []; sys.meta_path[:] = []; sys.modules.pop('random', 0)",
}


@pytest.mark.parametrize("core", CORES)
def test_what_python_does_at_the_end_comes_in_its_order_and_is_in_the_trace(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(tmp_path, train=AT_EXIT)
    place.core = core
    assert place.same("train.py").stdout.startswith(b"end of the program\n")
    assert sorted(ops(place.trace())) == ["add", "exp", "multiply", "subtract"]


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_the_programs(tmp_path: Path, name: str) -> None:
    place = Place.make(tmp_path, train=USE_NUMPY + STREAMS[name] + "\n")
    plain, recorded = place.plain("train.py"), place.record("train.py", own=())
    assert (recorded.status, recorded.stdout) == (plain.status, plain.stdout)
    assert recorded.stderr.startswith(plain.stderr)
    own = place.folder / "own"
    assert not own.exists() or own.read_bytes() == b""
    assert ops(place.trace()) == ["add"]


@pytest.mark.parametrize("name", HABITS)
def test_a_program_may_do_as_it_likes_and_the_trace_is_saved(tmp_path: Path, name: str) -> None:
    place = Place.make(tmp_path, train=USE_NUMPY + HABITS[name] + "\n")
    plain = place.plain("train.py")
    place.folder.mkdir(exist_ok=True)
    place.write("train.py", USE_NUMPY + HABITS[name] + "\n")
    assert place.record("train.py") == plain
    assert ops(place.trace())[0] == "add"


NO_FILES = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (3, 3)); print('end')\n"
OBSERVED = """
import sys
seen = []
def observe(frame, event, argument):
    print(event, frame.f_code.co_name, file=sys.stdout)
    return observe
def work():
    np.add(1, 2)
{start}(observe)
work()
"""
PDB = b"break train.py:3\ncontinue\np a\nnext\nwhere\ncontinue\nquit\n"
DEBUGGED = "import numpy as np\na = 5\nb = np.add(a, 1)\nprint(b)\n"
SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
other = interpreters.create()
code = "import os, sys, json; os.write(1, repr([sys.meta_path, sys.flags.isolated, __name__]).encode() + bytes([10]))"
interpreters.run_string(other, code)
interpreters.destroy(other)
print(len(interpreters.list_all()), flush=True)
"""
DEPTH = """
import sys
sys.setrecursionlimit(200)
class Deep:
    def __add__(self, other):
        global depth
        depth += 1
        return np.add(box, 1)
depth = 0
box = np.empty(1, object)
box[0] = Deep()
try:
    np.add(box, 1)
except RecursionError as error:
    print(error, depth, sys.getrecursionlimit())
"""


def test_where_nothing_can_be_saved_the_reason_is_one_line_and_the_run_is_kept(
    tmp_path: Path,
) -> None:
    place = Place.make(tmp_path, train=USE_NUMPY + NO_FILES)
    ended = place.record("train.py")
    assert (ended.status, ended.stdout, ended.stderr.count(b"\n")) == (0, b"end\n", 1)
    assert ended.stderr.startswith(b"tinytrace: the trace could not be written: ")
    assert ops(place.recover()) == ["add"]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("start", ["sys.settrace", "sys.setprofile"])
def test_tracing_and_profiling_functions_see_the_program_and_nothing_of_ours(
    tmp_path: Path, start: str, core: str
) -> None:
    place = Place.make(tmp_path, train=USE_NUMPY + OBSERVED.format(start=start))
    place.core = core
    plain, recorded = place.plain("train.py"), place.record("train.py")
    assert (recorded.status, recorded.stderr) == (plain.status, plain.stderr) == (0, b"")
    seen, ours = plain.stdout.splitlines(), recorded.stdout.splitlines()
    assert seen.count(b"call work") == 1
    if core == "python":  # it is Python code in the program's threads: they see it beside the rest
        rest = iter(ours)
        ours = [line for line in seen if line in rest]
    assert ours == seen
    assert ops(place.trace()) == ["add", "add"]


@pytest.mark.parametrize("core", CORES)
def test_a_debugger_debugs_the_recorded_program(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=DEBUGGED)
    place.core = core
    plain, recorded = (
        run("-m", "pdb", "train.py", stdin=PDB) for run in (place.plain, place.record)
    )
    assert (recorded.status, recorded.stderr) == (plain.status, plain.stderr)
    assert b"(Pdb) 5\n" in recorded.stdout
    if core == "c":  # the other one's frames are frames to a debugger, too
        assert recorded.stdout == plain.stdout
    assert set(ops(place.trace())) == {"add"}


def test_other_interpreters_of_the_process_are_left_alone(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=USE_NUMPY + SUBINTERPRETER)
    ended = place.same("train.py", python=("-W", "ignore"), alike=without_addresses)
    assert b"AfterImport" not in ended.stdout
    assert ended.stdout.endswith(b"\n1\n")
    assert ops(place.trace()) == ["add"]


@pytest.mark.parametrize("core", CORES)
def test_operations_nest_as_deep_as_without_a_recorder(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=USE_NUMPY + DEPTH)
    place.core = core
    plain, recorded = place.plain("train.py"), place.record("train.py")
    assert (recorded.status, recorded.stderr) == (plain.status, plain.stderr) == (0, b"")
    assert b"recursion" in plain.stdout
    if core == "c":
        assert recorded.stdout == plain.stdout
    else:  # each op is two Python functions more: a third of the depth, and the same limit
        assert recorded.stdout.startswith(b"maximum recursion depth exceeded")
        assert recorded.stdout.split()[-1] == plain.stdout.split()[-1] == b"200"
    place.trace()
