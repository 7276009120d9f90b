"""The sampling thread, on both cores. Waits are for rounds of the sampler and for events, never for a time."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.perfetto_engine import check_trace_file
from tests.rounds import wait_for_rounds
from tinytrace.tracer.interning import MAX_FRAMES
from tinytrace.tracer.trace import Column

PACKAGE = str(Path(tt.__file__).parent) + os.sep
PTHREAD = ctypes.CDLL(None)
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class Stage:
    """Threads that stand at known places until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.there: list[threading.Event] = []
        self.threads: list[threading.Thread] = []

    def start(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Start a thread, and wait until it says that it is there."""
        there = threading.Event()
        thread = threading.Thread(target=run, args=(there,), name=name)
        self.threads.append(thread)
        thread.start()
        there.wait()

    def end(self) -> None:
        self.go.set()
        for thread in self.threads:
            thread.join()

    def sleeper(self, there: threading.Event) -> None:
        there.set()
        self.go.wait()

    def spinner(self, there: threading.Event) -> None:
        there.set()
        n = 0
        while not self.go.is_set():
            n += sum(range(100))

    def deep(self, there: threading.Event, left: int = MAX_FRAMES + 100) -> None:
        if left:
            self.deep(there, left - 1)
        else:
            there.set()
            self.go.wait()

    def generators(self, there: threading.Event) -> None:
        def inner() -> Iterator[int]:
            there.set()
            self.go.wait()
            yield 1

        def outer() -> Iterator[int]:
            yield from inner()

        list(outer())

    def coroutines(self, there: threading.Event) -> None:
        async def inner() -> None:
            there.set()
            self.go.wait()

        async def outer() -> None:
            await inner()

        asyncio.run(outer())

    def foreign(self, there: threading.Event) -> None:
        """A thread that was made by C and calls back: it has no Python of its own."""

        def called_by_c(_: object) -> None:
            there.set()
            self.go.wait()

        callback, thread = CALLBACK(called_by_c), ctypes.c_ulong()
        assert PTHREAD.pthread_create(ctypes.byref(thread), None, callback, None) == 0
        PTHREAD.pthread_join(thread, None)


class Of(NamedTuple):
    """The samples of one thread: when, how long, CPU time, and the stacks from the root inwards."""

    t_ns: Column
    weight_ns: Column
    cpu_ns: Column
    on_cpu: Column
    stacks: list[list[tuple[str, str, int]]]

    def tiles(self) -> bool:
        return bool((self.t_ns[:-1] == self.t_ns[1:] - self.weight_ns[1:]).all())

    def functions(self) -> set[str]:
        return {f[0].rpartition(".")[2] for stack in self.stacks for f in stack}

    def lines_in(self, function: Callable[..., Any]) -> set[int]:
        """Lines where it was seen, counted from its ``def``."""
        name, first = function.__name__, function.__code__.co_firstlineno
        return {
            line - first for stack in self.stacks for f, file, line in stack
            if f.rpartition(".")[2] == name and file == __file__
        }  # fmt: skip


def stack(trace: tt.Trace, row: int) -> list[tuple[str, str, int]]:
    text, frames, found = trace.strings, trace.frames, []
    while row >= 0:
        f = int(trace.stacks.frame_id[row])
        found.append((text[frames.name_id[f]], text[frames.file_id[f]], int(frames.line[f])))
        row = int(trace.stacks.parent[row])
    return found[::-1]


def samples_by_thread(trace: tt.Trace) -> dict[str, list[Of]]:
    """By the thread's name: threads of C have the same one, if any."""
    s = trace.samples
    stacks = {int(i): stack(trace, int(i)) for i in np.unique(s.stack_id)}
    found: dict[str, list[Of]] = {}
    for thread in np.unique(s.thread):
        rows = s.thread == thread
        name = trace.strings[trace.threads.name_id[thread]]
        found.setdefault(name, []).append(
            Of(
                s.t_ns[rows], s.weight_ns[rows], s.cpu_ns[rows], s.on_cpu[rows],
                [stacks[int(i)] for i in s.stack_id[rows]],
            )
        )  # fmt: skip
    return found


def recorded_stage(path: Path) -> tuple[tt.Trace, int]:
    """Record threads of all sorts; returns when one of them had ended, too."""
    stage, short = Stage(), Stage()
    stage.start("early", stage.sleeper)
    with tt.trace(path, rate_hz=2000, ops=False) as recording:
        for name in ("sleeper", "spinner", "deep", "generators", "coroutines", "foreign"):
            stage.start(name, getattr(stage, name))
        short.start("short", short.sleeper)
        wait_for_rounds(12)
        short.end()
        ended_ns = time.perf_counter_ns()
        wait_for_rounds(30)
        stage.end()
    assert recording.result is not None
    return recording.result, ended_ns


@pytest.fixture(scope="module", params=CORES)
def staged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tt.Trace, dict[str, list[Of]], int]:
    path = tmp_path_factory.mktemp("staged") / "trace.json"
    with core(request.param):
        trace, ended_ns = recorded_stage(path)
    assert trace.meta["audit"]["core"] == request.param
    assert tt.load(path) == trace
    check_trace_file(path)
    return trace, samples_by_thread(trace), ended_ns


Staged = tuple[tt.Trace, dict[str, list[Of]], int]
STEADY = ("MainThread", "early", "sleeper", "spinner", "deep", "generators", "coroutines")


def test_sample_weights_tile_the_life_of_each_thread(staged: Staged) -> None:
    trace, threads, _ = staged
    rounds_ns = np.unique(trace.samples.t_ns)
    for name in STEADY:
        [of] = threads[name]
        assert len(of.t_ns) >= 30
        assert of.tiles(), name
        first = np.searchsorted(rounds_ns, of.t_ns[0])
        assert of.t_ns.tolist() == rounds_ns[first : first + len(of.t_ns)].tolist(), name
    [main] = threads["MainThread"]
    assert main.t_ns.tolist() == rounds_ns.tolist()
    begin_ns = int(main.t_ns[0] - main.weight_ns[0])
    assert int(main.weight_ns.sum()) == int(main.t_ns[-1]) - begin_ns
    assert int(trace.processes.start_ns[0]) <= begin_ns
    # A thread from before the recording counts from its beginning, as the main one does.
    [early] = threads["early"]
    assert int(early.t_ns[0] - early.weight_ns[0]) == begin_ns


def test_every_thread_is_seen_where_it_stands_and_ours_never(staged: Staged) -> None:
    _, threads, _ = staged
    for name, function, line in (
        ("early", Stage.sleeper, 2), ("sleeper", Stage.sleeper, 2), ("deep", Stage.deep, 5),
    ):  # fmt: skip
        [of] = threads[name]
        assert line in of.lines_in(function), name
        standing = [s for s in of.stacks if s[-1][0].endswith("wait")]
        assert len(standing) >= 30, name
    assert threads["early"][0].lines_in(Stage.sleeper) == {2}
    assert threads["deep"][0].lines_in(Stage.deep) >= {2, 5}
    for name in ("generators", "coroutines"):
        steps = [[f[0].rpartition(".")[2] for f in s] for s in threads[name][0].stacks]
        assert any("outer" in s and s.index("outer") + 1 == s.index("inner") for s in steps), name
    assert {"recorded_stage", "wait_for_rounds"} <= threads["MainThread"][0].functions()
    assert not [name for name in threads if name.startswith("tinytrace")]
    others = [of for name, found in threads.items() if name != "MainThread" for of in found]
    assert not [f for of in others for s in of.stacks for f in s if f[1].startswith(PACKAGE)]


def test_a_thread_that_c_made_is_seen_while_it_is_in_python(staged: Staged) -> None:
    _, threads, _ = staged
    found = [of for name in threads for of in threads[name] if "called_by_c" in of.functions()]
    assert len(found) == 1
    assert len(found[0].t_ns) >= 30
    assert found[0].tiles()
    [caller] = threads["foreign"]  # it waits in pthread_join
    assert "called_by_c" not in caller.functions()


def test_a_thread_that_has_ended_is_not_sampled_any_more(staged: Staged) -> None:
    _, threads, ended_ns = staged
    [short] = threads["short"]
    assert len(short.t_ns) >= 10
    assert int(short.t_ns[-1]) <= ended_ns


def test_a_waiting_thread_is_not_on_the_cpu_and_a_spinning_one_is(staged: Staged) -> None:
    _, threads, _ = staged
    known = {name: threads[name][0].cpu_ns[threads[name][0].cpu_ns >= 0] for name in STEADY}
    assert all(len(cpu) >= 25 for cpu in known.values())
    spinner, early = threads["spinner"][0], threads["early"][0]
    assert not early.on_cpu.any()
    assert spinner.on_cpu.any()
    assert int(known["spinner"].sum()) > 20 * int(known["early"].sum())
    assert int(known["spinner"].sum()) <= 1.01 * int(spinner.weight_ns.sum())


def test_a_stack_that_is_too_deep_loses_its_outer_part_and_that_is_said(staged: Staged) -> None:
    trace, threads, _ = staged
    [deep] = threads["deep"]
    assert max(len(s) for s in deep.stacks) == MAX_FRAMES
    standing = [s for s in deep.stacks if len(s) == MAX_FRAMES]
    assert {s[-1][0].rpartition(".")[2] for s in standing} >= {"wait"}
    assert any("stacks of more than 512 frames" in w for w in trace.warnings)


def test_the_achieved_rate_and_the_gaps_are_those_of_the_samples(staged: Staged) -> None:
    trace, threads, _ = staged
    audit, [main] = trace.meta["audit"], threads["MainThread"]
    assert audit["asked_hz"] == 2000
    assert audit["largest_gap_ns"] >= int(np.diff(main.t_ns).max())
    assert audit["achieved_hz"] == pytest.approx(
        len(main.t_ns) * 1e9 / int(main.weight_ns.sum()), rel=0.01
    )
    assert audit["mean_lateness_ns"] >= 0
    assert audit["sampler_busy_ns"] > 0


# CPU clocks of threads run so much faster: what would take seconds is over at once.
FASTER = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *t) {
    int failed = (int)syscall(SYS_clock_gettime, clock, t);
    if (failed || clock >= 0) return failed;
    long long ns = 10000 * (t->tv_sec * 1000000000ll + t->tv_nsec);
    t->tv_sec = ns / 1000000000;
    t->tv_nsec = ns % 1000000000;
    return 0;
}
"""
BUSY = """
import sys
from tests.contract.recorded import record
from tests.rounds import wait_for_rounds

def program():
    wait_for_rounds(3)
    for _ in range(20):
        sum(range(200_000))  # some ms of CPU time

print(record(sys.argv[1], program, sampler="thread", ops=False).samples.cpu_ns.max())
"""


def test_cpu_time_beyond_32_bits_is_known(tmp_path: Path) -> None:
    if CORES == ("python",):  # no compiler, maybe; tests/tracer/test_sampler.py has its clock
        return
    (tmp_path / "faster.c").write_text(FASTER)
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    library = tmp_path / "faster.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "faster.c")], check=True
    )
    preloaded = f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()  # a sanitizer comes first
    done = subprocess.run(
        [sys.executable, "-c", BUSY, "c"], env={**os.environ, "LD_PRELOAD": preloaded},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert int(done.stdout) > 2**32
