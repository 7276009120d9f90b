"""Command lines that make no sense, and places where nothing can be recorded: one clear line each."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.launch.both import ROOT, USE_NUMPY, Place, ops

PROGRAM = "import sys\n" + USE_NUMPY + "print('ran')\nsys.exit(3)\n"
# Options and program, exit code, and what the line says.
BAD = {
    "no program": (("-q",), 2, b"no program to run"),
    "no script": (("missing.py",), 3, b"missing.py: no such script"),
    "no script, dangling link": (("dangling.py",), 3, b"dangling.py: cannot be opened"),
    "script under a file": (("train.py/x.py",), 3, b"train.py/x.py: no such script"),
    "folder without __main__.py": (("empty",), 3, b"empty: is a folder without a __main__.py"),
    "rate zero": (("--rate", "0", "train.py"), 2, b"--rate: '0': must be a rate in Hz, 1 to 10000"),
    "rate not a number": (("--rate", "nan", "train.py"), 2, b"--rate: 'nan': must be"),
    "steps that are none": (
        ("--steps", "20:10", "train.py"),
        2,
        b"--steps: '20:10': must be steps such as 10:20",
    ),
    "rate missing": (("--rate",), 2, b"--rate"),
    "budget": (("--budget", "lots", "train.py"), 2, b"--budget: 'lots': must be a size"),
    "disk limit": (("--disk-limit", "-1", "train.py"), 2, b"--disk-limit"),
    "disk limit too small": (
        ("--disk-limit", "3999kB", "train.py"),
        2,
        b"--disk-limit: '3999kB': must be at least 4MB",
    ),
    "sampler": (("--sampler", "perf", "train.py"), 2, b"--sampler: invalid choice: 'perf'"),
    "native": (("--native", "train.py"), 2, b"--native needs --sampler py-spy"),
    "unknown option": (("--fast", "train.py"), 2, b"--fast"),
    "no module": (("-m",), 2, b"-m needs a module after it"),
    "no code": (("-c",), 2, b"-c needs code after it"),
    "output a folder": (("-o", "empty", "train.py"), 5, b"empty: is a folder"),
    "output in no folder": (
        ("-o", "nowhere/t.json", "train.py"),
        5,
        b"nowhere/t.json: cannot be written",
    ),
    "output under a file": (("-o", "train.py/t.json", "train.py"), 5, b"cannot be written"),
    "output no format": (("-o", "trace.xyz", "train.py"), 5, b"trace.xyz: unknown format"),
    "output a device": (("-o", "/dev/null", "train.py"), 5, b"/dev/null: is no regular file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_command_line_is_one_clear_line_and_nothing_runs(tmp_path: Path, case: str) -> None:
    words, code, says = BAD[case]
    place = Place.make(tmp_path, train=PROGRAM)
    (place.folder / "empty").mkdir()
    (place.folder / "dangling.py").symlink_to("nowhere")
    before = sorted(place.folder.rglob("*"))
    command = [place.python, "-m", "tinytrace", *words]
    ended = place.end(place.start(command))
    assert (ended.status, ended.stdout, ended.stderr.count(b"\n")) == (code, b"", 1), ended
    assert ended.stderr.startswith(b"tinytrace: ")
    assert says in ended.stderr
    assert sorted(place.folder.rglob("*")) == before


def test_script_and_output_without_permission_are_one_clear_line_each(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=PROGRAM)
    place.write("secret.py", PROGRAM).chmod(0)
    (place.folder / "closed").mkdir(mode=0o555)
    for words, code, says in (
        (("secret.py",), 3, b"secret.py: cannot be opened: no permission"),
        (("-o", "closed/t.json", "train.py"), 5, b"closed/t.json: cannot be written"),
    ):
        ended = place.end(place.start(as_nobody([place.python, "-m", "tinytrace", *words])))
        assert (ended.status, ended.stdout, ended.stderr.count(b"\n")) == (code, b"", 1), ended
        assert says in ended.stderr


def as_nobody(command: list[str]) -> list[str]:
    """Root may read and write everything: have the command run without that power."""
    return (
        command
        if os.geteuid()
        else ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    )


def test_existing_file_is_not_touched_by_a_run_that_is_killed(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=USE_NUMPY + "import os; os.kill(os.getpid(), 9)\n")
    place.output.write_bytes(b"an earlier trace")
    assert place.record("train.py").status == -9
    assert place.output.read_bytes() == b"an earlier trace"
    place.output.unlink()
    assert ops(place.recover()) == ["add"]


def test_store_that_cannot_be_made_lets_the_program_run(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=PROGRAM)
    (place.out / ".tinytrace").write_bytes(b"a file, where the folder of runs should be")
    ended = place.record("train.py")
    assert (ended.status, ended.stdout, ended.stderr.count(b"\n")) == (3, b"ran\n", 1)
    assert ended.stderr.startswith(b"tinytrace: nothing is recorded: cannot record in ")
    assert sorted(p.name for p in place.out.iterdir()) == [".tinytrace"]


@pytest.mark.parametrize("size", ["16k", "256k"])
def test_full_disk_lets_the_program_run_and_says_so(tmp_path: Path, size: str) -> None:
    place = Place.make(tmp_path, train=PROGRAM)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tinytrace-test", str(place.out)]
    subprocess.run(mount, check=True)
    try:
        ended = place.record("train.py")
        left = sorted(p.name for p in place.out.iterdir())
    finally:
        subprocess.run(["umount", str(place.out)], check=True)
    assert (ended.status, ended.stdout) == (3, b"ran\n")
    assert ended.stderr.count(b"\n") == 1, ended.stderr
    assert ended.stderr.startswith(b"tinytrace: ")
    assert b"No space left on device" in ended.stderr
    assert left in ([], [".tinytrace"]), "nothing half-written"


def test_python_without_start_up_files_is_refused_in_one_line(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=PROGRAM)
    place.environment = {"PYTHONPATH": str(ROOT)}
    ended = place.record("train.py", python=("-S",))
    assert (ended.status, ended.stdout, ended.stderr.count(b"\n")) == (2, b"", 1)
    assert ended.stderr.startswith(b"tinytrace: nothing can be recorded under python -S here")
