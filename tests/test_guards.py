"""The guards of conftest.py do fail what they are there to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAKS = """
import os, signal, sys, threading

def test_nothing():
    pass

def test_environment_variable():
    os.environ["TINYTRACE_LEFT"] = "1"

def test_switch_interval():
    sys.setswitchinterval(0.001)

def test_profile_function():
    sys.setprofile(lambda *_: None)

def test_import_hook():
    sys.meta_path.append(object())

def test_signal_handler():
    signal.signal(signal.SIGTERM, lambda *_: None)

def test_working_directory():
    os.chdir("/")

def test_thread():
    wait = threading.Event().wait
    threading.Thread(target=wait, name="tinytrace-left", daemon=True).start()
"""
SKIP = """
import pytest

def test_skipped():
    pytest.skip("no such machine")
"""


def run_pytest(folder: Path, tests: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run these tests under our conftest.py, in a process of their own."""
    file = folder / "test_it.py"
    file.write_text(tests, encoding="utf-8")
    options = ["-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"]
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    plain = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", *options, "-p", "tests.conftest", str(file)],
        cwd=folder,
        env={**inherited, **plain, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_leaves_something_behind_fails_and_nothing_else_does(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, LEAKS)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    tests = {line[4:-3] for line in LEAKS.splitlines() if line.startswith("def ")}
    blamed = {name for name in tests if f"{name} ERROR" in done.stdout}
    assert blamed == tests - {"test_nothing"}


def test_skipped_test_fails_the_run_in_ci_and_only_there(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, SKIP).returncode == pytest.ExitCode.OK
    assert run_pytest(tmp_path, SKIP, CI="true").returncode == pytest.ExitCode.TESTS_FAILED
