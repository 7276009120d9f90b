"""The plugin for pytest, in pytest processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinytrace as tt

TESTS = """
import numpy as np
import pytest

COPIES = 0
X = np.ones((16, 16))

@pytest.mark.tinytrace
def test_marked():
    y = X @ X
    for _ in range(COPIES):
        y = y.copy()

@pytest.mark.tinytrace(allow={"op_calls": 10, "bytes": 10, "allocations": 10})
def test_tolerant():
    y = X @ X
    for _ in range(COPIES):
        y = y.copy()

def test_not_marked():
    X @ X

def test_in_turns(tinytrace_bench):
    found = tinytrace_bench(lambda: X @ X, lambda: X @ X, rounds=6)
    assert found.rounds == 6
    assert found.verdict.value in {"faster", "slower", "equivalent", "inconclusive"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "test_mine.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    return tmp_path


def run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    loaded = [
        "-p",
        "tinytrace.toolkit.pytest_plugin",
    ]  # as its entry point does where it is installed
    environment = os.environ | {
        "PYTHONPATH": str(Path(tt.__file__).parents[1]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *loaded, *options],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def kept(project: Path) -> list[str]:
    folder = project / ".tinytrace-tests"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_without_the_option_nothing_is_recorded(project: Path) -> None:
    done = run(project)
    assert "4 passed" in done.stdout, done.stdout
    assert kept(project) == []


def test_marked_tests_are_recorded_and_their_traces_kept(project: Path) -> None:
    done = run(project, "--tinytrace")
    assert "4 passed" in done.stdout, done.stdout
    marked, tolerant = kept(project)
    assert (marked, tolerant) == (
        "test_mine.py_test_marked.json.gz",
        "test_mine.py_test_tolerant.json.gz",
    )
    trace = tt.load(project / ".tinytrace-tests" / marked)
    assert "matmul" in [trace.strings[i] for i in trace.spans.name_id]


def test_more_work_than_the_baseline_fails_the_test_and_says_where(project: Path) -> None:
    assert "4 passed" in run(project, "--tinytrace-update").stdout
    assert "4 passed" in run(project, "--tinytrace").stdout
    (project / "test_mine.py").write_text(TESTS.replace("COPIES = 0", "COPIES = 1"))
    done = run(project, "--tinytrace")
    assert "1 failed, 3 passed" in done.stdout
    assert "regression against test_mine.py_test_marked.baseline.json.gz" in done.stdout
    assert "copy at test_mine.py:12" in done.stdout
    assert "4 passed" in run(project, "--tinytrace-update").stdout
    assert "4 passed" in run(project, "--tinytrace").stdout


def test_the_traces_lie_where_they_are_asked_to(project: Path) -> None:
    assert "4 passed" in run(project, "--tinytrace", "--tinytrace-dir", "elsewhere").stdout
    assert len(list((project / "elsewhere").iterdir())) == 2


def test_a_test_that_fails_fails_as_it_does_without(project: Path) -> None:
    (project / "test_mine.py").write_text(
        "import pytest\n@pytest.mark.tinytrace\ndef test_it():\n    assert 1 == 2\n"
    )
    done = run(project, "--tinytrace")
    assert "assert 1 == 2" in done.stdout
    assert "1 failed" in done.stdout
    assert kept(project) == []
