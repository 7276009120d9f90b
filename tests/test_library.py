"""Recording from inside a program: `tt.trace`."""

from __future__ import annotations

import asyncio
import doctest
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinytrace as tt
from tests.cores import CORES, core
from tests.perfetto_engine import check_trace_file
from tinytrace import library
from tinytrace.errors import OutputError, UsageError
from tinytrace.tracer.session import Session


@pytest.fixture(autouse=True, params=CORES)
def which_core(request: pytest.FixtureRequest) -> Iterator[str]:
    with core(request.param):
        yield request.param
    assert Session._current is None


def names(trace: tt.Trace | None) -> list[str]:
    assert trace is not None
    return [trace.strings[i] for i in trace.spans.name_id]


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(tt.__file__).parents[1])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_file_holds_what_the_result_holds_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    with tt.trace(path, rate_hz=2000) as recording:
        assert recording.result is None
        np.ones(3) + 1
    assert recording.result is not None
    assert tt.load(path) == recording.result
    assert "add" in names(recording.result)
    assert recording.result.meta["conventions"]
    check_trace_file(path)
    assert [p.name for p in tmp_path.iterdir()] == ["trace.json.gz"]


def test_without_a_name_nothing_is_left_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with tt.trace(sampler="none") as recording:
        tt.instant("here")
    assert names(recording.result) == ["here"]
    assert list(tmp_path.iterdir()) == []


def test_an_inner_trace_belongs_to_the_outer_one_also_in_another_thread(tmp_path: Path) -> None:
    inner, other = tt.trace(tmp_path / "inner.json"), tt.trace(tmp_path / "other.json")

    def in_thread() -> None:
        with other:
            tt.instant("in a thread")

    with tt.trace(tmp_path / "outer.json", sampler="none", ops=False) as outer:
        with inner:
            tt.instant("inside")
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        tt.instant("after")
    assert sorted(names(outer.result)) == ["after", "in a thread", "inside"]
    assert (inner.result, other.result) == (None, None)
    assert [p.name for p in tmp_path.iterdir()] == ["outer.json"]


def test_starting_and_stopping_are_counted_and_one_object_can_be_used_again() -> None:
    recording = tt.trace(sampler="none", ops=False)
    recording.stop()  # nothing was started
    recording.start().start()
    tt.instant("one")
    recording.stop()
    assert recording.result is None
    tt.instant("two")
    recording.stop()
    recording.stop()
    assert names(recording.result) == ["one", "two"]
    with recording:
        tt.instant("three")
    assert names(recording.result) == ["three"]


def test_a_decorated_function_of_any_kind_is_recorded_to_its_end() -> None:
    recording = tt.trace(sampler="none", ops=False)

    @recording
    def factorial(n: int) -> int:
        tt.instant(f"{n}")
        return n * factorial(n - 1) if n else 1

    @recording
    def generator() -> Iterator[int]:
        yield 1
        tt.instant("generator")

    @recording
    async def coroutine() -> int:
        await asyncio.sleep(0)
        tt.instant("coroutine")
        return 3

    assert factorial(2) == 2
    assert names(recording.result) == ["2", "1", "0"]
    assert list(generator()) == [1]
    assert names(recording.result) == ["generator"]
    assert asyncio.run(coroutine()) == 3
    assert names(recording.result) == ["coroutine"]


def test_an_exception_in_the_block_travels_on_and_the_trace_is_complete(tmp_path: Path) -> None:
    for error in (KeyError("mine"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()):
        path = tmp_path / "trace.json"
        with pytest.raises(type(error)) as raised, tt.trace(path, sampler="none", ops=False):
            tt.instant("before")
            raise error
        assert raised.value is error
        assert names(tt.load(path)) == ["before"]


def test_what_cannot_be_is_said_before_anything_begins(tmp_path: Path) -> None:
    untyped: Any = tt.trace
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        untyped(speed=3)
    with pytest.raises(TypeError, match=r"@trace\(\)"):
        untyped(print)
    with pytest.raises(UsageError, match="rate"):
        tt.trace(rate_hz=0)
    with pytest.raises(OutputError):
        tt.trace(tmp_path / "trace.txt")
    (tmp_path / "a.json").mkdir()
    for name, why in (("no/trace.json", "no such folder"), ("a.json", "is a folder")):
        recording = tt.trace(tmp_path / name)
        for _ in range(2):  # a start that failed has not begun
            with pytest.raises(OutputError, match=why):
                recording.start()
        assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_trace_that_cannot_be_written_is_an_error_and_is_kept_for_recover(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    recording = tt.trace(path, sampler="none", ops=False)
    recording.start()
    tt.instant("kept")
    path.mkdir()
    with pytest.raises(OutputError, match="python -m tinytrace recover") as raised:
        recording.stop()
    assert recording.result is None
    run = str(raised.value).rpartition(" ")[2]
    done = python("-m", "tinytrace", "recover", run, "-o", "saved.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(tt.load(tmp_path / "saved.json")) == ["kept"]
    check_trace_file(tmp_path / "saved.json")
    path.rmdir()
    with recording:
        tt.instant("again")
    assert names(recording.result) == ["again"]


def test_an_exception_on_its_way_is_not_replaced_by_ours(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    with (
        pytest.warns(RuntimeWarning, match="is a folder"),
        pytest.raises(KeyError),
        tt.trace(path, sampler="none", ops=False),
    ):
        path.mkdir()
        raise KeyError("mine")


def test_code_without_a_file_has_call_sites(which_core: str) -> None:
    cell = "import tinytrace as tt\n\ndef f():\n    with tt.span('in f'):\n        pass\n\nf()\ntt.instant('top')\n"
    with tt.trace(sampler="none", ops=False) as recording:
        exec(compile(cell, "<ipython-input-3>", "exec"), {"__name__": "__main__"})
        exec(cell, {})
    trace = recording.result
    assert trace is not None
    frames, text = trace.frames, trace.strings
    sites = [
        (text[frames.file_id[c]], int(frames.line[c]), text[frames.name_id[c]])
        for c in trace.spans.callsite_id
    ]
    assert sites == [
        (file, line, function)
        for file in ("<ipython-input-3>", "<string>")
        for line, function in ((4, "f"), (8, "<module>"))
    ]


OWN_RECORDING = """
import sys, tinytrace as tt
with tt.trace("inner.json") as recording:
    with tt.span("inside"):
        pass
print(recording.result)
"""


def test_in_a_program_that_is_recorded_it_belongs_to_that_recording(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(OWN_RECORDING, encoding="utf-8")
    done = python("-m", "tinytrace", "-q", "-o", "outer.json", "program.py", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")
    assert names(tt.load(tmp_path / "outer.json")) == ["inside"]
    check_trace_file(tmp_path / "outer.json")
    assert {p.name for p in tmp_path.iterdir()} == {"program.py", "outer.json"}


# Since Python 3.12 a fork warns where there are other threads: of BLAS, and ours.
NO_FORK_WARNING = ("-W", "ignore:This process:DeprecationWarning")
FORKING = """
import json, os, sys
import numpy as np
import tinytrace as tt

follow = sys.argv[1] == "children"
with tt.trace("trace.json", sampler="none", children=follow) as recording:
    with tt.span("parent"):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            np.ones(3) + 1
    if not pid and not follow:
        with tt.trace("child.json", sampler="none") as own:
            with tt.span("child"):
                np.ones(3) - 1
    elif not pid:
        with tt.span("child"):
            np.ones(3) - 1
if not pid:
    sys.exit(0)  # the child leaves the block of its parent, too
print("left", sorted(os.listdir()))
"""


@pytest.mark.parametrize("follow", ["children", "alone"])
def test_a_forked_child_that_leaves_the_block_does_no_harm(tmp_path: Path, follow: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(FORKING, encoding="utf-8")
    done = python(*NO_FORK_WARNING, str(program), follow, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    trace = tt.load(tmp_path / "trace.json")
    found = set(names(trace))
    assert {"parent", "add"} <= found
    assert len(trace.processes) == (2 if follow == "children" else 1)
    assert trace.meta["audit"]["unfinished_processes"] == 0
    assert ("child" in found) == ("subtract" in found) == (follow == "children")
    if follow == "alone":
        own = tt.load(tmp_path / "child.json")
        assert {"child", "subtract"} <= set(names(own))
        check_trace_file(tmp_path / "child.json")
    check_trace_file(tmp_path / "trace.json")
    assert ".tinytrace" not in done.stdout


def test_the_examples_run() -> None:
    failed, run = doctest.testmod(library)
    assert (failed, run) == (0, 3)
    assert json.dumps(sorted(tt.__all__)) == json.dumps(tt.__all__)
