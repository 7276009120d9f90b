"""Bad input, and recording that cannot start: one line, an exit code, nothing left behind, nobody harmed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.test_recorder_full_disk import small_disk
from tests.launch.both import CORES, Ended, Place

PROGRAM = "import numpy as np\nprint(np.add(1, 2))\nraise SystemExit(9)\n"
# The options and the program; the exit code; what is said after "tinytrace: ".
BAD = {
    "no such script": ("missing.py", 3, "missing.py: no such script"),
    "dangling link": ("dangling", 3, "dangling: cannot be opened: No such file or directory"),
    "link to itself": ("round", 3, "round: cannot be opened: Too many levels of symbolic links"),
    "a script is no folder": ("train.py/x.py", 3, "train.py/x.py: no such script"),
    "folder without __main__": ("folder", 3, "folder: nothing to run: there is no __main__.py in it"),
    "output is a folder": ("-o folder train.py", 5, "{}/folder: is a folder: give the name of a file with -o"),
    "output nowhere": (
        "-o nowhere/x.json train.py", 5,
        "{}/nowhere/x.json: cannot be written: No such file or directory: give another name with -o",
    ),
    "output in a file": (
        "-o train.py/x.json train.py", 5,
        "{}/train.py/x.json: cannot be written: Not a directory: give another name with -o",
    ),
    "output is a device": (
        "-o /dev/null train.py", 5,
        "/dev/null: is no regular file: give the name of a file with -o",
    ),
    "unknown suffix": (
        "-o x.svg train.py", 5,
        "{}/x.svg: unknown format: known file name endings are .json, .json.gz",
    ),
    "module forgotten": ("-m", 2, "-m needs a module after it"),
    "code forgotten": ("-c", 2, "-c needs code after it"),
    "native without py-spy": ("--native train.py", 2, "--native needs --sampler py-spy"),
    "nonsense rate": (
        "--rate nan train.py", 2, "argument --rate: 'nan': must be a rate in Hz, 1 to 10000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_runs_or_is_left(tmp_path: Path, case: str) -> None:
    words, status, said = BAD[case]
    place = Place.make(tmp_path, train="open('ran', 'w')\n")
    (place.folder / "dangling").symlink_to("nowhere_at_all")
    (place.folder / "round").symlink_to("round")
    (place.folder / "folder").mkdir()
    before = sorted(place.folder.rglob("*"))
    command = [place.python, "-B", "-m", "tinytrace", *words.split()]
    line = f"tinytrace: {said.format(place.folder)}"
    ended = place.end(place.start(command))
    assert (ended.status, ended.stdout) == (status, b"")
    assert ended.stderr.decode().startswith(line)
    assert ended.stderr.count(b"\n") == 1
    assert sorted(place.folder.rglob("*")) == before


def test_folder_with_any_kind_of_main_runs(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    place.write("folder/__main__/__init__.py", "print('a package')\n")
    place.write("program.pyz/__main__.py", "print('a file')\n")
    assert place.same("program.pyz") == Ended(0, b"a file\n", b"")
    place.same("folder")


@pytest.mark.parametrize("core", CORES)
def test_recording_that_cannot_start_lets_the_program_run(tmp_path: Path, core: str) -> None:
    place = Place.make(tmp_path, train=PROGRAM)
    place.core = core
    plain = place.plain("train.py")
    assert plain == Ended(9, b"3\n", b"")
    (place.out / ".tinytrace").write_bytes(b"a file of somebody")
    reasons = [said_alone(place.record("train.py"), plain)]
    assert [path.name for path in place.out.iterdir()] == [".tinytrace"]
    with small_disk(tmp_path / "disk", "64k") as disk:
        place.out = disk
        fill(disk)
        reasons.append(said_alone(place.record("train.py"), plain))
        assert [path.name for path in disk.iterdir()] == ["full"]
    assert [reason.partition(": ")[0] for reason in reasons] == ["nothing is recorded"] * 2
    assert "Not a directory" in reasons[0]
    assert "No space left on device" in reasons[1]


def fill(disk: Path) -> None:
    """Leave no room on a disk."""
    with (disk / "full").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def said_alone(ended: Ended, plain: Ended) -> str:
    """What tinytrace said in its one line beside a program that ended as ever."""
    assert (ended.status, ended.stdout) == (plain.status, plain.stdout)
    assert ended.stderr.startswith(b"tinytrace: ")
    assert ended.stderr.count(b"\n") == 1
    return ended.stderr.decode().removeprefix("tinytrace: ").rstrip("\n")


def test_unknown_recorder_is_said_and_the_program_runs(tmp_path: Path) -> None:
    place = Place.make(tmp_path, train=PROGRAM)
    place.core = "fortran"
    reason = said_alone(place.record("train.py"), Ended(9, b"3\n", b""))
    assert reason == "nothing is recorded: TINYTRACE_CORE must be c or python, not fortran"
    assert list(place.out.iterdir()) == []
