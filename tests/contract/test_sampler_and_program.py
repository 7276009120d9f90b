"""What the sampling thread does to the program: nothing, whatever the program does, on both cores."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.perfetto_engine import check_trace_file
from tests.rounds import wait_for_rounds
from tinytrace.tracer.sampling import SWITCH_INTERVAL_S

RECORDED = ("-m", "tinytrace", "-q", "-o", "trace.json")


@pytest.fixture(params=CORES)
def which_core(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param


def our_signal_masks() -> dict[str, int]:
    masks = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text(encoding="utf-8").startswith("tinytrace"):
                status = (task / "status").read_text(encoding="utf-8")
                masks[task.name] = int(status.partition("SigBlk:")[2].split()[0], 16)
    return masks


def test_signals_are_for_the_threads_of_the_program(which_core: str) -> None:
    handled: list[str] = []
    before = signal.signal(
        signal.SIGUSR1, lambda *_: handled.append(threading.current_thread().name)
    )
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with tt.trace(rate_hz=5000, ops=False):
            wait_for_rounds(1)
            masks = our_signal_masks()
            for _ in range(200):
                os.kill(os.getpid(), signal.SIGUSR1)
            wait_for_rounds(5)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert set(handled) == {"MainThread"}
    assert masks
    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
        assert all(blocked >> (number - 1) & 1 for blocked in masks.values()), number


def test_it_can_be_stopped_from_another_thread_and_started_again(which_core: str) -> None:
    recording = tt.trace(rate_hz=5000, ops=False)
    for _ in range(3):
        recording.start()
        wait_for_rounds(2)
        stopper = threading.Thread(target=recording.stop)
        stopper.start()
        stopper.join()
        assert recording.result is not None
        assert len(recording.result.samples) >= 2


def test_the_switch_interval_is_lowered_while_recording_and_put_back(which_core: str) -> None:
    before = sys.getswitchinterval()
    try:
        with tt.trace(ops=False):
            assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
        assert sys.getswitchinterval() == before
        with tt.trace(ops=False):
            sys.setswitchinterval(0.002)  # the program's own wish is kept
        assert sys.getswitchinterval() == pytest.approx(0.002)
        sys.setswitchinterval(0.0001)
        with tt.trace(ops=False):
            assert sys.getswitchinterval() == pytest.approx(0.0001)
        assert sys.getswitchinterval() == pytest.approx(0.0001)
    finally:
        sys.setswitchinterval(before)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(tt.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


# At the end: daemon threads that run and that wait; atexit handlers that exit and that raise, or no handlers at all.
ENDINGS = """
import atexit, sys, threading, time
def spin():
    while True:
        sum(range(1000))
started = threading.Event()
def wait():
    started.set()
    time.sleep(1000)
for target in (spin, wait):
    threading.Thread(target=target, daemon=True).start()
started.wait()
session = sys.modules.get("tinytrace.tracer.session")
while session and session.Session._current.sampling.stats()["rounds"] < 5:
    time.sleep(0.001)
print("ending")
how = {how!r}
if how == "handlers":
    atexit.register(sys.exit, 7)
    atexit.register(lambda: 1 / 0)
elif how == "no handlers":
    atexit._clear()
elif how == "never stopped":
    import tinytrace as tt
    tt.trace("own.json", rate_hz=5000).start()
    tt.instant("here")
sys.exit(3)
"""


@pytest.mark.parametrize("how", ["handlers", "no handlers"])
def test_the_program_ends_as_without_us_while_the_sampler_runs(
    which_core: str, tmp_path: Path, how: str
) -> None:
    (tmp_path / "program.py").write_text(ENDINGS.format(how=how), encoding="utf-8")
    done = python(tmp_path, *RECORDED, "--rate", "10000", "program.py")
    assert (done.returncode, done.stdout) == (3, "ending\n")  # an exit in a handler changes nothing
    last = [
        line
        for line in done.stderr.splitlines()
        if line and not line.startswith((" ", "Exc", "Tra"))
    ]
    ends = ["ZeroDivisionError: division by zero", "SystemExit: 7"]
    assert last == (ends if how == "handlers" else [])
    if how == "no handlers":  # nobody could write the trace: it is kept
        done = python(tmp_path, "-m", "tinytrace", "recover", "-q", "-o", "trace.json")
        assert done.returncode == 0, done.stderr
    trace = tt.load(tmp_path / "trace.json")
    assert len(trace.samples) > 0
    check_trace_file(tmp_path / "trace.json")


def test_a_recording_that_is_never_stopped_is_written_when_the_program_ends(
    which_core: str, tmp_path: Path
) -> None:
    done = python(tmp_path, "-c", ENDINGS.format(how="never stopped"))
    assert (done.returncode, done.stdout, done.stderr) == (3, "ending\n", "")
    trace = tt.load(tmp_path / "own.json")
    assert [trace.strings[i] for i in trace.spans.name_id] == ["here"]
    check_trace_file(tmp_path / "own.json")


# Since Python 3.12 a fork warns where there are other threads: ours, too.
NO_FORK_WARNING = ("-W", "ignore:This process:DeprecationWarning")
FORKS = """
import os, sys
from tinytrace.tracer.session import Session
def wait_for_rounds(n):
    end = Session._current.sampling.stats()["rounds"] + n
    while Session._current.sampling.stats()["rounds"] < end:
        sum(range(100))
wait_for_rounds(5)
children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        wait_for_rounds(10)
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
wait_for_rounds(10)
"""


def test_after_a_fork_each_process_samples_itself(which_core: str, tmp_path: Path) -> None:
    done = python(tmp_path, *NO_FORK_WARNING, *RECORDED, "--rate", "5000", "-c", FORKS)
    assert (done.returncode, done.stderr) == (0, "")
    trace = tt.load(tmp_path / "trace.json")
    assert len(trace.processes) == 4
    process = trace.threads.process[trace.samples.thread]
    for row in range(4):
        mine = trace.samples.take(process == row)
        assert len(np.unique(mine.t_ns)) >= 10, row
        assert (mine.t_ns - mine.weight_ns >= trace.processes.start_ns[row]).all(), row
        for thread in np.unique(mine.thread):
            of = mine.take(mine.thread == thread)
            assert (of.t_ns[:-1] <= of.t_ns[1:] - of.weight_ns[1:]).all()
    check_trace_file(tmp_path / "trace.json")
