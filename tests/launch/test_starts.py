"""Recording that cannot start: one line says so, nothing is left behind, the program runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.test_recorder_full_disk import small_disk
from tests.launch.both import CORES, Ended, Place

PROGRAM = "import numpy as np\nprint(np.add(1, 2))\nraise SystemExit(9)\n"


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
