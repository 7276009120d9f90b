"""The magics, in an IPython of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinytrace as tt

BEGIN = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "tinytrace")
shell.run_cell("import numpy as np; x = np.ones((50, 50))")
"""


@pytest.fixture
def notebook(tmp_path: Path) -> object:
    def run(program: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(Path(tt.__file__).parents[1]),
            "IPYTHONDIR": str(tmp_path / "ipython"),
        }
        return subprocess.run(
            [sys.executable, "-c", BEGIN + program],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_a_cell_is_recorded_and_its_names_stay(notebook: object, tmp_path: Path) -> None:
    done = notebook(  # type: ignore[operator]
        'shell.run_cell_magic("tinytrace", "-o out.json", "y = x @ x")\n'
        'shell.run_cell("print(float(y[0, 0]))")\n'
        'shell.run_cell("print(type(_tinytrace).__name__)")\n'
    )
    assert "Top ops by self time" in done.stdout, done.stderr
    assert "matmul" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["50.0", "Trace"]
    assert "matmul" in tt.load(tmp_path / "out.json").strings


def test_the_report_on_request(notebook: object) -> None:
    done = notebook('shell.run_cell_magic("tinytrace", "--report --rate 2000", "y = x @ x")\n')  # type: ignore[operator]
    assert "Where the time of MainThread went" in done.stdout


def test_a_cell_that_raises_is_recorded_up_to_there(notebook: object) -> None:
    done = notebook('shell.run_cell_magic("tinytrace", "", "x @ x; 1 / 0")\n')  # type: ignore[operator]
    assert "matmul" in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert "the cell raised" in done.stderr


def test_two_expressions_are_timed_in_turns(notebook: object) -> None:
    done = notebook('shell.run_line_magic("tt_timeit", "x @ x vs x.dot(x)")\n')  # type: ignore[operator]
    first, speed, *_ = done.stdout.splitlines()
    assert first == "x.dot(x) against x @ x, in this process, in turns"
    assert speed.startswith("speedup ")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('shell.run_cell_magic("tinytrace", "--nothing", "x")', "is no option"),
        ('shell.run_cell_magic("tinytrace", "--rate fast", "x")', "is no rate"),
        ('shell.run_line_magic("tt_timeit", "x @ x")', "two expressions are needed"),
        ('shell.run_line_magic("tt_timeit", "x @ vs x")', "is no expression"),
    ],
)
def test_what_makes_no_sense_is_one_line(notebook: object, call: str, message: str) -> None:
    done = notebook(f"{call}\n")  # type: ignore[operator]
    [line] = [line for line in done.stderr.splitlines() if line.startswith("tinytrace: ")]
    assert message in line
    assert "Traceback" not in done.stdout + done.stderr
