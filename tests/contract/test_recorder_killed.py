"""Processes that die without a word, at any moment: what they had recorded is there, once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cores import CORES
from tests.perfetto_engine import check_trace_file
from tests.stores import read
from tinytrace.exporters.registry import export
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES
from tinytrace.tracer.trace import Trace

# Records round after round, each with three spans and a counter, and says by a pipe how many rounds are
# recorded: what has been said must be there. Segments are small in the Python core; a small limit keeps both
# folding. The parent kills it in the middle of everything.
PROGRAM = """
import os, sys
from tinytrace.tracer import segments
from tinytrace.tracer.records import MIN_DISK_LIMIT_BYTES
from tinytrace.tracer.records import Kind, Stream
from tinytrace.tracer.session import load_core

folder, limit, out, say_every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for stream in Stream:
    segments.FIRST_CAPACITY[stream] = 64
    segments.CAPACITY[stream] = 256
recorder = load_core()
os.mkdir(folder)
recorder.open(folder, limit)
if recorder.core == "python" and limit == MIN_DISK_LIMIT_BYTES:
    recorder._disk.ahead_bytes = 10**12  # fold whatever may be folded
step, own = recorder.label("round", ""), recorder.label("kernel", '{"flops": 10}')
values = recorder.series("value", "")
rounds = 0
while True:
    outer = recorder.begin(Kind.SPAN, step)
    op = recorder.begin(Kind.LABELLED_OP, own)
    recorder.instant(step)
    recorder.end(op, 0)
    recorder.end(outer, 0)
    recorder.counter(values, rounds)
    rounds += 1
    if rounds % say_every == 0:
        os.write(out, rounds.to_bytes(8, "little"))
"""
SAY_EVERY = {"c": 5000, "python": 50}


def run_and_kill(core: str, run: Path, limit_bytes: int, says: int) -> int:
    """Let the program say so often how far it is, kill it, and return what it had said in the end."""
    run.mkdir()
    reader, writer = os.pipe()
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM,
            str(run / "p1-0"),
            str(limit_bytes),
            str(writer),
            str(SAY_EVERY[core]),
        ],
        pass_fds=[writer],
        env={**os.environ, "TINYTRACE_CORE": core},
    ) as process:
        os.close(writer)
        said = b"".join(os.read(reader, 8) for _ in range(says))
        process.kill()
        process.wait()
        while rest := os.read(reader, 1 << 16):
            said += rest
        os.close(reader)
    assert process.returncode == -signal.SIGKILL
    return int.from_bytes(said[-8:], "little")


def count(trace: Trace, name: str) -> int:
    """Spans of a name, folded or not."""
    name_id = trace.strings.index(name)
    folded = trace.aggregates
    return int(
        (trace.spans.name_id == name_id).sum() + folded.count[folded.name_id == name_id].sum()
    )


def check(trace: Trace, rounds: int, core: str) -> None:
    """Everything up to the last round that was said is there; nothing twice."""
    kernels, both = count(trace, "kernel"), count(trace, "round")
    assert rounds <= kernels <= rounds + SAY_EVERY[core]
    assert 2 * kernels - 1 <= both <= 2 * kernels + 1
    assert trace.counters.value.max() >= rounds - 1
    assert trace.counters.value.min() == 0
    assert rises(trace)
    assert trace.meta["audit"]["unfinished_processes"] == 1


def rises(trace: Trace) -> bool:
    """No value of the counter is there twice, nor out of order."""
    return bool((trace.counters.value[1:] > trace.counters.value[:-1]).all())


@pytest.mark.parametrize("core", CORES)
def test_a_killed_process_loses_nothing_and_counts_nothing_twice(core: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    for number, says in enumerate([1, *(rng.randrange(2, 40) for _ in range(4))]):
        run = tmp_path / str(number)
        rounds = run_and_kill(core, run, 10**12, says)
        trace = read(run)
        check(trace, rounds, core)
        assert len(trace.aggregates) == 0
        assert set(trace.warnings) <= {"the description of the run is lost"}
    export(trace, tmp_path / "trace.json")
    check_trace_file(tmp_path / "trace.json")


@pytest.mark.parametrize("core", CORES)
def test_a_process_that_is_killed_while_folding_loses_nothing_and_counts_nothing_twice(
    core: str, tmp_path: Path
) -> None:
    rng = random.Random(2)
    for number in range(6):
        run = tmp_path / str(number)
        rounds = run_and_kill(core, run, MIN_DISK_LIMIT_BYTES, rng.randrange(25, 60))
        trace = read(run)
        check(trace, rounds, core)
        assert trace.aggregates.count.sum() > 0
        kernel = trace.aggregates.name_id == trace.strings.index("kernel")
        assert (trace.aggregates.leaves[kernel] == trace.aggregates.count[kernel]).all()
