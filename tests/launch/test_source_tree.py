"""A tree that was never installed: no start-up file in site-packages, so ``sitecustomize`` begins."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.launch.both import CORES, ROOT, Place, ops

PROGRAM = """
import os, subprocess, sys
import numpy as np
import sitecustomize
np.add(1, 2)
print(sitecustomize.__file__, sys.path, __name__, os.getcwd())
code = "import numpy, sitecustomize; numpy.subtract(3, 1); print(sitecustomize.mine)"
print(subprocess.run([sys.executable, "-c", code], capture_output=True))
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A Python that finds what the tests' Python finds, but has no start-up files of it."""
    venv.create(tmp_path / "bare", symlinks=True)
    place = Place.make(tmp_path, train=PROGRAM)
    place.python = str(tmp_path / "bare" / "bin" / "python")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = tmp_path / "bare" / "lib" / version / "site-packages"
    (site / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    place.write("own/sitecustomize.py", "mine = 'of the user'\n")
    place.environment = {"PYTHONPATH": os.pathsep.join([str(place.folder / "own"), str(ROOT)])}
    return place


@pytest.mark.parametrize("core", CORES)
def test_program_and_its_children_are_recorded_and_sitecustomize_is_the_users(
    place: Place, core: str
) -> None:
    place.core = core
    assert place.same("train.py").stdout.count(b"of the user") == 1
    assert ops(place.trace()) == ["add", "subtract"]


def test_python_that_ignores_the_environment_is_refused_in_one_line(place: Place) -> None:
    command = place.command(("-c", "print('ran')"), python=("-E",))
    ended = place.end(place.start(command, cwd=ROOT))
    assert (ended.status, ended.stdout, ended.stderr.count(b"\n")) == (2, b"", 1)
    assert ended.stderr.startswith(b"tinytrace: nothing can be recorded under python -E or -I here")
