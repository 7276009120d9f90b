"""The processes that a program starts: each is recorded, in whatever way it starts and ends, into one trace."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.launch.both import CORES, Ended, Place, ops
from tinytrace.tracer.trace import Trace

# Started before NumPy is imported (what `multiprocessing` forks then imports it), and after.
METHODS = """
import multiprocessing as mp, os, sys

def work(n):
    import numpy as np
    return int(np.multiply(n, 2))

def die(n):
    import numpy as np
    np.divide(1.0, 2.0)
    os.kill(os.getpid(), 9)

def nested(n):
    inner = mp.get_context("fork").Process(target=work, args=(1,))
    inner.start()
    inner.join()

if __name__ == "__main__":
    method = sys.argv[1]
    mp.set_start_method(method)
    with mp.Pool(1) as pool:
        print(pool.map(work, [1, 2, 3]), mp.get_start_method())
    for target in (die, nested):
        p = mp.Process(target=target, args=(1,))
        p.start()
        p.join()
        print(p.exitcode)
    import numpy as np
    np.add(1, 2)
    p = mp.Process(target=work, args=(1,))
    p.start()
    p.join()
    print(p.exitcode, p.is_alive(), mp.active_children())
"""
OTHERS = """
import concurrent.futures, os, signal, subprocess, sys
import numpy as np

def work(n):
    np.multiply(n, 2)
    return n

if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    np.add(1, 2)
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        print(list(executor.map(work, [1, 2])))
    one = [sys.executable, "-c", "import sys, numpy as np; np.subtract(3, 1); print(sys.argv); sys.exit(3)", "x"]
    print(subprocess.run(one, capture_output=True))
    print(subprocess.run(one, capture_output=True, preexec_fn=lambda: None))
    shell = 'exec "$0" -c "import numpy; numpy.power(2, 3)"'
    print(subprocess.run(["/bin/sh", "-c", shell, sys.executable]).returncode)
    pid = os.fork()
    if pid == 0:
        np.sqrt(4.0)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    pid = os.fork()
    if pid == 0:
        np.exp(0.0)
        sys.exit(8)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        np.log(1.0)
        os.write(writer, b"!")
        signal.pause()
    os.read(reader, 1)
    os.kill(pid, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
CLEARED = """
import os, subprocess, sys
import numpy as np
np.add(1, 2)
os.environ.clear()
code = "import os; print(dict(os.environ))"
print(subprocess.run([sys.executable, "-c", code], capture_output=True))
os.environ["MINE"] = "1"
"""
BROKEN_POOL = """
import concurrent.futures, os
import numpy as np
def die():
    np.multiply(1, 2)
    os.kill(os.getpid(), 9)
if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        try:
            executor.submit(die).result()
        except concurrent.futures.process.BrokenProcessPool as broken:
            print(broken)
"""
# Sent before the child has done anything: most of these find it inside of ``os.fork``.
TERM_AT_ONCE = """
import os, signal
statuses = set()
for _ in range(100):
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGTERM)
    statuses.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(statuses)
"""
NO_TRACE_OF_US = """
import os, subprocess, sys
print(sorted(os.environ))
code = "import numpy, os; numpy.subtract(1, 2); print(sorted(os.environ))"
print(subprocess.run([sys.executable, "-c", code], capture_output=True))
pid = os.fork()
import numpy as np
np.add(1, pid)
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""


def by_process(trace: Trace) -> list[list[str]]:
    """The operations of each process that did any."""
    process = trace.threads.process[trace.spans.thread]
    found: dict[int, list[str]] = {}
    for p, name in zip(process.tolist(), trace.spans.name_id.tolist(), strict=True):
        found.setdefault(p, []).append(trace.strings[name])
    return list(found.values())


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_and_all_of_it_is_in_the_trace(
    tmp_path: Path, method: str, core: str
) -> None:
    place = Place.make(tmp_path, train=METHODS)
    place.core = core
    ended = place.same("train.py", method)
    assert ended.stdout.splitlines() == [
        f"[2, 4, 6] {method}".encode(),
        b"-9",
        b"0",
        b"0 False []",
    ]
    trace = place.trace()
    assert Counter(ops(trace)) == {"multiply": 5, "divide": 1, "add": 1}
    assert by_process(trace).count(["divide"]) == 1  # of the one that was killed
    assert by_process(trace).count(["add"]) == 1


@pytest.mark.parametrize("core", CORES)
def test_every_other_way_to_start_a_process_works_and_is_recorded(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(tmp_path, train=OTHERS)
    place.core = core
    ended = place.same("train.py")
    assert ended.stdout.count(b"returncode=3") == 2
    assert ended.stdout.endswith(b"0\n7\n8\n-15\n")
    once = [["add"], ["exp"], ["log"], ["power"], ["sqrt"], ["subtract"], ["subtract"]]
    assert sorted(by_process(place.trace())) == sorted([["multiply", "multiply"], *once])


def test_sigterm_in_the_moment_of_a_fork_kills_the_child(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=TERM_AT_ONCE)
    for own in (("-q",), ("-q", "--no-children")):
        assert place.same("train.py", own=own).stdout == b"{-15}\n"
        place.trace()


def test_killed_worker_breaks_the_pool_as_ever_and_nothing_waits_for_it(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=BROKEN_POOL)
    assert place.same("train.py").stdout.startswith(b"A process in the process pool was terminated")
    assert ops(place.trace()) == ["multiply"]


def test_program_that_clears_its_environment_goes_on_unharmed(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=CLEARED)
    place.same("train.py")
    assert ops(place.trace()) == ["add"]


@pytest.mark.parametrize("core", CORES)
def test_without_children_only_the_first_process_is_recorded(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=NO_TRACE_OF_US)
    place.core = core
    place.same("train.py", own=("-q", "--no-children"))
    trace = place.trace()
    assert len(trace.processes) == 1
    assert ops(trace) == ["add"]


EXEC = """
import os, sys
import numpy as np
np.add(1, 2)
print(sys.argv, flush=True)
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, "train.py", "again"])
np.subtract(3, 1)
sys.exit(3)
"""
EXEC_OTHER = """
import os
import numpy as np
np.add(1, 2)
os.execv("/bin/sh", ["sh", "-c", "echo hello; exit 4"])
"""


@pytest.mark.parametrize("core", CORES)
def test_program_that_replaces_itself_goes_on_in_the_same_trace(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=EXEC)
    place.core = core
    assert place.same("train.py") == Ended(3, b"['train.py']\n['train.py', 'again']\n", b"")
    trace = place.trace()
    assert by_process(trace) == [["add"], ["add", "subtract"]]
    assert len(set(trace.processes.pid.tolist())) == 1


def test_what_was_recorded_before_another_program_took_over_is_recovered(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=EXEC_OTHER)
    assert place.same("train.py") == Ended(4, b"hello\n", b"")
    assert ops(place.recover()) == ["add"]


# A daemon as they are made: two forks, every file closed, the usual three opened again, then its own.
DAEMON = """
import os, sys
import numpy as np
np.add(1, 2)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(0, 4096)
for _ in range(3):
    os.open(os.devnull, os.O_RDWR)
files = [os.open(f"file{n}", os.O_RDWR | os.O_CREAT) for n in range(700)]
np.subtract(3, 1)
np.multiply(np.subtract(3.0, 1), np.subtract(3, 1))
for file in files:
    os.write(file, b"mine")
os.symlink(str(os.getpid()), "daemon")
os.rename("file0", "done")
"""


@pytest.mark.parametrize("core", CORES)
def test_nothing_of_ours_gets_into_the_files_of_a_daemon_that_closed_all(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(tmp_path, train=DAEMON)
    place.core = core
    assert place.record("train.py", python=("-W", "ignore")) == Ended(0, b"", b"")
    place.wait_until((place.folder / "done").exists)
    pid = (place.folder / "daemon").readlink()
    place.wait_until(lambda: not Path("/proc", pid).exists())
    files = [*place.folder.glob("file*"), place.folder / "done"]
    assert (len(files), {file.read_bytes() for file in files}) == (700, {b"mine"})
    assert Counter(ops(place.recover())) == {"add": 1, "subtract": 3, "multiply": 1}


FORK_WARNINGS = """
import os, threading, warnings
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(len(warnings.filters))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(warnings.filters))
fork()
warnings.simplefilter("always")
fork()
with warnings.catch_warnings(record=True) as caught:
    fork()
print(len(caught))
wait = threading.Event()
threading.Thread(target=wait.wait).start()
fork()
wait.set()
"""


@pytest.mark.parametrize("core", CORES)
def test_forks_are_warned_of_for_threads_of_the_program_and_not_for_ours(
    tmp_path: Path, core: str
) -> None:
    place = Place.make(tmp_path, train=FORK_WARNINGS)
    place.core = core
    warned = place.same("train.py", alike=without_pids).stderr.count(b"is multi-threaded")
    assert warned == (sys.version_info >= (3, 12))
    place.trace()


def without_pids(text: bytes) -> bytes:
    """Process ids differ in any two runs."""
    return re.sub(rb"pid=\d+", b"pid=1", text)
