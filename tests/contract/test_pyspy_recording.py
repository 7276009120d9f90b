"""py-spy as the sampler of whole recordings: its samples lie where our spans lie, and what fails is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.perfetto_engine import check_trace_file
from tinytrace.tracer.session import Session

PROGRAM = """
import os, signal, sys
import numpy as np

a = np.ones((1300, 1300))

def multiply():
    return a @ a

def count():
    return sum(i for i in range(1_500_000))

for _ in range(8):
    multiply()
    count()
if sys.argv[1:] == ["die"]:
    os.kill(os.getpid(), signal.SIGKILL)
"""
MULTIPLY, COUNT = 8, 11  # lines


@pytest.fixture(params=CORES)
def which_core(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param


def tinytrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(tt.__file__).parents[1])}
    # One BLAS thread: several of them wait for each other in busy loops where CPUs are few.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "tinytrace", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def lines_of(trace: tt.Trace, stack: int) -> list[int]:
    """Lines of the program in a stack, from the innermost outwards."""
    found = []
    while stack >= 0:
        frame = int(trace.stacks.frame_id[stack])
        if trace.strings[trace.frames.file_id[frame]].endswith("program.py"):
            found.append(int(trace.frames.line[frame]))
        stack = int(trace.stacks.parent[stack])
    return found


def seen_in(trace: tt.Trace, line: int, spans: list[tuple[int, int]]) -> tuple[int, int]:
    """How many stacks were first seen inside of these spans, and how many of them with this line.

    Only these moments are times of samples: how long a stack stays until the next one is seen is up to
    the machine, which may keep py-spy waiting.
    """
    s, seen, there = trace.samples, 0, 0
    before = (-1, -1)
    rows = np.lexsort((s.t_ns, s.thread)).tolist()
    for row in rows:
        now = int(s.thread[row]), int(s.stack_id[row])
        first, before = now != before, now
        at = int(s.t_ns[row] - s.weight_ns[row])
        if first and any(begin <= at < end for begin, end in spans):
            seen += 1
            there += line in lines_of(trace, now[1])
    return seen, there


def check(trace: tt.Trace) -> None:
    names = np.array([trace.strings[i] for i in trace.spans.name_id])
    rows = np.flatnonzero(names == "matmul")
    assert len(rows) == 8
    begin = trace.spans.start_ns[rows]
    end = begin + trace.spans.dur_ns[rows]
    seen, there = seen_in(trace, MULTIPLY, list(zip(begin.tolist(), end.tolist(), strict=True)))
    assert there > seen / 2 > 0
    between = list(zip(end[:-1].tolist(), begin[1:].tolist(), strict=True))
    seen, there = seen_in(trace, COUNT, between)
    assert there > seen / 2 > 0
    # The spans and the samples of the main thread are on one thread.
    main = {int(t) for t in trace.spans.thread[rows]}
    assert main <= {int(t) for t in trace.samples.thread}
    assert (trace.samples.cpu_ns == -1).all()
    assert "achieved_hz" not in trace.meta["audit"]
    facts = trace.meta["py_spy"]
    assert 0 < facts["clock_error_ns"] < 100_000_000
    assert facts["begin_ns"] <= begin[0]


@pytest.mark.parametrize("native", [(), ("--native",)])
def test_samples_from_outside_lie_where_the_operations_lie(
    which_core: str, tmp_path: Path, native: tuple[str, ...]
) -> None:
    options = ("-q", "--sampler", "py-spy", *native, "-o", "trace.json")
    done = tinytrace(tmp_path, *options, "program.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    trace = tt.load(tmp_path / "trace.json")
    check(trace)
    assert trace.meta["audit"]["asked_hz"] == (100 if native else 1000)
    functions = {trace.strings[i] for i in trace.frames.name_id}
    assert any("gemm" in name for name in functions) or not native
    assert trace.meta["py_spy"]["mended_ns"] == 0 or not native
    check_trace_file(tmp_path / "trace.json")


def test_what_py_spy_saw_of_a_program_that_was_killed_is_recovered(
    which_core: str, tmp_path: Path
) -> None:
    options = ("-q", "--sampler", "py-spy", "-o", "trace.json")
    done = tinytrace(tmp_path, *options, "program.py", "die")
    assert done.returncode == -signal.SIGKILL
    done = tinytrace(tmp_path, "recover", "-q", "-o", "trace.json")
    assert (done.returncode, done.stderr) == (0, "")
    trace = tt.load(tmp_path / "trace.json")
    check(trace)
    assert trace.meta["audit"]["unfinished_processes"] == 1
    check_trace_file(tmp_path / "trace.json")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Error: Permission denied (os error 13)'; exit 1", "ptrace is not permitted"),
        (None, "py-spy is not installed"),
    ],
)
def test_where_py_spy_cannot_our_own_thread_samples_and_that_is_said(
    which_core: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    reason: str,
) -> None:
    if script:
        (tmp_path / "py-spy").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "py-spy").chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    with tt.trace(sampler="py-spy", ops=False) as recording:
        session = Session._current
        assert session is not None and session.sampling is not None
        while session.sampling.stats()["rounds"] < 5:
            time.sleep(0.001)
    trace = recording.result
    assert trace is not None
    assert len(trace.samples) >= 5
    [warning] = [w for w in trace.warnings if reason in w]
    assert "the sampling thread" in warning
    assert trace.meta["audit"]["achieved_hz"] > 0
    assert "py_spy" not in trace.meta


def test_a_py_spy_that_dies_in_the_middle_is_said_and_the_rest_of_the_trace_is_there(
    which_core: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\necho 'py-spy> Sampling process'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with tt.trace(tmp_path / "trace.json", sampler="py-spy", ops=False) as recording:
        tt.instant("here")
    trace = recording.result
    assert trace is not None
    assert [trace.strings[i] for i in trace.spans.name_id] == ["here"]
    assert any("ended before the program did" in w for w in trace.warnings)
    assert any("left no samples" in w for w in trace.warnings)
    check_trace_file(tmp_path / "trace.json")
