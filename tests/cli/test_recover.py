"""`python -m tinytrace recover`: what a process that was killed leaves behind becomes a trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cores import CORES
from tests.perfetto_engine import check_trace_file
from tests.stores import names
from tinytrace import load
from tinytrace.tracer.records import FORMAT_VERSION, TABLES_NAME
from tinytrace.tracer.store import in_use, prove_life

# Says "ready" and waits to be killed. With an argument it starts that kind of child first, which waits too.
PROGRAM = """
import os, subprocess, sys
import tinytrace as tt
with tt.span("first"):
    tt.instant("mark", path="x")
begun = tt.span("until the end").__enter__()
kind = sys.argv[1] if len(sys.argv) > 1 else ""
if kind == "fork" and not os.fork():
    with tt.span("in the child"): pass
    print("child", os.getpid(), flush=True)
    sys.stdin.read(1)
    os._exit(0)
if kind == "exec":
    code = "import os, sys, tinytrace as tt\\nwith tt.span('in the child'): pass\\n" \\
           "print('child', os.getpid(), flush=True)\\nsys.stdin.read(1)\\nos._exit(0)"
    subprocess.Popen([sys.executable, "-c", code])
if kind == "close":
    os.closerange(3, 10_000)
if kind in ("", "close"):
    print("ready", flush=True)
sys.stdin.read(1)
"""


class Program:
    """The program, being recorded; `kill` and what is left."""

    def __init__(self, folder: Path, core: str, *arguments: str) -> None:
        self.folder = folder
        script = folder / "program.py"
        script.write_text(PROGRAM)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tinytrace", str(script), *arguments], cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TINYTRACE_CORE": core},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.returncode == -signal.SIGKILL

    @property
    def run(self) -> Path:
        (run,) = (self.folder / ".tinytrace").iterdir()
        return run

    def end(self) -> None:
        """Let everything that waits end."""
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.process.wait()


def recover(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tinytrace", "recover", *arguments],
        cwd=folder, text=True, capture_output=True, check=False,
    )  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str], status: int, text: str) -> None:
    """Assert that a command failed with this status and one line of ours."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tinytrace: ") and text in line


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    program = Program(folder, CORES[0])
    assert program.said == ["ready"]
    program.kill()
    program.end()
    yield folder


def copy(killed: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copy the folder; returns it and the run in it."""
    folder = tmp_path / "folder"
    shutil.copytree(killed, folder)
    (run,) = (folder / ".tinytrace").iterdir()
    return folder, run


@pytest.mark.parametrize("core", CORES)
def test_a_run_is_recovered_once_it_has_ended(core: str, tmp_path: Path) -> None:
    program = Program(tmp_path, core)
    try:
        run = program.run
        one_line(recover(tmp_path, str(run)), 6, "is in use")
        one_line(recover(tmp_path), 3, "no unfinished run")
        program.kill()
        done = recover(tmp_path)
        assert done.returncode == 0, done.stderr
        output = tmp_path / f"trace-{run.name}.json"
        assert f"recovered into {output.name}" in done.stderr
        assert done.stdout == ""
        check_trace_file(output)
        trace = load(output)
        assert [n for n in names(trace) if n in {"first", "mark", "until the end"}] == [
            "first", "mark", "until the end",
        ]  # fmt: skip
        assert trace.meta["audit"]["unfinished_processes"] == 1
        assert not (tmp_path / ".tinytrace").exists()
        one_line(recover(tmp_path), 3, "no unfinished run")
    finally:
        program.end()


@pytest.mark.parametrize("kind", ["fork", "exec"])
def test_a_run_is_in_use_while_any_of_its_processes_lives(kind: str, tmp_path: Path) -> None:
    program = Program(tmp_path, CORES[0], kind)
    try:
        what, child = program.said
        assert what == "child"
        program.kill()
        one_line(recover(tmp_path, str(program.run)), 6, "is in use")
        assert program.process.stdin is not None and program.process.stdout is not None
        program.process.stdin.write("x")
        program.process.stdin.close()
        assert program.process.stdout.read() == ""  # the child has ended
        done = recover(tmp_path, "-q", "-o", "both.json")
        assert (done.returncode, done.stderr) == (0, "")
        check_trace_file(tmp_path / "both.json")
        trace = load(tmp_path / "both.json")
        assert trace.processes.pid.tolist() == [program.process.pid, int(child)]
        assert trace.processes.parent.tolist() == [-1, 0]
        assert {"first", "in the child"} <= set(names(trace))
    finally:
        program.end()


def test_the_next_run_and_a_recovery_mention_what_is_left(killed: Path, tmp_path: Path) -> None:
    folder, run = copy(killed, tmp_path)
    shutil.copytree(run, run.with_name("99999999-000000-1-000000"))
    (folder / "nothing.py").write_text("")
    command = [sys.executable, "-m", "tinytrace", "nothing.py"]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=True)
    assert "2 unfinished runs are in" in done.stderr
    done = recover(folder)
    assert "recovered into trace-99999999-000000-1-000000.json" in done.stderr
    assert f"an unfinished run is in {folder}: python -m tinytrace recover" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"recover {folder / '.tinytrace' / run.name}")


def test_what_cannot_be_recovered_is_one_line_and_a_status(killed: Path, tmp_path: Path) -> None:
    one_line(recover(tmp_path), 3, "no unfinished run")
    one_line(recover(tmp_path, "nowhere"), 3, "no such run folder")
    one_line(recover(tmp_path, "."), 6, "nothing was recorded")
    folder, run = copy(killed, tmp_path)
    one_line(recover(folder, str(run), "-o", "no/such/folder.json"), 5, "no/such")
    one_line(recover(folder, str(run), "-o", "trace.what"), 5, "unknown format")
    (process,) = run.glob("p*")
    tables = (process / TABLES_NAME).read_bytes()
    (process / TABLES_NAME).write_bytes(tables[:8] + bytes([FORMAT_VERSION + 1]) + tables[9:])
    one_line(recover(folder), 4, "newer tinytrace")
    (process / TABLES_NAME).write_bytes(b"something else")
    one_line(recover(folder), 6, "not a store of tinytrace")
    assert run.is_dir()


def test_a_folder_that_is_no_run_of_ours_is_not_removed(killed: Path, tmp_path: Path) -> None:
    folder, run = copy(killed, tmp_path)
    (run / "lock").unlink()
    (run / "thesis.tex").write_text("precious")
    done = recover(folder, str(run), "-q", "-o", "trace.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert (run / "thesis.tex").exists()
    check_trace_file(folder / "trace.json")


@pytest.mark.parametrize("core", CORES)
def test_a_program_that_closes_all_files_and_still_runs_is_not_taken_for_dead(
    core: str, tmp_path: Path
) -> None:
    program = Program(tmp_path, core, "close")
    try:
        (run,) = (tmp_path / ".tinytrace").iterdir()
        pid = program.process.pid
        one_line(recover(tmp_path, str(run)), 6, f"is in use: its process {pid} still runs")
        one_line(recover(tmp_path), 3, "no unfinished run")
        assert run.is_dir()
        program.process.kill()
        # Nobody has waited for it: it is a zombie now, or will be at once.
        while (done := recover(tmp_path, "-q", "-o", "trace.json")).returncode == 3:
            continue
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        program.end()
    assert not (tmp_path / ".tinytrace").exists()


def test_proofs_of_life_of_others_do_not_count(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "lock").touch()
    mine = prove_life(run / "p1-0")
    assert in_use(run)
    pid, began, pids = mine.read_text().split()
    for other in (
        f"{pid} 1 {pids}",
        f"{pid} {began} pid:[1]",
        f"999999999 {began} {pids}",
        "",
        "a b c",
    ):
        mine.write_text(other)
        assert not in_use(run), other
